"""What every test shares: where the real slice may lie, where temporary files lie, and a machine kept quiet."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from bentos.recommender.scratch import SHARED_MEMORY

# One thread each: more processes than cores run beside each other, and a whole run takes .9 of the CPU of two threads.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.update(
    DO_NOT_TRACK="1",
    DAGSTER_DISABLE_TELEMETRY="yes",
    DBT_SEND_ANONYMOUS_USAGE_STATS="false",
    BENTOML_DO_NOT_TRACK="true",
    RECSYS_EXPLORE="false",  # what ranking says is what most tests ask for; those of exploration turn it on
    GRPC_ENABLE_FORK_SUPPORT="0",  # else Spark's Java may die at its fork, once a channel to Milvus was open
)
# Spark lives for seconds here: without Java's second compiler a sweep takes 13 s of CPU instead of 25.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process that a test starts compiles our modules anew

# Homes of the tests lie in memory where it is ample: no test cuts the power, so a flush to disk proves nothing, and a
# commit of Dagster's SQLite waits 20 ms for it (0.04 ms in memory). A TMPDIR that is set holds.
AMPLE = 4 << 30  # bytes: the largest home takes 100 MB, a session of three processes less than 2 GB
ROOM = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0
if "TMPDIR" not in os.environ and min(ROOM, psutil.virtual_memory().available) > AMPLE:
    os.environ["TMPDIR"] = tempfile.tempdir = str(SHARED_MEMORY)

settings.register_profile("untimed", deadline=None)  # the first example compiles for most of a second
settings.load_profile("untimed")

ROOT = Path(__file__).parents[1]
KUAIRAND = Path(os.environ.get("RECSYS_KUAIRAND", ROOT.parent / "shared" / "data" / "kuairand_pure"))


# Files that take minutes go first: one that begins when the others have ended keeps the others idle. What numba
# compiles (40 s) is kept beside the sources: the first one needs all of it, the two that begin beside it none.
LONGEST_FIRST = (
    "e2e/test_loop", "ranking/test_spark", "automation/test_forked_steps",
    "e2e/test_since", "e2e/test_spine", "serving/test_launch", "e2e/test_other_logs", "automation/test_backfill",
    "e2e/test_explored", "serving/test_under_load", "docs/test_recipes", "page/test_rooms", "serving/test_service",
    "features/test_crowd", "stream/test_consumer", "serving/test_ending", "serving/test_backup",
    "features/test_metadata_days", "cleaned/test_bad_days", "ingestion/test_home",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = {ROOT / "tests" / f"{name}.py": place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))
    missing = {
        "kuairand": None if list(KUAIRAND.glob("log_*_pure.csv")) else "no KuaiRand files: set RECSYS_KUAIRAND",
        "redis": None if shutil.which("redis-server") else "no redis-server on the PATH",
        "spark": None if shutil.which("java") else "no Java on the PATH",
    }
    for item in items:
        for marker, reason in missing.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def kuairand() -> Path:
    """Folder of the real slice; a test that uses it carries the marker `kuairand`."""
    return KUAIRAND
