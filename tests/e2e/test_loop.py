"""Ten days of a platform that serves, is watched, learns and recovers: the whole loop by a simulated clock.

Day 4: every user wakes up with another's tastes and what was good is bad. Day 6: a file of a day that was served, and
the ranker from before the turn is tried on half of the users. Day 8: somebody forces a bundle that prefers what it
should not. Day 9: somebody goes back to the ranker from before the turn, and the newer one is tried on half of the
users. Nobody touches anything else. Slates do not explore: with draws in them the gates, which have 70 users, do not
always tell the retrained ranker from the old one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import dagster as dg
import pytest

from recsys.cleaned import live
from recsys.evaluation.gates import Verdict
from recsys.events import IDENTITY, event_key
from recsys.retrieval.milvus_server import stop_milvus
from recsys.serving.opening import open_recommender
from recsys.serving.schema import EventsRequest
from recsys.sources.simulator import Simulator
from recsys.store.opening import told_events
from tests.e2e.loop_world import EVENT_FIELDS, FIRST, LAST, Platform, Served, contrary

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1600)]
HISTORY, USERS, REQUESTS = 8, 500, 120
TURN, FILE, FORCED, BACK = 4, 6, 8, 9
OLDER, NEWER = "ranker-from-before-the-turn", "newer-ranker"  # the experiments of days 6 and 7, 9 and 10


@dataclass
class Story:
    """What happened, by day."""

    served: dict[int, Served] = field(default_factory=dict)
    champion: dict[int, str | None] = field(default_factory=dict)  # in the evening, when all sensors have looked
    night: dict[int, bool] = field(default_factory=dict)
    refused: dict[int, list[str]] = field(default_factory=dict)  # failures of the night
    failed: dict[int, dict[str, str]] = field(default_factory=dict)  # checks, after the night
    verdict: dict[int, tuple[str, ...]] = field(default_factory=dict)  # reasons of the newest one
    skipped: dict[int, dict[str, str]] = field(default_factory=dict)  # why sensors did nothing
    first: str | None = None
    forced: str | None = None
    old_on_the_day_after: float = 0.0
    new_on_the_day_after: float = 0.0


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    root = tmp_path_factory.mktemp("loop")
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        for name, value in {
            "HOME": root / "home",
            "SOURCE": "files",
            "DATA": root / "deliveries",
            "TEST_DAYS": 1,
            "VALIDATION_DAYS": 1,
            "JOURNAL_DAYS": 1,
        }.items():
            patch.setenv(f"RECSYS_{name}", str(value))
        from recsys_assets.definitions import defs
        from recsys_assets.partitions import days

        simulator = Simulator(days=HISTORY + 11, users=USERS, turns_on=HISTORY + TURN)
        made = Platform(root / "home", simulator, HISTORY, REQUESTS, instance, dg.Definitions())
        for day in range(1 - HISTORY, 1):
            made.deliver(day)
        days.cache_clear()  # of another test's source
        made.definitions = defs()
        yield made
        stop_milvus(made.settings)
        days.cache_clear()


@pytest.fixture(scope="module")
def story(platform: Platform) -> Story:
    """Live it once; the tests below read it."""
    told, began = Story(), time.monotonic()
    begin = {FIRST: platform.name(1 - HISTORY), LAST: platform.name(0), "recsys/cause": "by hand"}
    assert platform.run(0, "refresh", begin), platform.failures
    told.first = platform.registry.alias_id()
    for day in range(1, 11):
        if day == FORCED:
            told.forced = contrary(platform)
        if day == FILE:
            platform.experiment(day, OLDER, str(told.first))
        if day == BACK:
            platform.registry.rollback(reason="by hand")
            platform.experiment(day, NEWER, str(told.champion[TURN + 1]))
        told.served[day] = platform.serve(day)
        if day == FILE:
            platform.deliver(day)
            asked = told.served[day]
            told.old_on_the_day_after, told.new_on_the_day_after = (
                platform.what_if(str(bundle), asked) for bundle in (told.first, told.champion[day - 1])
            )
        platform.run(day, "watch")
        for _ in range(2):  # a tick that comes twice changes nothing
            platform.tick(day, "rollback_on_regression")
        told.night[day] = platform.night(day)
        told.refused[day] = platform.failures
        for _ in range(2):
            platform.tick(day, "retrain_on_drift")
        told.failed[day], told.skipped[day] = platform.failed_checks(), dict(platform.skipped)
        told.champion[day] = platform.registry.alias_id()
        told.verdict[day] = Verdict.load(platform.lake.reports / "verdict.json").reasons
        seconds = time.monotonic() - began
        print(f"day {day} {seconds:.0f} s: {told.served[day].by_bundle} {told.champion[day]} {told.skipped[day]}")
        if day == FILE:
            platform.withdraw(day)  # the source took it back; the day is taken in again
            assert platform.night(day), platform.failures
    return told


def rollbacks(platform: Platform) -> list[dict[str, object]]:
    return [row for row in platform.registry.history() if row["action"] == "rollback"]


def test_quiet_days_change_nothing(story: Story) -> None:
    assert story.first is not None
    assert [story.champion[day] for day in (1, 2, 3)] == [story.first] * 3
    assert all(story.night[day] for day in (1, 2, 3))
    # beside what other surfaces log there is now what the service logs: twice the usual volume, and said so
    for day in (1, 2, 3):
        assert set(story.failed[day]) <= {"raw_events: volume_is_usual"}, story.failed[day]
    assert "features and predictions are stable" in story.skipped[3]["retrain_on_drift"]


def test_the_turn_is_seen_on_its_first_day_and_retrains_once(story: Story, platform: Platform) -> None:
    assert story.served[TURN].true_ctr < 0.5 * story.served[TURN - 1].true_ctr
    assert "drift_report: features_and_predictions_are_stable" in story.failed[TURN]
    assert "a second day will tell" in story.skipped[TURN]["retrain_on_drift"]
    assert platform.retrains() == [(TURN + 1, True)]


def test_the_new_ranker_passed_its_gates_and_is_why_it_gets_better(story: Story, platform: Platform) -> None:
    new = story.champion[TURN + 1]
    assert new != story.first, story.verdict[TURN + 1]
    assert new is not None and story.served[FILE].by_bundle.keys() == {new, story.first}  # an experiment has begun
    bundle = platform.registry.get(new)
    assert bundle.lineage["cause"] == "drift" and bundle.lineage["through"] == platform.name(TURN + 1)
    assert bundle.lineage["days"] and bundle.lineage["code"]
    promoted = next(row for row in platform.registry.history() if row["bundle_id"] == new)
    assert promoted["action"] == "promote" and "gates hold" in promoted["reason"]
    # the same users, instants and log; the old bundle and the new
    assert story.new_on_the_day_after > story.old_on_the_day_after


def test_the_online_metric_recovers(story: Story) -> None:
    before, at_worst = story.served[TURN - 1].true_ctr, story.served[TURN].true_ctr
    new = str(story.champion[TURN + 1])  # half of the users have the older ranker, by the experiment of that day
    assert story.served[10].by_bundle[new] > at_worst + 0.5 * (before - at_worst)


def test_a_file_of_a_day_that_was_served_is_refused_and_the_champion_stays(story: Story, platform: Platform) -> None:
    assert not story.night[FILE]
    (refused,) = story.refused[FILE]
    assert platform.name(FILE) in refused and "a day comes from one of them" in refused
    assert story.champion[FILE] == story.champion[TURN + 1] == story.champion[FILE + 1]
    assert story.night[FILE + 1]  # the source took it back


def test_a_bad_bundle_is_rolled_back_on_its_first_day_and_only_it(story: Story, platform: Platform) -> None:
    assert story.served[FORCED].by_bundle.keys() == {story.forced}
    assert story.served[FORCED].true_ctr < 0.8 * story.served[FORCED - 1].true_ctr
    rolled, by_hand = rollbacks(platform)
    assert rolled["from"] == story.forced and rolled["bundle_id"] == story.champion[FORCED] == story.champion[TURN + 1]
    assert (by_hand["from"], by_hand["bundle_id"]) == (rolled["bundle_id"], story.first)
    assert story.served[FORCED + 1].true_ctr > 1.2 * story.served[FORCED].true_ctr


def test_one_experiment_ends_in_a_refusal_and_one_in_a_promotion(story: Story, platform: Platform) -> None:
    new, book = story.champion[TURN + 1], platform.registry.experiments
    for day in (FILE, FILE + 1, BACK, BACK + 1):  # each on half of the users, and truly better or worse
        by_bundle = story.served[day].by_bundle
        assert by_bundle.keys() == {new, story.first} and by_bundle[str(new)] > by_bundle[str(story.first)]
    older, newer = book.get(OLDER), book.get(NEWER)
    assert (older.state, newer.state) == ("refused", "promoted"), (older.reasons, newer.reasons)
    assert "treatment: clicks an impression" in older.reasons[0] and "day 2" in older.reasons[0]
    assert "treatment: clicks an impression" in newer.reasons[0] and "day 2" in newer.reasons[0]
    assert [story.champion[day] for day in (FILE + 1, BACK, BACK + 1)] == [new, story.first, new]
    last = platform.registry.history()[-1]
    assert last["action"] == "promote" and last["reason"] == f"experiment {NEWER}: {newer.reasons[0]}"


def test_what_was_logged_is_what_is_recomputed_every_night(story: Story, platform: Platform) -> None:
    for day, failed in story.failed.items():
        assert "online_state: replay" not in failed, day
        assert "feedback: features_as_logged_are_features_as_recomputed" not in failed, day
    rows = sum(platform.lake.read(platform.lake.day(d, "feedback", "slates")).num_rows
               for d in platform.lake.days("feedback", "slates"))  # fmt: skip
    assert rows > 9 * REQUESTS * 9  # nine or ten days of ten places, but for what was still under way at midnight


def test_the_journal_holds_the_last_two_days_and_what_left_it_is_known_for_good(
    story: Story, platform: Platform
) -> None:
    assert told_events(platform.settings)["received_at"].to_numpy().min() >= platform.begins(9)
    rows = live.given(platform.lake, platform.name(1)).to_pylist()
    again = [row for row in rows if row["event_key"] == event_key(*(row[name] for name in IDENTITY))][:1000]
    events = [{name: row[name] for name in EVENT_FIELDS if row[name] is not None} for row in again]
    recommender = open_recommender(platform.settings, follow=False, clock=lambda: platform.begins(11))
    told = recommender.record_events(EventsRequest(events=events))
    recommender.close()
    assert (told.accepted, told.duplicates, told.rejected) == (0, 1000, [])
