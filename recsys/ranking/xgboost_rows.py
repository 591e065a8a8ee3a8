"""Rows as XGBoost learns from them: binned in memory, or in pages on disk where the features are mapped from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xgboost as xgb

from recsys.training_sets.on_disk import BLOCK


class _Blocks(xgb.DataIter):
    """Features, a block at a time. Labels and groups are set on the matrix afterwards: XGBoost ends a group where a
    block ends, and learns another order (87 groups for 81 in 20 k rows).
    """

    def __init__(self, features: np.ndarray, rows: np.ndarray | None, pages: Path) -> None:
        self._features, self._rows, self._place = features, rows, 0
        super().__init__(cache_prefix=str(pages), release_data=True)

    def reset(self) -> None:
        self._place = 0

    def next(self, input_data: Callable[..., object]) -> bool:
        n = len(self._features) if self._rows is None else len(self._rows)
        if self._place >= n:
            return False
        part = slice(self._place, self._place + BLOCK)
        input_data(data=np.asarray(self._features[part if self._rows is None else self._rows[part]]))
        self._place += BLOCK
        return True


def binned(
    features: np.ndarray, *, bins: int, threads: int, ref: xgb.DMatrix | None = None, rows: np.ndarray | None = None
) -> xgb.DMatrix:
    """A matrix without labels of float32 [n, F], or of its `rows` in their order.

    Where `features` is a np.memmap, its bins lie in pages beside that file for as long as the matrix lives.
    """
    if isinstance(features, np.memmap) and features.filename is not None:
        blocks = _Blocks(features, rows, Path(features.filename))
        return xgb.ExtMemQuantileDMatrix(blocks, nthread=threads, ref=ref, max_bin=bins)
    chosen = features if rows is None else features[rows]
    return xgb.QuantileDMatrix(chosen, nthread=threads, ref=ref, max_bin=bins)


def margins(booster: xgb.Booster, features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Margin float32 of each of the rows, whose features are read a block at a time."""
    blocks = (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))
    return np.concatenate(
        [
            booster.inplace_predict(np.asarray(features[part]), predict_type="margin", validate_features=False)
            for part in blocks
        ]
    )
