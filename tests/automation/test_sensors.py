"""What runs by itself: once a cause, never on broken data, and the same whether a tick is lost or comes twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest

from recsys.features.catalog import FINGERPRINT
from recsys.lake import Lake
from recsys.registry import Registry
from recsys_assets.defs.automation.sensors import (
    REGRESSION,
    reindex_on_new_items,
    release_on_promotion,
    retrain_on_drift,
    rollback_on_regression,
)
from recsys_assets.defs.monitoring.standing import DRIFT, OF_A_DAY
from tests.registry.test_registry import FACTS, parts

FITTING = dataclasses.replace(FACTS, features=FINGERPRINT, ranker_features=FINGERPRINT)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    monkeypatch.delenv("RECSYS_SOURCE", raising=False)
    return tmp_path


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def look(sensor: dg.SensorDefinition, instance: dg.DagsterInstance, cursor: str | None = None):
    """One tick: run requests, the cursor after it, why nothing was asked for."""
    context = dg.build_sensor_context(instance, cursor=cursor)
    ticked = sensor.evaluate_tick(context)
    return ticked.run_requests or [], ticked.cursor, ticked.skip_message or ""


def find(instance: dg.DagsterInstance, key: dg.AssetCheckKey, *, passed: bool, **metadata: str) -> None:
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=key.asset_key, check_name=key.name, passed=passed, metadata=metadata, description="so it is"
        )
    )


def drift(instance: dg.DagsterInstance, *days: str, passed: bool = False) -> None:
    for day in days:
        find(instance, DRIFT, passed=passed, day=day)


def test_without_a_finding_it_says_what_to_do(instance: dg.DagsterInstance) -> None:
    requests, _, words = look(retrain_on_drift, instance)
    assert not requests and "materialize drift_report" in words


def test_stable_days_retrain_nothing(instance: dg.DagsterInstance) -> None:
    drift(instance, "2026-01-05", "2026-01-06", passed=True)
    requests, _, words = look(retrain_on_drift, instance)
    assert not requests and words == "2026-01-06: features and predictions are stable"


def test_one_drifted_day_waits_for_a_second_and_two_are_one_retrain(instance: dg.DagsterInstance) -> None:
    drift(instance, "2026-01-05", passed=True)
    drift(instance, "2026-01-06")
    requests, cursor, words = look(retrain_on_drift, instance)
    assert not requests and "a second day will tell" in words
    drift(instance, "2026-01-06")  # the same day looked at again is no second day
    assert not look(retrain_on_drift, instance, cursor)[0]
    drift(instance, "2026-01-07")
    (request,), cursor, _ = look(retrain_on_drift, instance, cursor)
    assert request.run_key == "drift-2026-01-07" and request.tags["recsys/cause"] == "drift"
    assert request.tags["recsys/finding"] == "2026-01-06 to 2026-01-07"
    assert not look(retrain_on_drift, instance, cursor)[0]


def test_what_drifts_within_a_week_has_the_same_cause_and_later_another(instance: dg.DagsterInstance) -> None:
    drift(instance, "2026-01-06", "2026-01-07")
    _, cursor, _ = look(retrain_on_drift, instance)
    drift(instance, "2026-01-08", "2026-01-14")
    requests, same, words = look(retrain_on_drift, instance, cursor)
    assert not requests and "the same cause" in words and same in (None, cursor)
    drift(instance, "2026-01-15")
    (request,), _, _ = look(retrain_on_drift, instance, cursor)
    assert request.run_key == "drift-2026-01-15"


def test_a_lost_tick_loses_no_retrain_and_an_overlapping_one_asks_with_the_same_key(
    instance: dg.DagsterInstance,
) -> None:
    drift(instance, "2026-01-06", "2026-01-07", "2026-01-08")  # two ticks came and went unseen
    (first,), _, _ = look(retrain_on_drift, instance)
    (again,), _, _ = look(retrain_on_drift, instance)  # the cursor of the first was not kept
    assert first.run_key == again.run_key == "drift-2026-01-08"


def test_broken_data_is_not_learned_from(instance: dg.DagsterInstance) -> None:
    drift(instance, "2026-01-06", "2026-01-07")
    find(instance, OF_A_DAY[1], passed=False, day="2026-01-07")
    requests, _, words = look(retrain_on_drift, instance)
    assert not requests and "a model would learn the fault" in words and "raw_events_meet_expectations" in words
    find(instance, OF_A_DAY[1], passed=True, day="2026-01-07")  # delivered again
    assert look(retrain_on_drift, instance)[0]


def test_drift_that_a_person_accepted_is_over(instance: dg.DagsterInstance) -> None:
    drift(instance, "2026-01-06", "2026-01-07")
    find(instance, DRIFT, passed=True)
    assert not look(retrain_on_drift, instance)[0]


def promoted(home: Path, n: int) -> list[str]:
    registry = Registry(home / "registry")
    ids = [registry.register(parts(home / str(i), str(i)), FITTING).bundle_id for i in range(n)]
    for bundle_id in ids:
        registry.promote(bundle_id)
    return ids


def test_a_losing_champion_is_rolled_back_once_and_one_that_is_gone_is_left_alone(
    instance: dg.DagsterInstance, home: Path
) -> None:
    _, second = promoted(home, 2)
    assert look(rollback_on_regression, instance)[2] == "the champion holds in service"
    find(instance, REGRESSION, passed=False, bundle=second)
    (request,), _, _ = look(rollback_on_regression, instance)
    assert request.run_key == f"rollback-{second}"
    Registry(home / "registry").rollback()
    requests, _, words = look(rollback_on_regression, instance)
    assert not requests and "not the champion any more" in words


def test_each_promotion_is_released_once(instance: dg.DagsterInstance, home: Path) -> None:
    assert look(release_on_promotion, instance)[2] == "no new champion"
    _, second = promoted(home, 2)
    (request,), cursor, _ = look(release_on_promotion, instance)
    assert request.run_key == f"release-{second}" and cursor == second
    assert not look(release_on_promotion, instance, cursor)[0]


def test_new_items_are_indexed_and_the_same_ones_once(instance: dg.DagsterInstance, home: Path) -> None:
    lake = Lake(home)
    assert "materialize item_index" in look(reindex_on_new_items, instance)[2]
    table = pl.DataFrame({"item_id": ["a", "b", "c"]}).to_arrow().cast(pa.schema([("item_id", pa.string())]))
    lake.write(table, lake.table("cleaned", "items"))
    lake.write(table.slice(0, 2), lake.table("embeddings", "items"))
    (request,), _, _ = look(reindex_on_new_items, instance)
    assert look(reindex_on_new_items, instance)[0][0].run_key == request.run_key
    lake.write(table, lake.table("embeddings", "items"))
    assert look(reindex_on_new_items, instance)[2] == "all 3 items are embedded"
