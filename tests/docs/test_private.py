"""Every use of what a package does not promise, with the version in which it was found true.

Where a public name exists it is used instead. A new version, or a new private use, fails here: look at it, then say so.
"""

from __future__ import annotations

import ast
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import ROOT

# package -> version, and file -> what it uses
PRIVATE = {
    # the storage that forked steps would each import for 1 s, named by its module alone
    "dagster": ("1.13.27", {
        # the SQLite event log, whose batches are written one by one, and the name that its config is given by
        "recsys_assets/event_log.py": {"dagster._core.storage.event_log.sqlite", "dagster._serdes"},
        "recsys_assets/preload.py": {"dagster._core.storage.sqlite_storage"},
        # the history of a check with what never ended, and the slots of a run that was killed: only the storage tells
        "recsys_assets/home.py": {".event_log_storage"},
        "recsys_assets/defs/monitoring/standing.py": {".event_log_storage"},
        "recsys_assets/defs/automation/sensors.py": {".event_log_storage"},
    }),
    "dagster-shared": ("1.13.27", {}),
    # dbt's events as Dagster's, without the child process that DbtCliResource starts (defs/cleaned/project.py)
    "dagster-dbt": ("0.29.27", {"recsys_assets/defs/cleaned/tables.py": {"dagster_dbt.core.dbt_cli_event"}}),
    # a drift test of one's own is registered in the old package only
    "evidently": ("0.7.23", {
        "recsys/monitoring/drift_page.py": {"evidently.legacy.calculations.stattests", "evidently.legacy.core"},
    }),
    # our launcher loads the collections before it binds, and gives its port; the package's own does neither
    "milvus-lite": ("3.2.2", {
        "recsys/retrieval/milvus_server.py": {
            "milvus_lite.adapter.grpc.server", "milvus_lite.adapter.grpc.servicer", "milvus_lite.db",
            "milvus_lite.exceptions",
        },
    }),
}  # fmt: skip
PROMISED_NOWHERE = ("dagster_shared", "dagster_dbt.core", "dagster_dbt.dbt_manifest", "bentoml_cli", "evidently.legacy",
                    "milvus_lite.")  # fmt: skip
STORAGES = ("event_log_storage", "run_storage", "schedule_storage")
OURS = ("recsys", "recsys_assets", "bentos", "expectations")


def used(path: Path) -> set[str]:
    private = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        elif isinstance(node, ast.Attribute) and node.attr in STORAGES:
            private.add(f".{node.attr}")
        for name in names:
            parts = name.split(".")
            hidden = any(part.startswith("_") and not part.startswith("__") for part in parts)
            if parts[0] not in OURS and (hidden or name.startswith(PROMISED_NOWHERE)):
                private.add(name)
    return private


def test_no_other_private_name_is_used() -> None:
    files = [path for folder in OURS for path in (ROOT / folder).rglob("*.py") if "_pb2" not in path.name]
    used_in = {str(path.relative_to(ROOT)): names for path in files if (names := used(path))}
    assert used_in == {file: names for _, uses in PRIVATE.values() for file, names in uses.items()}


@pytest.mark.parametrize("package", PRIVATE)
def test_they_were_found_true_in_the_installed_version(package: str) -> None:
    assert version(package) == PRIVATE[package][0], f"look at {PRIVATE[package][1]} with the new version, then name it"
