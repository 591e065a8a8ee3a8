"""What every test shares: where the real slice may lie, and a machine kept quiet."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(name, "2")
os.environ.update(
    DO_NOT_TRACK="1",
    DAGSTER_DISABLE_TELEMETRY="yes",
    DBT_SEND_ANONYMOUS_USAGE_STATS="false",
    BENTOML_DO_NOT_TRACK="true",
    RECSYS_EXPLORE="false",  # what ranking says is what most tests ask for; those of exploration turn it on
    GRPC_ENABLE_FORK_SUPPORT="0",  # else Spark's Java may die at its fork, once a channel to Milvus was open
)

ROOT = Path(__file__).parents[1]
KUAIRAND = Path(os.environ.get("RECSYS_KUAIRAND", ROOT.parent / "shared" / "data" / "kuairand_pure"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
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
