"""What the conditions ask for: each change once, no day of the schedules, nothing that stands on a failed check."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import count
from typing import Any

import dagster as dg
import pytest

from recsys.settings import Settings
from recsys_assets.content import VERSION
from recsys_assets.defs.automation.conditions import AFTER_CHANGE, MISSED_DAY
from recsys_assets.defs.automation.schedules import DBT, FOLLOWING, OBSERVED

NOW = datetime(2026, 1, 12, 2, tzinfo=UTC)  # the newest day is 11 January; the night takes in the 10th and the 11th
DAILY = {"raw_events", *DBT, "cleaned_events", "impressions", "impression_features", "feedback"}


def offering(last: str) -> dg.Definitions:
    """The project's definitions of a home whose days end with this one."""
    from recsys_assets.definitions import built

    first, end = (date.fromisoformat(day).toordinal() for day in ("2026-01-05", last))
    return built(Settings(), tuple(date.fromordinal(n).isoformat() for n in range(first, end + 1)))


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return offering("2026-01-11")


class Daemon:
    """The sensor's ticks over the real definitions, on records that a test writes."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.definitions, self.instance, self.cursor = definitions, instance, None
        self.versions = count()

    def offers(self, last: str) -> None:
        """The definitions are loaded again, when more days have come in."""
        self.definitions = offering(last)

    def tick(self, at: datetime = NOW) -> dict[str, set[str | None]]:
        evaluated: Any = dg.evaluate_automation_conditions(
            self.definitions, self.instance, evaluation_time=at, cursor=self.cursor
        )
        self.cursor = evaluated.cursor
        keys = {key for result in evaluated.results if result.true_subset.size for key in [result.key]}
        return {key.to_user_string(): evaluated.get_requested_partitions(key) for key in keys}

    def made(self, asset: str, *days: str, of: str | None = None) -> None:
        """`of`: the version of its bytes; else others than ever before."""
        for day in days or (None,):
            tags = {VERSION: of or str(next(self.versions))}
            self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=day, tags=tags))

    def checked(self, asset: str, check: str, *, passed: bool) -> None:
        self.instance.report_runless_asset_event(dg.AssetCheckEvaluation(dg.AssetKey(asset), check, passed=passed))


@pytest.fixture
def daemon(definitions: dg.Definitions) -> Iterator[Daemon]:
    with dg.DagsterInstance.ephemeral() as instance:
        running = Daemon(definitions, instance)
        for asset in DAILY:
            running.made(asset, *(f"2026-01-{day:02}" for day in range(5, 12)))
        for asset in ("raw_items", "items", "bundle", "online_metrics", "slates", "bundle_versions"):
            running.made(asset)
        for check in blocking_checks(definitions, "bundle", "impressions"):
            running.checked(check.asset_key.to_user_string(), check.name, passed=True)
        running.tick()  # the first one meets everything for the first time
        yield running


def blocking_checks(definitions: dg.Definitions, *assets: str) -> list[dg.AssetCheckKey]:
    graph = definitions.resolve_asset_graph()
    keys = {check for asset in assets for check in graph.get_check_keys_for_assets({dg.AssetKey(asset)})}
    return [key for key in keys if graph.get_check_spec(key).blocking]


def test_every_condition_reads_aloud_and_the_sensor_is_off_until_turned_on(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    conditions = {key.to_user_string(): graph.get(key).automation_condition for key in graph.get_all_asset_keys()}
    named = {name: condition.get_label() for name, condition in conditions.items() if condition is not None}
    assert {name for name, words in named.items() if words == MISSED_DAY.get_label()} == DAILY
    assert {name for name, words in named.items() if words == AFTER_CHANGE.get_label()} == {"slates", "bundle_versions"}
    sensor = definitions.get_repository_def().get_sensor_def("keep_up_with_changes")
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED


def test_nothing_that_a_schedule_or_sensor_makes_is_asked_for_by_a_condition_too(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    made = {
        key.to_user_string()
        for name in ("observe", "learn", "learn_ranker", "embed", "reindex", "watch", "release")
        for key in definitions.resolve_job_def(name).asset_layer.selected_asset_keys
    }
    every = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert every - made == {"slates", "bundle_versions"}  # and so these two have their condition
    assert not made & set(FOLLOWING) - {"drift_report", "bento"} and set(OBSERVED) <= made


def test_a_new_day_is_left_to_the_night_and_asks_for_slates_once(daemon: Daemon) -> None:
    tomorrow = datetime(2026, 1, 13, 2, tzinfo=UTC)
    daemon.offers("2026-01-13")  # of today there are rows as well
    assert daemon.tick(tomorrow) == {}  # the 12th is there as a partition, and the schedule's
    for asset in DAILY:
        daemon.made(asset, "2026-01-12")
    assert set(daemon.tick(tomorrow)) == {"slates"}
    assert daemon.tick(tomorrow) == {}


def test_a_new_bundle_asks_for_slates_and_its_row_once(daemon: Daemon) -> None:
    daemon.made("bundle")
    assert set(daemon.tick()) == {"slates", "bundle_versions"}
    assert daemon.tick() == {}
    daemon.made("online_metrics")
    assert set(daemon.tick()) == {"bundle_versions"}


def test_what_was_made_again_with_the_same_bytes_asks_for_nothing(daemon: Daemon) -> None:
    daemon.made("bundle", of="these bytes")
    assert set(daemon.tick()) == {"slates", "bundle_versions"}
    daemon.made("bundle", of="these bytes")
    assert daemon.tick() == {}
    daemon.made("bundle", of="others")
    assert set(daemon.tick()) == {"slates", "bundle_versions"}


def test_a_bundle_whose_check_failed_is_not_built_upon_until_it_passes(daemon: Daemon) -> None:
    daemon.made("bundle")
    daemon.checked("bundle", "the_bundle_answers", passed=False)
    assert daemon.tick() == {}
    daemon.checked("bundle", "the_bundle_answers", passed=True)
    assert set(daemon.tick()) == {"slates", "bundle_versions"}
    assert daemon.tick() == {}


def test_a_day_that_the_nights_missed_is_taken_in_once_from_raw_to_features(daemon: Daemon) -> None:
    later = [datetime(2026, 1, 13 + n, 2, tzinfo=UTC) for n in range(3)]
    for at in later[:2]:  # the 12th: the nights of 13 and 14 should
        daemon.offers(f"{at:%Y-%m-%d}")
        assert daemon.tick(at) == {}
    daemon.offers("2026-01-15")
    asked = daemon.tick(later[2])
    assert {name: days for name, days in asked.items() if name in DAILY} == {name: {"2026-01-12"} for name in DAILY}
    assert not any(daemon.tick(later[2]).get(name) for name in DAILY)


def test_a_day_beyond_two_weeks_is_a_backfill_for_a_person(daemon: Daemon) -> None:
    daemon.offers("2026-02-19")
    asked = daemon.tick(datetime(2026, 2, 20, 2, tzinfo=UTC))
    assert min(asked["raw_events"]) == "2026-02-06" and max(asked["raw_events"]) == "2026-02-17"
