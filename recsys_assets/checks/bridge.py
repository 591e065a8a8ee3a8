"""What Great Expectations and Evidently found, as Dagster asset checks: one sentence, one table, one verdict.

Knows nothing of this project: it takes the plain dictionaries that `ValidationResult.to_json_dict()` and
`Snapshot.dict()` give, and imports neither package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

SAID = 3  # failures told in the sentence; the table holds all


class BridgeError(RuntimeError):
    """A finding that could not be evaluated is no finding: the message names it and what the package said."""


@dataclass(frozen=True)
class Finding:
    """One expectation, or one test."""

    claim: str
    holds: bool
    seen: str


def from_great_expectations(
    result: Mapping[str, Any],
    check_name: str | None = None,
    *,
    asset_key: str | None = None,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    """A GX validation result as one check.

    Raises:
        BridgeError: an expectation ended in an error, which GX itself counts as success=False.
    """
    findings = []
    for outcome in result["results"]:
        if error := _raised(outcome.get("exception_info") or {}):
            raise BridgeError(f"{_claim(outcome)} could not be evaluated: {error}")
        findings.append(Finding(_claim(outcome), bool(outcome["success"]), _observed(outcome)))
    return to_check_result(findings, "expectations", check_name, asset_key=asset_key, severity=severity)


def from_evidently(
    snapshot: Mapping[str, Any],
    check_name: str | None = None,
    *,
    asset_key: str | None = None,
    report: Path | None = None,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN,
) -> dg.AssetCheckResult:
    """A snapshot of a report run with `include_tests=True` as one check; `report` is the HTML beside it.

    Raises:
        BridgeError: without a test in it, or with one that ended in an error.
    """
    tests = list(snapshot.get("tests") or [])
    if not tests:
        raise BridgeError("the snapshot holds no test: run the report with include_tests=True")
    findings = []
    for test in tests:
        status, seen = _status(test), str(test.get("description", ""))
        if status == "ERROR":
            raise BridgeError(f"{test['name']} could not be evaluated: {seen}")
        findings.append(Finding(str(test["name"]), status == "PASS", seen))
    metadata = {"report": dg.MetadataValue.path(str(report))} if report is not None else {}
    return to_check_result(findings, "tests", check_name, asset_key=asset_key, severity=severity, metadata=metadata)


def to_check_result(
    findings: Sequence[Finding],
    kind: str,
    check_name: str | None = None,
    *,
    asset_key: str | None = None,
    severity: dg.AssetCheckSeverity,
    metadata: Mapping[str, Any] = {},
) -> dg.AssetCheckResult:
    """Findings of one kind ("expectations", "tests") as one check that passes when all of them hold."""
    failed = [finding for finding in findings if not finding.holds]
    if failed:
        said = "; ".join(f"{finding.claim}: {finding.seen}" for finding in failed[:SAID])
        more = f"; and {len(failed) - SAID} more" if len(failed) > SAID else ""
        description = f"{len(failed)} of {len(findings)} {kind} failed: {said}{more}"
    else:
        description = f"all {len(findings)} {kind} hold"
    lines = ["| claim | holds | seen |", "| --- | --- | --- |"]
    lines += [f"| {f.claim} | {'yes' if f.holds else '**no**'} | {f.seen} |" for f in findings]
    return dg.AssetCheckResult(
        check_name=check_name,
        asset_key=asset_key,
        passed=not failed,
        severity=severity,
        description=description,
        metadata={
            kind: dg.MetadataValue.md("\n".join(lines)),
            f"{kind}_failed": len(failed),
            f"{kind}_evaluated": len(findings),
            **metadata,
        },
    )


def _raised(info: Mapping[str, Any]) -> str | None:
    """The message of an error in `exception_info`: flat, or one entry a metric; None when there was none."""
    entries: Iterable[Any] = [info] if "raised_exception" in info else info.values()
    for entry in entries:
        if entry.get("raised_exception"):
            return str(entry.get("exception_message") or "unknown error").strip().splitlines()[0]
    return None


def _claim(outcome: Mapping[str, Any]) -> str:
    config = outcome["expectation_config"]
    arguments = {k: v for k, v in config["kwargs"].items() if k != "batch_id" and v is not None}
    column = arguments.pop("column", None)
    name = config["type"].removeprefix("expect_").replace("_", " ")
    rest = ", ".join(f"{k} {_short(v)}" for k, v in arguments.items())
    return f"{f'{column}: ' if column else ''}{name}{f' ({rest})' if rest else ''}"


def _observed(outcome: Mapping[str, Any]) -> str:
    seen = outcome.get("result") or {}
    if "unexpected_count" in seen:
        some = ", ".join(_short(v) for v in (seen.get("partial_unexpected_list") or [])[:3])
        return f"{seen['unexpected_count']:,} of {seen['element_count']:,} unexpected{f' ({some})' if some else ''}"
    return _short(seen.get("observed_value", ""))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _status(test: Mapping[str, Any]) -> str:
    """PASS, FAIL, WARNING or ERROR, also where the status is an enumeration, or says SUCCESS for PASS."""
    text = str(getattr(test["status"], "value", test["status"])).rsplit(".", 1)[-1].upper()
    return "PASS" if text in ("PASS", "SUCCESS", "SKIPPED") else text
