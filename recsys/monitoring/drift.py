"""Have the features or predictions moved since training? The only module that imports evidently (and pandas)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from recsys.features.definition import LIFETIME, Feature
from recsys.lake import replacing

# Population stability index: 0.1 is usually called a shift, 0.25 a large one.
THRESHOLD: Final = 0.2
MAX_DRIFTED_SHARE: Final = 0.3  # of the columns
# Rows of each side, evenly spaced: a PSI depends on the number of rows, so it is kept the same from day to day.
ROWS: Final = 20_000


class DriftError(ValueError):
    """Two tables cannot be compared; the message says what they lack."""


@dataclass(frozen=True)
class Drift:
    """PSI of every column, largest first, and what follows from it."""

    scores: Mapping[str, float]
    reference_rows: int
    current_rows: int

    @property
    def drifted(self) -> tuple[str, ...]:
        return tuple(name for name, score in self.scores.items() if score >= THRESHOLD)

    @property
    def share(self) -> float:
        """Drifted columns of all columns."""
        return len(self.drifted) / len(self.scores)

    @property
    def holds(self) -> bool:
        return self.share <= MAX_DRIFTED_SHARE

    def __str__(self) -> str:
        worst = ", ".join(f"{name} {score:.2f}" for name, score in list(self.scores.items())[:3])
        return f"{len(self.drifted)} of {len(self.scores)} columns have a PSI of {THRESHOLD} or more; largest: {worst}"


def stationary(features: Sequence[Feature]) -> tuple[str, ...]:
    """Names of the features that stand still while the world does.

    Left out is what moves by nature: the calendar, ages, and counts over a lifetime (on KuaiRand's eleven days their
    PSI between training and test days reaches 14). Rates over a lifetime stay in.
    """
    return tuple(
        feature.name
        for feature in features
        if not (
            feature.op == "modulo"
            or (feature.op == "since" and "item_published_at" in feature.inputs)
            or (feature.op == "log1p" and feature.inputs[0].endswith(f"_{LIFETIME.name}"))
        )
    )


def drift(reference: pl.DataFrame, current: pl.DataFrame, columns: Sequence[str], html: Path) -> Drift:
    """Compare numeric columns of two tables, and write Evidently's report on them to `html`.

    Raises:
        DriftError: when a side has no rows, or lacks a column.
    """
    for side, table in (("reference", reference), ("current", current)):
        missing = [name for name in columns if name not in table.columns]
        if missing or not table.height:
            raise DriftError(f"{side} has {table.height} rows and lacks {missing[:3]}: materialize training_set again")
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import DriftedColumnsCount, ValueDrift

    definition = DataDefinition(numerical_columns=list(columns))
    before, now = (
        Dataset.from_pandas(_sample(table, columns).to_pandas(), data_definition=definition)
        for table in (reference, current)
    )
    metrics = [ValueDrift(column=name, method="psi", threshold=THRESHOLD) for name in columns]
    counted = DriftedColumnsCount(num_method="psi", num_threshold=THRESHOLD, drift_share=MAX_DRIFTED_SHARE)
    with np.errstate(invalid="ignore", divide="ignore"), replacing(html) as temporary:  # of constant columns
        snapshot = Report([counted, *metrics]).run(now, before)
        snapshot.save_html(str(temporary))
    found = {
        metric["config"]["column"]: float(metric["value"])
        for metric in snapshot.dict()["metrics"]
        if metric["config"]["type"].endswith(":ValueDrift")
    }
    ordered = dict(sorted(found.items(), key=lambda pair: -pair[1]))
    return Drift(ordered, reference.height, current.height)


def _sample(table: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    chosen = np.unique(np.linspace(0, table.height - 1, min(ROWS, table.height)).astype(np.int64))
    return table.select(pl.col(list(columns)).cast(pl.Float64))[chosen]
