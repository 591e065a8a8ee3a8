"""The days a model learned from, kept beside it: what a later day is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from recsys.features.definition import LIFETIME, Feature
from recsys.features.history import HISTORY_COLUMNS
from recsys.lake import replacing

DAYS: Final = 14  # newest days of a reference: two weeks hold every weekday twice; of 7, 3 of 7 quiet days alarmed
ROWS: Final = 60_000  # of a reference; 93 float32 columns of them are 22 MB
KEYS: Final = ("user_key", "date")
ASKED: Final = ("item_key", *HISTORY_COLUMNS)  # beside features, until the ranker has answered
FILE: Final = "reference.parquet"
OF_FEW: Final = ("item_", "creator_", "category_", "shelf_", "user_creator_")
ATTRIBUTES: Final = ("item_duration_ms", "item_type")  # what an item is, whatever happens to it


class ReferenceMissing(ValueError):
    """A reference cannot be made or read; the message says what to materialize."""


@dataclass(frozen=True)
class Reference:
    """Rows of whole users: KEYS, then the columns that are watched (features and predictions, float32)."""

    rows: pl.DataFrame

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name in self.rows.columns if name not in KEYS)

    @property
    def days(self) -> tuple[str, ...]:
        return tuple(self.rows["date"].unique().sort().to_list())

    def without(self, day: str) -> Reference:
        """The same without one day: a day is not held against itself."""
        return Reference(self.rows.filter(pl.col("date") != day))

    def save(self, folder: Path) -> None:
        """Write FILE into a folder."""
        with replacing(folder / FILE) as temporary:
            self.rows.write_parquet(temporary, compression="zstd")

    @staticmethod
    def load(folder: Path) -> Reference:
        """Raises ReferenceMissing when the folder holds none."""
        try:
            return Reference(pl.read_parquet(folder / FILE))
        except (FileNotFoundError, pl.exceptions.PolarsError):
            raise ReferenceMissing(
                f"{folder / FILE} is not there or not readable: materialize drift_reference"
            ) from None


def reference(rows: pl.DataFrame, columns: Sequence[str], days: int = DAYS, most: int = ROWS) -> Reference:
    """The newest days of rows that hold KEYS and `columns`, whole users of them where there are more than `most`."""
    newest = rows["date"].unique().sort().to_list()[-days:]
    return Reference(watched(rows.filter(pl.col("date").is_in(newest)), columns, most))


def watched(rows: pl.DataFrame, columns: Sequence[str], most: int = ROWS) -> pl.DataFrame:
    """KEYS, float32 `columns` and ASKED (where they still are) of about `most` rows: a user's rows stay together, the
    same users on every day.
    """
    asked = [name for name in ASKED if name in rows.columns]
    kept = rows.select(*KEYS, pl.col(list(columns)).cast(pl.Float32), *asked)
    if kept.height <= most:
        return kept
    # user keys are hashes already: their low bits choose users evenly
    return kept.filter((pl.col("user_key") & 0xFFFF) < int(0x10000 * most / kept.height))


def stationary(features: Sequence[Feature]) -> tuple[str, ...]:
    """Names of the features that stand still while the world does: of users, of requests, and what an item is.

    Left out is what moves by nature: the calendar, ages, and counts over a lifetime (on KuaiRand's eleven days their
    PSI between training and test days reaches 14). Left out are also the rates and counts of items, creators,
    categories and shelves: they are few or a few of them are most of the rows, each moves as one, and resampling users
    says nothing of how far (items alone brought 3.6 % of 1,008 stationary days over the bounds, all others 0.7 %).
    What moves them for good moves users, or the errors of the predictions.
    """
    return tuple(
        feature.name
        for feature in features
        if not (
            feature.op == "modulo"
            or (feature.op == "log1p" and feature.inputs[0].endswith(f"_{LIFETIME.name}"))
            or any(name.startswith(OF_FEW) and name not in ATTRIBUTES for name in feature.inputs)
        )
    )


def known_shares(rows: pl.DataFrame, defaults: Mapping[str, float]) -> dict[str, float]:
    """Share of the rows in which each feature is known: neither null nor NaN nor at its declared default."""
    shares = {}
    for name, default in defaults.items():
        values = rows[name].cast(pl.Float32).to_numpy()
        shares[name] = float(1.0 - (np.isnan(values) | (values == np.float32(default))).mean()) if len(values) else 0.0
    return shares
