"""What a ranker is asked about: the features of impressions, their items, and what their users were shown before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.features.history import HISTORY_COLUMNS, History


@dataclass(frozen=True)
class Inputs:
    """n impressions, each as it was read from the log."""

    features: np.ndarray  # float32 [n, F], C order
    item_key: np.ndarray  # int64 [n], 0 unknown
    history: History  # of n rows

    def __len__(self) -> int:
        return len(self.item_key)

    @property
    def width(self) -> int:
        """Features of a row."""
        return int(self.features.shape[1])

    def columns(self, places: tuple[int, ...]) -> np.ndarray:
        """The features of those places alone, float32 [n, len(places)]."""
        return np.ascontiguousarray(self.features[:, places])

    def take(self, rows: np.ndarray | slice) -> Inputs:
        """Those rows: an index, a mask or a slice."""
        return Inputs(self.features[rows], self.item_key[rows], self.history.take(rows))

    def with_features(self, features: np.ndarray) -> Inputs:
        """The same impressions, read with other features."""
        return Inputs(features, self.item_key, self.history)

    @staticmethod
    def of_strangers(features: np.ndarray) -> Inputs:
        """Features alone: unknown items, and users of whom nothing is known."""
        return Inputs(features, np.zeros(len(features), np.int64), History.none(len(features)))

    @staticmethod
    def of(frame: pl.DataFrame, names: Sequence[str]) -> Inputs:
        """Rows of a training-set table: the features `names`, item_key and HISTORY_COLUMNS."""
        return Inputs(matrix(frame, names), frame["item_key"].to_numpy(), histories(frame))

    @staticmethod
    def below(*parts: Inputs, features: np.ndarray | None = None) -> Inputs:
        """The impressions of several, one below the other; `features`: theirs, where they lie so already."""
        return Inputs(
            np.concatenate([part.features for part in parts]) if features is None else features,
            np.concatenate([part.item_key for part in parts]),
            History.below(*(part.history for part in parts)),
        )


def matrix(frame: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Columns `names` as float32 [n, F] in C order, the layout in which the service predicts."""
    return np.ascontiguousarray(frame.select(pl.col(list(names)).cast(pl.Float32)).to_numpy().reshape(-1, len(names)))


def histories(frame: pl.DataFrame) -> History:
    """The history of each row, of its HISTORY_COLUMNS."""
    return History.of_lists(*(frame[name].to_arrow() for name in HISTORY_COLUMNS))
