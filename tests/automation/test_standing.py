"""What holds a promotion back, and what clears it: a day that passes later, or a person with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from recsys.lake import Lake
from recsys.registry import Registry
from recsys_assets.checks.nothing import nothing
from recsys_assets.defs.monitoring.standing import (
    DRIFT,
    OF_A_DAY,
    OF_THE_WHOLE,
    PREDICTED,
    drift_is_explained,
    missing_days,
    standing,
)
from recsys_assets.defs.serving.acceptance import accept_finding
from recsys_assets.defs.serving.holds import holds

RAW = OF_A_DAY[1]
PARITY = OF_THE_WHOLE[0]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def find(instance: dg.DagsterInstance, key: dg.AssetCheckKey, passed: bool, **metadata: str) -> None:
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=key.asset_key, check_name=key.name, passed=passed, metadata=metadata, description="3 of 9 rows"
        )
    )


def held(instance: dg.DagsterInstance, lake: Lake) -> list[str]:
    return [str(finding) for finding in standing(instance, lake)]


def test_nothing_was_looked_at_and_nothing_holds(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    assert held(instance, Lake(tmp_path)) == []


def test_a_failed_day_stands_until_that_day_passes_and_not_another(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    find(instance, RAW, False, day="2026-01-06")
    find(instance, RAW, True, day="2026-01-07")
    assert held(instance, Lake(tmp_path)) == ["raw_events: raw_events_meet_expectations: 3 of 9 rows"]
    find(instance, RAW, True, day="2026-01-06")
    assert held(instance, Lake(tmp_path)) == []


def test_runs_over_a_range_speak_of_every_day_of_it(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """The days of a check are those of its run, also where it says nothing of them itself."""
    passes = {"2026-01-06": False}

    @dg.asset(name="raw_events", partitions_def=dg.DailyPartitionsDefinition("2026-01-01"),
              backfill_policy=dg.BackfillPolicy.single_run())  # fmt: skip
    def raw() -> None: ...

    @dg.asset_check(asset=raw, name="raw_events_meet_expectations")
    def check(context):  # type: ignore[no-untyped-def]
        tags = context.run.tags
        first, last = tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]
        bad = [day for day, passed in passes.items() if not passed and first <= day <= last]
        return dg.AssetCheckResult(passed=not bad, description=f"broken: {bad}")

    job = dg.Definitions([raw], asset_checks=[check]).resolve_implicit_global_asset_job_def()

    def run(first: str, last: str) -> None:
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        job.execute_in_process(instance=instance, tags=tags)

    run("2026-01-05", "2026-01-06")
    run("2026-01-07", "2026-01-08")  # later days are fine: the earlier ones still stand
    assert held(instance, Lake(tmp_path)) == ["raw_events: raw_events_meet_expectations: broken: ['2026-01-06']"]
    passes["2026-01-06"] = True
    run("2026-01-05", "2026-01-08")
    assert held(instance, Lake(tmp_path)) == []


def test_a_mismatch_holds_until_there_is_none(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    find(instance, PARITY, False)
    assert held(instance, Lake(tmp_path)) == ["impression_features: parity: 3 of 9 rows"]
    find(instance, PARITY, True)
    assert held(instance, Lake(tmp_path)) == []


def test_a_person_clears_a_finding_with_a_reason_that_stays(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    find(instance, DRIFT, False, day="2026-01-06")
    assert held(instance, Lake(tmp_path))

    def accept(reason: str) -> bool:
        config = {"asset": "drift_report", "check": DRIFT.name, "reason": reason}
        run = {"ops": {"note_acceptance": {"config": config}}}
        return accept_finding.execute_in_process(instance=instance, run_config=run, raise_on_error=False).success

    assert not accept("  ") and held(instance, Lake(tmp_path))
    assert accept("the cup final") and not held(instance, Lake(tmp_path))
    newest = instance.event_log_storage.get_latest_asset_check_execution_by_key([DRIFT])[DRIFT].event
    assert newest is not None and newest.dagster_event is not None
    assert newest.dagster_event.asset_check_evaluation_data.description == "accepted by hand: the cup final"


def test_days_that_are_missing_or_refused_are_told_apart(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    table = pa.table({"a": [1]})
    for day in ("2026-01-05", "2026-01-07", "2026-01-08"):
        lake.write(table, lake.day(day, "raw", "events"))
    for day in ("2026-01-05", "2026-01-08"):
        lake.write(table, lake.day(day, "cleaned", "events"))
    assert missing_days(lake) == {
        "2026-01-06": "2026-01-06 is missing: correct the source and materialize it again",
        "2026-01-07": "2026-01-07 was refused: correct the source and materialize it again",
    }


def test_drift_is_explained_for_a_week_after_a_retrain_because_of_it() -> None:
    lineage = {"cause": "drift", "through": "2026-01-10"}
    assert drift_is_explained("2026-01-09", lineage) and drift_is_explained("2026-01-17", lineage)
    assert not drift_is_explained("2026-01-18", lineage)
    assert not drift_is_explained("2026-01-09", {**lineage, "cause": "schedule"})
    assert not drift_is_explained(None, lineage) and not drift_is_explained("2026-01-09", {})


@pytest.mark.parametrize(("cause", "kept"), [("drift", {"features_are_complete"}), ("schedule", None)])
def test_a_retrain_for_drift_explains_both_drifts_and_no_other_finding(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: str, kept: set[str] | None
) -> None:
    """A ranker that reads histories predicts another click rate after a turn: this held its own retrain back."""
    names = {DRIFT.name, PREDICTED.name, "features_are_complete"}
    for name in names:
        find(instance, dg.AssetCheckKey(DRIFT.asset_key, name), False, day="2026-01-09")
    champion = SimpleNamespace(facts=SimpleNamespace(features="f"), lineage={"cause": "by hand"})
    monkeypatch.setattr(Registry, "champion", lambda registry: champion)
    bundle: Any = SimpleNamespace(facts=champion.facts, lineage={"cause": cause, "through": "2026-01-10"})
    findings = {finding.split(": ")[1] for finding in holds(instance, Lake(tmp_path), bundle)}
    assert findings == (names if kept is None else kept)


def test_what_had_nothing_to_look_at_stands_in_nobodys_way(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """0 of 0 is a warning to Dagster, which knows two verdicts alone; it neither holds back nor blocks."""
    checked = nothing("nothing was served and seen on these days", check_name=PARITY.name)
    assert not checked.passed and checked.severity == dg.AssetCheckSeverity.WARN
    find(instance, PARITY, False, **checked.metadata)
    assert held(instance, Lake(tmp_path)) == []
    find(instance, PARITY, False)
    assert len(held(instance, Lake(tmp_path))) == 1
