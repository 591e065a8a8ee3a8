"""A sieve from the door to its answer: two bundles' orders in one slate over HTTP, its log, a replay, the votes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys.events import DAY_MS
from recsys.experiments.interleaving import policy_of
from recsys.experiments.record import Experiment
from recsys.features import catalog
from recsys.lake import Lake
from recsys.monitoring.feedback import joined, of_events
from recsys.monitoring.sieve import sieved
from recsys.policy.exploration import RANKED, Explorer
from recsys.registry import Registry
from recsys.serving import served_log
from recsys.serving.bundle import BundleRefused, ServingBundle, load
from recsys.serving.bundles import BundleWatch
from recsys.serving.course import Course
from recsys.serving.opening import open_recommender
from recsys.serving.replay import replay_requests
from recsys.serving.schema import RecommendRequest
from recsys.store.online import OnlineStore
from recsys.store.opening import told_events
from tests.serving.running import serving
from tests.serving.world import World

PEOPLE = [f"mixed {n}" for n in range(70)]


def logged(home: Path, requests: Any) -> pa.Table:
    folder = Lake(home).served_log
    table = served_log.read([path for day in served_log.days(folder) for path in served_log.segments(folder, day)])
    return table.filter(pc.is_in(table["request_id"], pa.array(list(requests))))


@pytest.fixture(scope="module")
def sieve(world: World) -> Iterator[Experiment]:
    """One that runs over all users of the home, until these tests are over."""
    registry = Registry(Lake(world.settings.home).registry)
    arms, now = {"control": world.champion.bundle_id, "treatment": world.other.bundle_id}, time.time_ns() // 1_000_000
    halves = dict.fromkeys(arms, 0.5)
    made = Experiment("a-sieve", arms, halves, now, 3, ((0, 1.0),), kind="interleave", layer="sieves")
    registry.run_experiment(made, held=catalog.FINGERPRINT)
    yield made
    registry.experiments.end(made.name, "stopped", ["these tests are over"])


@pytest.fixture(scope="module")
def answers(world: World, sieve: Experiment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Answers by request id. Who gets a slate clicks on most of what the challenger put there, and on nothing else."""
    with serving(world, tmp_path_factory.mktemp("mixed"), RECSYS_EXPLORE="true") as service:
        told = [service.http.post("/recommend", json={"user_id": user, "k": 10}).json() for user in PEOPLE]
        made, events = {answer["request_id"]: answer for answer in told}, []
        for row in logged(world.settings.home, made).drop_columns(["features"]).to_pylist():
            shared = {name: row[name] for name in ("request_id", "item_id", "user_id", "slot", "shelf")}
            kinds = ["impression"] + (["click"] if row["team"] == 1 and row["slot"] % 4 else [])
            events += [{"event_id": f"{row['request_id']} {row['slot']} {k}", "kind": k, **shared} for k in kinds]
        sent = service.http.post("/events", json={"events": events[:1000]}).json()
        assert sent["accepted"] == len(events) <= 1000
    return made


def test_each_place_says_whose_it_is_and_both_have_as_many(
    world: World, sieve: Experiment, answers: dict[str, Any]
) -> None:
    rows = pl.DataFrame(logged(world.settings.home, answers).drop_columns(["features"])).sort("request_id", "slot")
    assert rows["request_id"].n_unique() == len(PEOPLE) and set(rows["rung"]) == {"full"}
    assert set(rows["bundle"]) == {sieve.arms["control"]} and set(rows["policy"]) == {policy_of(sieve.tried)}
    assert set(rows["propensity"]) == {1.0} and not rows["explored"].any()
    of_second = rows.group_by("request_id").agg(
        second=pl.col("team").sum(), places=pl.len(), first=pl.col("team").first()
    )
    assert ((of_second["second"] - of_second["places"] / 2).abs() <= 2).all()  # caps may pass over some of the draft
    assert 0.2 * len(PEOPLE) < of_second["first"].sum() < 0.8 * len(PEOPLE), "a coin of the request decides who begins"
    for (request_id,), slate in rows.group_by("request_id"):
        assert slate["item_id"].to_list() == [item["item_id"] for item in answers[str(request_id)]["items"]]
        assert slate["item_id"].n_unique() == slate.height


def test_a_replay_mixes_the_same_to_the_bit(world: World, store: OnlineStore, answers: dict[str, Any]) -> None:
    registry = Registry(Lake(world.settings.home).registry)

    def bundle_of(name: str) -> ServingBundle:
        return load(registry.get(name), None, store.fingerprint, registry)

    rows = logged(world.settings.home, answers)
    again = replay_requests(rows, store, bundle_of, Explorer(registry.secret()))
    assert again.same == len(PEOPLE) and not again.different and not again.left_out, str(again)
    teams = rows["team"].to_numpy()
    turned = rows.set_column(rows.schema.get_field_index("team"), "team", pa.array(1 - teams, pa.int8()))
    assert set(replay_requests(turned, store, bundle_of).different.values()) == {"team"}

    def gone(name: str) -> ServingBundle:
        if name == world.other.bundle_id:
            raise BundleRefused(f"bundle {name} is gone")
        return bundle_of(name)

    assert set(replay_requests(rows, store, gone).left_out.values()) == {f"bundle {world.other.bundle_id} is gone"}


def test_lower_rungs_and_arms_that_are_gone_mix_nothing(world: World, sieve: Experiment) -> None:
    registry = Registry(Lake(world.settings.home).registry)
    recommender, course = open_recommender(world.settings, follow=False), Course()
    recommender.fallback(RecommendRequest(user_id="hurried", k=10), course)
    recommender.close()
    rows = logged(world.settings.home, [course.request_id])
    assert set(rows["rung"].to_pylist()) == {"trending"} and set(rows["policy"].to_pylist()) == {RANKED}
    assert rows["team"].null_count == rows.num_rows > 5

    def without(bundle: Any) -> ServingBundle:
        if bundle.bundle_id == sieve.tried:
            raise BundleRefused(f"bundle {sieve.tried} is not readable")
        return load(bundle, None, catalog.FINGERPRINT, registry)

    watch = BundleWatch(registry, without)
    watch.look()
    choice = watch.of(PEOPLE[0])
    assert choice.bundle.bundle_id == world.champion.bundle_id and choice.beside is None
    assert watch.refused == f"bundle {sieve.tried} is not readable"


def test_people_prefer_whose_places_they_click_on(world: World, sieve: Experiment, answers: dict[str, Any]) -> None:
    served = pl.DataFrame(logged(world.settings.home, answers).drop_columns(["features"]))
    seen = joined(served, of_events(pl.DataFrame(told_events(world.settings))))
    told = sieved(sieve, seen, sieve.begins + DAY_MS)
    assert told.verdict == "prefer" and "of 70 users click on treatment's places more" in told.reasons[0], told.reasons
    (look,) = told.looks
    assert 0 < look.low < look.relative <= look.high and look.treatment > 0.9
    none = seen.with_columns(click=pl.lit(0))
    assert sieved(sieve, none, sieve.begins + DAY_MS).verdict == "goes on"
    ended = sieved(sieve, none, sieve.ends)
    assert ended.verdict == "refuse" and "not shown to be preferred within its 3 days" in ended.reasons[0]
    turned = seen.with_columns(team=1 - pl.col("team"))
    assert sieved(sieve, turned, sieve.begins + DAY_MS).verdict == "refuse"
