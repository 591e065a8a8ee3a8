"""An Evidently snapshot (a run report with tests) as one AssetCheckResult."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg


class SnapshotError(RuntimeError):
    """The snapshot holds no test, or a test that could not be evaluated: nothing can be said."""


def to_check_result(
    snapshot: Mapping[str, Any],
    check_name: str | None = None,
    *,
    asset_key: str | None = None,
    report: Path | None = None,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN,
) -> dg.AssetCheckResult:
    """`snapshot.dict()` of a report run with `include_tests=True` as one check; `report` is the HTML beside it.

    Raises:
        SnapshotError: without a test in it, or with one that ended in an error.
    """
    tests = list(snapshot.get("tests") or [])
    if not tests:
        raise SnapshotError("the snapshot holds no test: run the report with include_tests=True")
    for test in tests:
        if _status(test) == "ERROR":
            raise SnapshotError(f"{test['name']} could not be evaluated: {test.get('description', '')}")
    failed = [test for test in tests if _status(test) in ("FAIL", "WARNING")]
    if failed:
        said = "; ".join(f"{test['name']}: {test.get('description', '')}" for test in failed[:3])
        more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
        description = f"{len(failed)} of {len(tests)} drifted: {said}{more}"
    else:
        description = f"none of {len(tests)} drifted"
    lines = ["| test | status | what was seen |", "| --- | --- | --- |"]
    lines += [f"| {test['name']} | {_status(test)} | {test.get('description', '')} |" for test in tests]
    metadata: dict[str, Any] = {
        "tests": dg.MetadataValue.md("\n".join(lines)),
        "tests_failed": len(failed),
        "tests_evaluated": len(tests),
    }
    if report is not None:
        metadata["report"] = dg.MetadataValue.path(str(report))
    return dg.AssetCheckResult(
        check_name=check_name,
        asset_key=asset_key,
        passed=not failed,
        severity=severity,
        description=description,
        metadata=metadata,
    )


def _status(test: Mapping[str, Any]) -> str:
    """PASS, FAIL, WARNING or ERROR, also where the status is an enumeration, or says SUCCESS for PASS."""
    text = str(getattr(test["status"], "value", test["status"])).rsplit(".", 1)[-1].upper()
    return "PASS" if text in ("PASS", "SUCCESS", "SKIPPED") else text
