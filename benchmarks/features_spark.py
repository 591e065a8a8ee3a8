"""Spark beside the local sweep: `python -m benchmarks.features_spark [events]`.

First the 20 window features of features_sweep.py, what a row costs here and there (CPU seconds of the whole process
tree, so of the JVM and its Python workers too, without their start). Then every view of the catalogue over the same
log, whose hottest item has a tenth of the events: the two must be the same bytes.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.features_sweep import ours, view
from benchmarks.features_world import ZipfWorld, zipf_world
from recsys.features import sweep
from recsys.features.catalog import AGGREGATES, ITEM, USER, VIEWS
from recsys.features.definition import FeatureView
from recsys.features.log import Rows
from recsys.features.parity import compare_arrays
from recsys.features.spark import ROW_COLUMNS, point_in_time
from recsys.settings import Settings
from recsys_assets import resources

ROWS, CATALOGUE_ROWS, PARTITIONS = 100_000, 20_000, 4


def cpu_seconds() -> float:
    """Of this process and all that it started."""
    mine = psutil.Process()
    return sum(sum(p.cpu_times()[:4]) for p in (mine, *mine.children(recursive=True)))


def by_spark(session: Any, folder: Path, world: ZipfWorld, rows: int, views: tuple[FeatureView, ...]) -> np.ndarray:
    users, items, positions, as_of, shelves = (column[:rows] for column in world.rows)
    item = world.items.lookup(items)
    pq.write_table(pa.table(dict(zip(world.log._fields, world.log, strict=True))), folder / "events.parquet")
    columns = (np.arange(rows), users, items, item.category_key, item.creator_key, shelves, positions, as_of)
    pq.write_table(pa.table(dict(zip(ROW_COLUMNS, columns, strict=True))), folder / "rows.parquet")
    read = session.read
    joined = point_in_time(
        read.parquet(str(folder / "events.parquet")),
        read.parquet(str(folder / "rows.parquet")),
        views=views,
        partitions=PARTITIONS,
    )
    table = joined.toArrow().sort_by("row")
    return np.stack([table[name].to_numpy() for each in views for name in each.columns], axis=1)


def main(events: int = 1_000_000) -> int:
    console = Console(width=110)
    if not shutil.which("java"):
        console.print("without Spark: it needs Java 17 on the PATH")
        return 0
    world = zipf_world(24_000, 6_000, events)
    rows = min(ROWS, len(world.rows[0]))
    ours(zipf_world(50, 50, 1_000), USER, 10)  # compile
    table = Table("20 window features", "here, rows/CPU s", "Spark, rows/CPU s", "Spark, seconds", "x", "values differ")
    warnings.simplefilter("ignore")
    session = resources.spark(Settings()).spark_session
    session.sparkContext.setLogLevel("ERROR")
    differ = 0
    with tempfile.TemporaryDirectory() as place:
        by_spark(session, Path(place), zipf_world(50, 50, 1_000), 100, (view(USER),))  # its workers start and compile
        for entity in (USER, ITEM):
            began = time.process_time()
            here = ours(world, entity, rows)
            cost = (time.process_time() - began) / rows
            began, wall = cpu_seconds(), time.perf_counter()
            there = by_spark(session, Path(place), world, rows, (view(entity),))
            cost_there, wall = (cpu_seconds() - began) / rows, time.perf_counter() - wall
            differ += int(np.sum(here != there))
            cells = f"{1 / cost:,.0f}", f"{1 / cost_there:,.0f}", f"{wall:.0f}", f"{cost_there / cost:.0f}"
            table.add_row(f"{entity.name} key", *cells, f"{np.sum(here != there):,}")
        console.print(table)
        rows = min(rows, CATALOGUE_ROWS)
        local = sweep.point_in_time(world.log, world.items, Rows(*(column[:rows] for column in world.rows)))
        began = time.perf_counter()
        parity = compare_arrays(by_spark(session, Path(place), world, rows, VIEWS), local, AGGREGATES)
        wall = time.perf_counter() - began
    session.stop()
    hottest = int(np.unique(world.log.item_key, return_counts=True)[1].max())
    console.print(
        f"the whole catalogue, {events:,} events ({hottest:,} of one item): {parity} in {wall:.0f} s on Spark"
    )
    return int(differ > 0 or not parity.holds)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
