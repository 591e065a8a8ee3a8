"""Checks with nothing to look at, or too little to tell by, neither pass nor fail: they say so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest

from recsys.cleaned.keyed import CLEANED_EVENT_SCHEMA, IMPRESSION_SCHEMA
from recsys.events import EVENT_SCHEMA
from recsys.features.catalog import FEATURES, FINGERPRINT
from recsys.lake import Lake
from recsys.registry import Registry
from recsys.settings import Settings
from recsys.store.opening import open_store
from recsys_assets.checks.nothing import has_failed, is_nothing
from recsys_assets.defs.borders import checks, deliveries, shares
from recsys_assets.defs.monitoring import feedback
from recsys_assets.defs.training_sets import training_set
from recsys_assets.resources import Workspace
from tests.features.streams import random_log
from tests.registry.test_registry import parts
from tests.registry.test_rollback import FITTING

DAYS = [f"2026-11-{day:02}" for day in range(2, 8)]


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    return Lake(tmp_path)


def evaluated(*asked: dg.AssetChecksDefinition) -> Mapping[str, dg.AssetCheckEvaluation]:
    assets = {key.asset_key for check in asked for key in check.check_keys}
    definitions = dg.Definitions(
        assets=[dg.AssetSpec(key) for key in assets],
        asset_checks=asked,
        jobs=[dg.define_asset_job("look", dg.AssetSelection.all_asset_checks())],
        resources={"workspace": Workspace()},
    )
    with dg.DagsterInstance.ephemeral() as instance:
        done = definitions.resolve_job_def("look").execute_in_process(instance=instance)
    return {check.check_name: check for check in done.get_asset_check_evaluations()}


BORDERS = (
    checks.every_raw_event_is_accounted_for,
    checks.every_impression_event_has_its_row,
    checks.no_day_is_empty,
    deliveries.volume_is_usual,
    deliveries.events_arrived_until_the_end,
    deliveries.no_user_dominates,
    shares.shares_are_usual,
    training_set.every_impression_is_in_one_part,
)


def test_of_no_row_no_check_says_that_it_holds(lake: Lake) -> None:
    for part in ("train", "validation", "test", "left_out"):
        lake.write(pa.table({"date": pa.array([], pa.string()), "rows": pa.array([], pa.int64())}),
                   lake.table("training_sets", part))  # fmt: skip
    told = evaluated(*BORDERS)
    assert len(told) >= 12 and all(map(is_nothing, told.values())), {n: c.description for n, c in told.items()}
    for table, schema in {
        ("raw", "events"): EVENT_SCHEMA,
        ("cleaned", "events"): CLEANED_EVENT_SCHEMA,
        ("cleaned", "impressions"): IMPRESSION_SCHEMA,
    }.items():
        lake.write(schema.empty_table(), lake.day(DAYS[0], *table))
    told = evaluated(checks.every_raw_event_is_accounted_for, checks.every_impression_event_has_its_row)
    assert all(map(is_nothing, told.values())), told


def test_of_the_first_days_a_check_says_that_it_cannot_tell(lake: Lake) -> None:
    """One row on a day, and two days before it: as usual, said the check."""
    for n, day in enumerate(DAYS):
        row = {"event_id": day, "kind": "click", "user_id": "u", "item_id": "i", "occurred_at": 1, "received_at": 1}
        lake.write(pa.Table.from_pylist([row] * (1 if n < 5 else 9), EVENT_SCHEMA), lake.day(day, "raw", "events"))
        told = evaluated(deliveries.volume_is_usual, deliveries.no_user_dominates)
        for check in told.values():
            assert is_nothing(check) == (n < 3) and ("too few to say what is usual" in check.description) == (n < 3)
    assert has_failed(told["volume_is_usual"]) and not has_failed(told["no_user_dominates"])


def test_served_rows_of_other_features_are_not_said_to_hold(lake: Lake) -> None:
    log, _, items = random_log(1, 50)
    store = open_store(Settings(home=lake.home), create=True)
    store.bootstrap(log, items, log.head)
    store.close()
    rows = pl.DataFrame({"fingerprint": ["another", FINGERPRINT], "features": [[1.0] * len(FEATURES), None]})
    lake.write(rows.to_arrow(), lake.day(DAYS[0], "feedback", "slates"))
    told = evaluated(feedback.features_as_logged_are_features_as_recomputed)
    (check,) = told.values()
    assert is_nothing(check) and "0 of 2 rows" in check.description, check.description


def test_a_champion_whom_few_have_met_is_not_said_to_hold(lake: Lake) -> None:
    registry = Registry(lake.registry)
    before, champion = (registry.register(parts(lake.home / n, n), FITTING).bundle_id for n in "12")
    for bundle in (before, champion):
        registry.promote(bundle, reason="for the test")
    rows = pl.DataFrame({"user_id": ["a", "b"], "bundle": [before, champion], "served_at": [1, 2], "click": [0, 0]})
    lake.write(rows.to_arrow(), lake.reports / "online.parquet")
    (check,) = evaluated(feedback.the_champion_holds_in_service).values()
    assert is_nothing(check) and "1 and 1 users so far" in check.description, check.description
