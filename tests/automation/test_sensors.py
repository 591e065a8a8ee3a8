"""Drift retrains once a finding, and not again before a new model can have learned anything."""

from __future__ import annotations

import json

import dagster as dg
import pytest

from recsys_assets.defs.automation.sensors import COOL_DOWN, DRIFT_CHECK, retrain_on_drift


def look(instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult | dg.SkipReason:
    result = retrain_on_drift(dg.build_sensor_context(instance, cursor=cursor))
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def find(instance: dg.DagsterInstance, *, passed: bool) -> None:
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=DRIFT_CHECK.asset_key, check_name=DRIFT_CHECK.name, passed=passed, metadata={}
        )
    )


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def test_without_a_finding_it_says_what_to_do(instance: dg.DagsterInstance) -> None:
    skipped = look(instance, None)
    assert isinstance(skipped, dg.SkipReason) and "materialize drift_report" in str(skipped.skip_message)


def test_stable_days_retrain_nothing(instance: dg.DagsterInstance) -> None:
    find(instance, passed=True)
    result = look(instance, None)
    assert isinstance(result, dg.SensorResult) and not result.run_requests


def test_one_finding_one_retrain_until_the_cool_down_is_over(instance: dg.DagsterInstance) -> None:
    find(instance, passed=False)
    first = look(instance, None)
    assert isinstance(first, dg.SensorResult) and len(first.run_requests or []) == 1
    assert isinstance(look(instance, first.cursor), dg.SkipReason)  # the same finding again
    find(instance, passed=False)
    waiting = look(instance, first.cursor)
    assert isinstance(waiting, dg.SkipReason) and "waiting" in str(waiting.skip_message)
    long_ago = json.loads(first.cursor or "") | {"retrained_at": 0.0}
    assert COOL_DOWN.total_seconds() > 0
    later = look(instance, json.dumps(long_ago))  # the finding was not lost while waiting
    assert isinstance(later, dg.SensorResult)
    assert later.run_requests and first.run_requests
    assert later.run_requests[0].run_key != first.run_requests[0].run_key
