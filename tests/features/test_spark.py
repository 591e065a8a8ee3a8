"""Spark gives the bytes of the local sweep."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.features import sweep
from recsys.features.catalog import AGGREGATES
from recsys.features.parity import compare_arrays
from recsys.features.spark import ROW_COLUMNS, point_in_time
from tests.features.streams import random_log, random_rows

pytestmark = [pytest.mark.spark, pytest.mark.slow]


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.executorEnv.PYTHONPATH", str(Path(__file__).parents[2]))
        .getOrCreate()
    )
    yield session
    session.stop()


def test_spark_reads_what_the_local_sweep_reads(spark: Any, tmp_path: Path) -> None:
    log, items, _ = random_log(3, 3_000, users=40, items=30, backwards=0.02)
    users, keys, positions, as_of = random_rows(3, 1_000, log, users=45, items=35)
    item = items.lookup(keys)
    columns = (np.arange(1_000), users, keys, item.category_key, item.creator_key, positions, as_of)
    pq.write_table(pa.table(dict(zip(log._fields, log, strict=True))), tmp_path / "events.parquet")
    pq.write_table(pa.table(dict(zip(ROW_COLUMNS, columns, strict=True))), tmp_path / "rows.parquet")
    found = point_in_time(
        spark.read.parquet(str(tmp_path / "events.parquet")),
        spark.read.parquet(str(tmp_path / "rows.parquet")),
        partitions=3,
    )
    table = found.toArrow().sort_by("row")
    assert table["row"].to_pylist() == list(range(1_000))
    aggregates = np.stack([table[name].to_numpy() for name in AGGREGATES], axis=1)
    parity = compare_arrays(aggregates, sweep.point_in_time(log, items, users, keys, positions, as_of), AGGREGATES)
    assert parity.holds, str(parity)
