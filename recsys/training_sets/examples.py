"""A part of the training set as the arrays that models take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from recsys.training_sets.inputs import Inputs

LEAST_ADDED: Final = 0.01  # of the training rows
LABEL_COLUMNS: Final = ("click", "long_view", "like", "watch_ms", "user", "slate", "propensity")
MEDIAN_ROWS: Final = 1_000_000  # evenly spaced: what makes a reason true needs no more
MOST_WEIGHT: Final = 10.0  # of a row that explored: one of a pool of 50 would else count as 50


@dataclass(frozen=True)
class Examples:
    """n impressions in log order; every array has n rows."""

    inputs: Inputs
    click: np.ndarray  # int8
    long_view: np.ndarray  # int8
    like: np.ndarray  # int8
    watch_ms: np.ndarray  # int64
    user: np.ndarray  # int64 user_key
    slate: np.ndarray  # int64, equal for the rows that one user saw at one moment
    propensity: np.ndarray  # float64, the chance with which the policy put the item there; 1 where it left none

    def __len__(self) -> int:
        return len(self.click)

    def take(self, rows: np.ndarray) -> Examples:
        """Those rows: an index or a mask."""
        taken = {name: getattr(self, name)[rows] for name in LABEL_COLUMNS}
        return Examples(self.inputs.take(rows), **taken)

    @property
    def features(self) -> np.ndarray:
        """float32 [n, F], C order."""
        return self.inputs.features

    @property
    def relevance(self) -> np.ndarray:
        """Grade of each row for ordering, int64: 0 nothing, 1 click, 2 long view, 3 both."""
        return self.click.astype(np.int64) + 2 * self.long_view.astype(np.int64)

    @property
    def explored(self) -> int:
        """Rows that were left to chance."""
        return int((self.propensity < 1).sum())

    @property
    def weights(self) -> np.ndarray:
        """Inverse propensities, clipped at MOST_WEIGHT: what the policy would not have shown counts more, float64."""
        return np.minimum(1 / self.propensity, MOST_WEIGHT)


def concat(*parts: Examples, features: np.ndarray | None = None) -> Examples:
    """One below the other; slates of different parts stay apart.

    Args:
        features: those of all, where they lie one below the other already: they are not copied then.
    """
    slate, start = [], 0
    for part in parts:
        slate.append(part.slate + start)
        start += int(part.slate.max(initial=-1)) + 1
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in LABEL_COLUMNS}
    inputs = Inputs.below(*(part.inputs for part in parts), features=features)
    return Examples(inputs, **{**columns, "slate": np.concatenate(slate)})


def medians(features: np.ndarray) -> np.ndarray:
    """Median of each feature where it is known, float32[F], of float32[n, F]."""
    few = features[:: max(1, -(-len(features) // MEDIAN_ROWS))]
    return np.array([np.nanmedian(few[:, column]) for column in range(few.shape[1])], np.float32)


def worth_learning(validation: int, train: int) -> bool:
    """Whether so many validation rows are worth another training on both, once they have chosen the model.

    With less than a hundredth of rows more it is the same model at twice the cost: a sparse log of 188 days has 146
    rows in its validation days beside 60,000.
    """
    return validation >= LEAST_ADDED * train


def is_sampled(frame: pl.DataFrame) -> bool:
    """Whether some rows of a training-set table are implied or drawn, and not what the log says was shown."""
    return frame["sampling_rate"].null_count() < frame.height


def examples(frame: pl.DataFrame, names: Sequence[str]) -> Examples:
    """Rows of a training-set table (`assemble.KEYS`, labels, the features `names` and histories)."""
    return with_outcomes(Inputs.of(frame, names), frame)


def with_outcomes(inputs: Inputs, frame: pl.DataFrame) -> Examples:
    """Inputs and what came of them: labels, users and slates of a training-set table; likes and chances where it has
    them, since only what learns reads those (`on_disk`, which refuses a table without).
    """
    chance = frame["propensity"].to_numpy() if "propensity" in frame.columns else np.ones(frame.height)
    liked = frame["like"].to_numpy() if "like" in frame.columns else np.zeros(frame.height)
    return Examples(
        inputs,
        click=frame["click"].to_numpy().astype(np.int8),
        long_view=frame["long_view"].to_numpy().astype(np.int8),
        like=liked.astype(np.int8),
        watch_ms=frame["watch_ms"].to_numpy().astype(np.int64),
        user=frame["user_key"].to_numpy().astype(np.int64),
        slate=slates(frame),
        propensity=chance.astype(np.float64),
    )


def slates(frame: pl.DataFrame) -> np.ndarray:
    """int64 [n]: the slate of each row, from its request where the source has one, else from user and instant."""
    codes = frame.select(pl.struct("user_key", moment().alias("moment")).rank("dense").alias("slate"))["slate"]
    return codes.to_numpy().astype(np.int64)


def moment() -> pl.Expr:
    """What tells the slates of one user apart."""
    return pl.coalesce(pl.col("request_id"), pl.col("occurred_at").cast(pl.String))
