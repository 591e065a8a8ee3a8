"""A challenger's share of the users: even, stable, its own answers for the canary, and none for the shadow."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.experiments.assignment import place_of
from recsys.experiments.record import Experiment, ExperimentError
from recsys.features import catalog
from recsys.lake import Lake
from recsys.policy.value import value
from recsys.registry import Registry, RegistryError
from recsys.serving.bundle import load
from recsys.serving.bundles import BundleWatch
from recsys.serving.course import Course
from recsys.serving.pipeline import Recommender
from recsys.serving.scene import Scene
from recsys.serving.schema import Context, RecommendRequest
from recsys.serving.served_log import ServedLog, read, segments
from recsys.store.opening import open_store
from tests.serving.world import World

USERS = [f"user {n}" for n in range(4000)]


@pytest.fixture
def registry(world: World, tmp_path: Path) -> Registry:
    shutil.copytree(Lake(world.settings.home).registry, tmp_path / "registry")
    return Registry(tmp_path / "registry")


@pytest.fixture
def watch(registry: Registry) -> BundleWatch:
    return BundleWatch(registry, lambda bundle: load(bundle, None, catalog.FINGERPRINT, registry))


def test_shares_are_even_stable_and_new_with_every_challenger() -> None:
    places = np.array([place_of("a", user) for user in USERS])
    assert abs(places.mean() - 0.5) < 0.02 and abs((places < 0.1).mean() - 0.1) < 0.02
    others = np.array([place_of("b", user) for user in USERS])
    assert abs(np.corrcoef(places, others)[0, 1]) < 0.05


def test_an_experiment_answers_by_arm_ends_at_its_stop_and_an_arm_that_is_gone_leaves_its_users_to_the_champion(
    world: World, registry: Registry, watch: BundleWatch
) -> None:
    now = time.time_ns() // 1_000_000
    ids = {"control": world.champion.bundle_id, "treatment": world.other.bundle_id}
    made = Experiment("one", ids, {"control": 0.5, "treatment": 0.5}, now - 1000, 7, stages=((0, 0.4),))
    registry.run_experiment(made, held=catalog.FINGERPRINT, now=now)
    assert watch.look() and not watch.look() and set(ids.values()) <= registry.in_use(0)
    for user in USERS:
        assert watch.of(user).bundle.bundle_id == ids[made.arm_of(user, now) or "control"]
    assert 700 < sum(watch.of(user).role == "canary" for user in USERS) < 900
    with pytest.raises(ExperimentError, match="experiment one runs in layer bundles"):
        registry.try_out(world.other.bundle_id, canary=0.1)
    with pytest.raises(RegistryError, match="no bundle 0123"):
        registry.run_experiment(replace(made, name="two", arms={**ids, "treatment": "0123"}), now=now)
    registry.experiments.end("one", "stopped", ["by hand"])
    assert watch.look() and {watch.of(user).role for user in USERS} == {"champion"}
    shutil.rmtree(registry.get(world.other.bundle_id).path)
    registry.experiments.start(replace(made, name="three"))
    assert watch.look() and {watch.of(user).role for user in USERS} == {"champion"}
    assert world.other.bundle_id in (watch.refused or "")


def test_a_canary_takes_its_share_and_grows_without_moving_anybody_back(
    world: World, registry: Registry, watch: BundleWatch
) -> None:
    assert watch.of(USERS[0]).bundle.bundle_id == world.champion.bundle_id
    registry.try_out(world.other.bundle_id, canary=0.1, shadow=0.2)
    assert watch.look()
    few = {user for user in USERS if watch.of(user).role == "canary"}
    unseen = {user for user in USERS if watch.of(user).shadow is not None}
    assert 300 < len(few) < 500 and 600 < len(unseen) < 850 and not few & unseen
    assert {watch.of(user).bundle.bundle_id for user in few} == {world.other.bundle_id}
    registry.try_out(world.other.bundle_id, canary=0.5)
    watch.look()
    more = {user for user in USERS if watch.of(user).role == "canary"}
    assert few < more and 1850 < len(more) < 2150 and not any(watch.of(user).shadow for user in USERS)
    registry.try_out(world.other.bundle_id)
    watch.look()
    assert {watch.of(user).role for user in USERS} == {"champion"}


def test_a_bundle_on_trial_that_is_promoted_by_hand_leaves_the_control_its_arm_until_the_trial_ends(
    world: World, registry: Registry, watch: BundleWatch
) -> None:
    registry.try_out(world.other.bundle_id, canary=0.3)
    registry.promote(world.other.bundle_id)
    watch.look()
    answered = [watch.of(user).bundle.bundle_id for user in USERS]
    assert 1050 < answered.count(world.champion.bundle_id) < 1350
    registry.try_out(world.other.bundle_id)
    watch.look()
    assert {(c.role, c.bundle.bundle_id) for c in map(watch.of, USERS)} == {("champion", world.other.bundle_id)}


@pytest.mark.parametrize("shares", [{"canary": -0.1}, {"canary": 0.6}, {"shadow": float("nan")}])
def test_shares_that_make_no_sense_change_nothing(registry: Registry, world: World, shares: dict[str, float]) -> None:
    before = list(registry.experiments.entries())  # of other files: the home is theirs as well
    with pytest.raises(RegistryError, match="from 0 to"):
        registry.try_out(world.other.bundle_id, **shares)
    assert list(registry.experiments.entries()) == before


def test_a_challenger_that_does_not_fit_leaves_the_champion_alone(
    world: World, registry: Registry, watch: BundleWatch
) -> None:
    registry.try_out(world.other.bundle_id, canary=0.5)
    path = registry.get(world.other.bundle_id).path / "ranker" / "ranker.json"
    path.chmod(0o644)
    path.write_text("{}")
    watch.look()
    assert {watch.of(user).role for user in USERS} == {"champion"} and world.other.bundle_id in (watch.refused or "")


def test_canary_and_shadow_answer_with_their_own_scores(
    world: World, registry: Registry, watch: BundleWatch, tmp_path: Path
) -> None:
    registry.try_out(world.other.bundle_id, canary=0.5, shadow=0.5)
    watch.look()
    store = open_store(world.settings)
    recommender = Recommender(store, watch, ServedLog(tmp_path / "served"))
    told: list[tuple[Course, float]] = []
    shadowed = threading.Event()
    recommender.on_shadow = lambda course, overlap: (told.append((course, overlap)), shadowed.set())[0]
    chosen = {user: watch.of(user) for user in world.user_ids}
    canary = next(user for user, choice in chosen.items() if choice.role == "canary")
    users = {"canary": canary, "champion": next(user for user, choice in chosen.items() if choice.shadow is not None)}
    at = Context(at=world.simulator_end)
    for role, bundle_id in (("canary", world.other.bundle_id), ("champion", world.champion.bundle_id)):
        course = Course()
        answer = recommender.recommend(RecommendRequest(user_id=users[role], context=at), course)
        assert (answer.bundle, course.role, answer.rung) == (bundle_id, role, "full")
        ids = [str(item.item_id) for item in answer.items]
        bundle = watch.of(users[role]).bundle
        scene = Scene.at_shelf(bundle, users[role], world.simulator_end)
        # As it was known then, as a slate of the past reads it: other files of this session may have sent events.
        then = store.position_at(world.simulator_end)
        known = store.read(users[role], ids, world.simulator_end, then, shelf_key=scene.shelf_code)
        assert value(bundle.ranker.predict(scene.inputs(known)).columns()).tolist() == [i.score for i in answer.items]
    assert shadowed.wait(20)
    (course, overlap), *more = told
    assert not more and (course.role, course.bundle) == ("shadow", world.other.bundle_id)
    assert 0 <= overlap <= 1 and course.predictions is not None
    recommender.close()
    log = read(segments(tmp_path / "served")).to_pylist()
    assert world.other.bundle_id not in {row["bundle"] for row in log if row["user_id"] == users["champion"]}
