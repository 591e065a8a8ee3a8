"""A part of the training set as the arrays that models take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Examples:
    """n impressions in log order; every array has n rows."""

    features: np.ndarray  # float32 [n, F], C order
    click: np.ndarray  # int8
    long_view: np.ndarray  # int8
    watch_ms: np.ndarray  # int64
    user: np.ndarray  # int64 user_key
    slate: np.ndarray  # int64, equal for the rows that one user saw at one moment

    def __len__(self) -> int:
        return len(self.click)

    def take(self, rows: np.ndarray) -> Examples:
        """Those rows: an index or a mask."""
        return Examples(*(getattr(self, column.name)[rows] for column in fields(self)))

    @property
    def relevance(self) -> np.ndarray:
        """Grade of each row for ordering, int64: 0 nothing, 1 click, 2 long view, 3 both."""
        return self.click.astype(np.int64) + 2 * self.long_view.astype(np.int64)


def concat(*parts: Examples) -> Examples:
    """One below the other; slates of different parts stay apart."""
    slate, start = [], 0
    for part in parts:
        slate.append(part.slate + start)
        start += int(part.slate.max(initial=-1)) + 1
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("features", "click", "long_view", "watch_ms", "user")
    }
    return Examples(**columns, slate=np.concatenate(slate))


def examples(frame: pl.DataFrame, names: Sequence[str]) -> Examples:
    """Rows of a training-set table (`assemble.KEYS`, labels and the features `names`)."""
    return Examples(
        features=matrix(frame, names),
        click=frame["click"].to_numpy().astype(np.int8),
        long_view=frame["long_view"].to_numpy().astype(np.int8),
        watch_ms=frame["watch_ms"].to_numpy().astype(np.int64),
        user=frame["user_key"].to_numpy().astype(np.int64),
        slate=slates(frame),
    )


def matrix(frame: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Columns `names` as float32 [n, F] in C order, the layout in which the service predicts."""
    return np.ascontiguousarray(frame.select(pl.col(list(names)).cast(pl.Float32)).to_numpy().reshape(-1, len(names)))


def slates(frame: pl.DataFrame) -> np.ndarray:
    """int64 [n]: the slate of each row, from its request where the source has one, else from user and instant."""
    codes = frame.select(pl.struct("user_key", moment().alias("moment")).rank("dense").alias("slate"))["slate"]
    return codes.to_numpy().astype(np.int64)


def moment() -> pl.Expr:
    """What tells the slates of one user apart."""
    return pl.coalesce(pl.col("request_id"), pl.col("occurred_at").cast(pl.String))
