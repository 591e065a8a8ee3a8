"""Spark gives the bytes of the local sweep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recsys.features import sweep
from recsys.features.catalog import AGGREGATES
from recsys.features.parity import compare_arrays
from recsys.features.spark import runner
from recsys.settings import Settings
from recsys_assets import resources
from tests.features.streams import random_log, random_rows

pytestmark = [pytest.mark.spark, pytest.mark.slow]


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    session = resources.spark(Settings()).spark_session
    yield session
    session.stop()


def test_spark_reads_what_the_local_sweep_reads(spark: Any, tmp_path: Path) -> None:
    log, items, _ = random_log(3, 3_000, users=40, items=30, backwards=0.02)
    asked = random_rows(3, 1_000, log, users=45, items=35)
    aggregates = runner(spark, tmp_path, partitions=3)(log, items, asked)
    parity = compare_arrays(aggregates, sweep.point_in_time(log, items, asked), AGGREGATES)
    assert parity.holds, str(parity)
