"""The drift of a day as a page to look at. The only module that imports evidently (and pandas)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from recsys.lake import replacing
from recsys.monitoring.drift import Drift
from recsys.monitoring.reference import Reference

SHOWN: Final = 20  # columns, the furthest moved first: the page draws a plot of each
CLOSED: Final = (
    "<title>Drift</title><meta http-equiv=Content-Security-Policy "
    "content=\"default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    'img-src data: blob:; font-src data:; worker-src blob:">'
)
ROWS: Final = 20_000  # of each side, evenly spaced


def write(path: Path, drift: Drift, reference: Reference, day: pl.DataFrame, head: str = "") -> dict[str, Any]:
    """Replace `path` by `head` (HTML) and below it Evidently's report on the columns that moved most; returns its
    snapshot, tests included. The page may load nothing: all that it shows is in it.

    Each column has two tests. The first has our distance and bound (a method registered with Evidently) and says what
    the check says. The second is Evidently's own, by its defaults; it decides nothing, as it takes rows to be
    independent. A column that is one number a user failed it on 21 of 40 days on which nothing had moved (924 rows by
    150 users, reference of ten such days); columns of independent rows failed on 2 of 160.
    """
    from evidently import DataDefinition, Dataset, Report
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType
    from evidently.metrics import ValueDrift

    shown = [moved for moved in drift.columns if moved.column in reference.columns][:SHOWN]
    metrics = []
    for moved in shown:
        name = f"calibrated PSI of {moved.column}"
        test = StatTest(name, name, [ColumnType.Numerical], default_threshold=moved.bound["psi"])

        def judged(_: Any, __: Any, ___: Any, ____: Any, moved: Any = moved) -> tuple[float, bool]:
            return moved.distance["psi"], moved.drifted

        register_stattest(test, judged)
        metrics.append(ValueDrift(column=moved.column, method=name, threshold=moved.bound["psi"]))
        metrics.append(ValueDrift(column=moved.column))
    columns = [moved.column for moved in shown]
    definition = DataDefinition(numerical_columns=columns)
    before, now = (
        Dataset.from_pandas(_evenly(table, columns).to_pandas(), data_definition=definition)
        for table in (reference.rows, day)
    )
    with np.errstate(invalid="ignore", divide="ignore"), replacing(path) as temporary:  # of constant columns
        snapshot = Report(metrics, include_tests=True).run(now, before)
        snapshot.save_html(str(temporary))
        page = temporary.read_text()
        if page.count("<head>") != 1 or page.count("<body>") != 1:
            raise ValueError("Evidently's page has another form than that of 0.7: drift_page.py puts ours into it")
        temporary.write_text(page.replace("<head>", f"<head>{CLOSED}").replace("<body>", f"<body>{head}"))
    return dict(snapshot.dict())


def _evenly(table: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    chosen = np.unique(np.linspace(0, table.height - 1, min(ROWS, table.height)).astype(np.int64))
    return table.select(pl.col(columns).cast(pl.Float64))[chosen]
