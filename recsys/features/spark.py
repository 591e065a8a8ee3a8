"""The same sweep beyond one machine: Spark brings an entity's events and rows together, the kernel reads them.

One shuffle a view, by the view's keys; inside a partition `mapInArrow` makes one call of the local sweep. Nothing of a
feature is said in SQL. Spark is imported only when a session is handed in.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.features import sweep
from recsys.features.catalog import AGGREGATES, VIEWS
from recsys.features.definition import FeatureView
from recsys.features.impressions import Runner
from recsys.features.layout import compile_program
from recsys.features.log import Catalogue, EventLog, Reads, Rows, checked

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

EVENT_COLUMNS: Final = EventLog._fields
ROW_COLUMNS: Final = ("row", "user_key", "item_key", "category_key", "creator_key", "shelf_key", "position", "as_of")


def point_in_time(
    events: DataFrame, rows: DataFrame, *, views: tuple[FeatureView, ...] = VIEWS, partitions: int | None = None
) -> DataFrame:
    """Aggregates of each row at its position and instant, one int64 column each, beside `row`.

    Args:
        events: EVENT_COLUMNS of the whole log
        rows: ROW_COLUMNS; `row` is unique, the item's keys are looked up already
        partitions: of each shuffle; an entity is never split, so a hot one needs an executor that holds its events
    """
    from pyspark.sql import functions as f

    names = ("row", *(name for name in EVENT_COLUMNS if name != "kind"), "kind")
    joined = None
    for view in views:
        keys = [f"{part}_key" for part in view.entity.parts]
        known = events.withColumn("row", f.lit(-1)).withColumn("kind", f.col("kind").cast("bigint"))
        asked = (
            rows.withColumnRenamed("as_of", "occurred_at")
            .withColumn("received_at", f.col("occurred_at"))
            .withColumn("watch_ms", f.lit(0))
            .withColumn("kind", f.lit(0))
        )
        both = known.select(*(f.col(n).cast("bigint") for n in names)).unionByName(
            asked.select(*(f.col(n).cast("bigint") for n in names))
        )
        together = both.repartition(partitions, *keys) if partitions else both.repartition(*keys)
        schema = ", ".join(f"`{name}` bigint" for name in ("row", *view.columns))
        mine = together.mapInArrow(partial(sweep_partition, view), schema)
        joined = mine if joined is None else joined.join(mine, "row")
    assert joined is not None
    return joined


def runner(spark: SparkSession, scratch: Path, partitions: int | None = None) -> Runner:
    """`sweep.point_in_time` with Spark under it.

    Args:
        spark: a session whose executors can import this package
        scratch: a folder that driver and executors see; what is exchanged lies there until the session ends
        partitions: of each shuffle; None leaves it to Spark
    """

    def on_spark(
        log: EventLog,
        items: Catalogue,
        rows: Rows,
    ) -> np.ndarray:
        users, keys, positions, as_of, _ = rows
        item = items.lookup(keys, as_of)
        shelves = np.zeros(len(users), np.int64) if rows.shelf_key is None else rows.shelf_key
        columns = (np.arange(len(users)), users, keys, item.category_key, item.creator_key, shelves, positions, as_of)
        scratch.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(dict(zip(EVENT_COLUMNS, log, strict=True))), scratch / "events.parquet")
        pq.write_table(pa.table(dict(zip(ROW_COLUMNS, columns, strict=True))), scratch / "rows.parquet")
        frame = point_in_time(
            spark.read.parquet(str(scratch / "events.parquet")),
            spark.read.parquet(str(scratch / "rows.parquet")),
            partitions=partitions,
        ).toArrow()
        out = np.empty((len(users), len(AGGREGATES)), np.int64)
        row = frame["row"].to_numpy()
        for i, name in enumerate(AGGREGATES):
            out[row, i] = frame[name].to_numpy()
        return out

    return on_spark


def sweep_partition(view: FeatureView, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """All events and rows of some entities in, the columns of one view for those rows out."""
    collected = list(batches)
    if not collected:
        return
    table = pa.Table.from_batches(collected)
    columns: dict[str, Any] = {name: table[name].to_numpy() for name in table.column_names}
    is_row = columns["row"] >= 0
    if not is_row.any():
        return
    events = {name: column[~is_row] for name, column in columns.items()}
    in_order = np.argsort(events["position"], kind="stable")
    log = checked(
        EventLog(*(events[n][in_order].astype(np.int8 if n == "kind" else np.int64) for n in EventLog._fields))
    )
    rows = {name: column[is_row] for name, column in columns.items()}
    order = np.argsort(rows["position"], kind="stable")
    names = ("user_key", "item_key", "category_key", "creator_key", "shelf_key", "position", "occurred_at")
    reads = Reads(*(np.ascontiguousarray(rows[name][order]) for name in names))
    aggregates = sweep.swept(compile_program((view,)), log, reads, order)
    arrays = [pa.array(rows["row"]), *(pa.array(np.ascontiguousarray(column)) for column in aggregates.T)]
    yield from pa.table(arrays, names=["row", *view.columns]).to_batches(max_chunksize=50_000)
