"""Great Expectations as asset checks: a suite that is plain data, a table, one AssetCheckResult.

An expectation that could not be evaluated counts as success=False in a GX result: here it raises, because a broken
check is not a broken table. The package costs 3.1 CPU s and 277 MiB to import: imported when a table is validated.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

Suite = Sequence[tuple[str, Mapping[str, Any]]]  # (type of the expectation, its arguments)


class ExpectationError(RuntimeError):
    """An expectation could not be evaluated; the message names it and what GX said."""


def validate(table: pa.Table, suite: Suite, name: str = "suite") -> dict[str, Any]:
    """The GX validation result of that table, as the dictionary GX writes.

    Raises:
        ExpectationError: when one of the expectations could not be evaluated.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyspark warns of pandas 3 at import, which GX does not use here
        import great_expectations as gx
        from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False, "metric_calculations": False}
        expected = gx.ExpectationSuite(name=name)
        for kind, arguments in suite:
            expected.add_expectation_configuration(ExpectationConfiguration(type=kind, kwargs=dict(arguments)))
        asset = context.data_sources.add_pandas("lake").add_dataframe_asset(name)
        batch = asset.add_batch_definition_whole_dataframe("table").get_batch({"dataframe": table.to_pandas()})
        result = batch.validate(expected, result_format="SUMMARY").to_json_dict()
    for outcome in result["results"]:
        if error := _raised(outcome.get("exception_info") or {}):
            raise ExpectationError(f"{_words(outcome)} could not be evaluated: {error}")
    return result


def to_check_result(
    result: Mapping[str, Any],
    check_name: str | None = None,
    *,
    asset_key: str | None = None,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    """A GX validation result as one check: what failed in plain words, every expectation as a table."""
    outcomes = result["results"]
    failed = [outcome for outcome in outcomes if not outcome["success"]]
    if failed:
        said = "; ".join(f"{_words(outcome)}: {_observed(outcome)}" for outcome in failed[:3])
        more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
        description = f"{len(failed)} of {len(outcomes)} expectations failed: {said}{more}"
    else:
        description = f"all {len(outcomes)} expectations hold"
    lines = ["| expectation | holds | observed |", "| --- | --- | --- |"]
    lines += [f"| {_words(o)} | {'yes' if o['success'] else '**no**'} | {_observed(o)} |" for o in outcomes]
    return dg.AssetCheckResult(
        check_name=check_name,
        asset_key=asset_key,
        passed=not failed,
        severity=severity,
        description=description,
        metadata={
            "expectations": dg.MetadataValue.md("\n".join(lines)),
            "expectations_failed": len(failed),
            "expectations_evaluated": len(outcomes),
        },
    )


def _raised(info: Mapping[str, Any]) -> str | None:
    """The message of an error in `exception_info`: flat, or one entry a metric; None when there was none."""
    entries: Iterable[Any] = [info] if "raised_exception" in info else info.values()
    for entry in entries:
        if entry.get("raised_exception"):
            return str(entry.get("exception_message") or "unknown error").strip().splitlines()[0]
    return None


def _words(outcome: Mapping[str, Any]) -> str:
    config = outcome["expectation_config"]
    arguments = {k: v for k, v in config["kwargs"].items() if k != "batch_id" and v is not None}
    column = arguments.pop("column", None)
    name = config["type"].removeprefix("expect_").replace("_", " ")
    rest = ", ".join(f"{k} {_short(v)}" for k, v in arguments.items())
    return f"{f'{column}: ' if column else ''}{name}{f' ({rest})' if rest else ''}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _observed(outcome: Mapping[str, Any]) -> str:
    seen = outcome.get("result") or {}
    if "unexpected_count" in seen:
        some = ", ".join(_short(v) for v in (seen.get("partial_unexpected_list") or [])[:3])
        return f"{seen['unexpected_count']:,} of {seen['element_count']:,} unexpected{f' ({some})' if some else ''}"
    return _short(seen.get("observed_value", ""))
