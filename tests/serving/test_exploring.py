"""What is left to chance, from the door to the log and back: HTTP, the served log, what came of it, a replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys.lake import Lake
from recsys.policy.exploration import RANKED, Explorer
from recsys.policy.shelves import SHELVES
from recsys.registry import Registry
from recsys.serving import served_log
from recsys.serving.bundle import ServingBundle, load
from recsys.serving.course import Course
from recsys.serving.opening import open_recommender
from recsys.serving.replay import replay_requests
from recsys.serving.schema import RecommendRequest
from recsys.store.online import OnlineStore
from tests.serving.running import serving
from tests.serving.world import World

STRANGERS = [f"exploring {n}" for n in range(35)]
PLAYED = slice(100, 105)  # of the world's users: people of whom plays are known, who have shortcuts


@pytest.fixture(scope="module")
def answers(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Answers of a service that explores, by request id."""
    with serving(world, tmp_path_factory.mktemp("exploring"), RECSYS_EXPLORE="true") as service:
        asked = [{"user_id": user, "k": 10} for user in STRANGERS]
        asked += [{"user_id": user, "k": 10, "shelf": "shortcuts"} for user in world.user_ids[PLAYED]]
        told = [service.http.post("/recommend", json=request).json() for request in asked]
    return {answer["request_id"]: answer for answer in told}


def logged(home: Path, requests: Any) -> pa.Table:
    folder = Lake(home).served_log
    paths = [path for day in served_log.days(folder) for path in served_log.segments(folder, day)]
    table = served_log.read(paths)
    return table.filter(pc.is_in(table["request_id"], pa.array(list(requests))))


def test_slates_explore_and_the_served_log_says_by_which_chance(world: World, answers: dict[str, Any]) -> None:
    rows = pl.DataFrame(logged(world.settings.home, answers).drop_columns(["features"])).sort("request_id", "slot")
    assert set(rows["request_id"]) == {name for name, answer in answers.items() if answer["items"]}
    assert set(rows["rung"]) == {"full"}
    for (request_id,), slate in rows.group_by("request_id"):
        assert slate["item_id"].to_list() == [item["item_id"] for item in answers[str(request_id)]["items"]]
    feed, shortcuts = (rows.filter(pl.col("shelf") == shelf) for shelf in ("feed", "shortcuts"))
    how = SHELVES["feed"].explores
    assert how is not None and set(feed["policy"]) == {how.policy}
    assert feed["request_id"].n_unique() == len(STRANGERS) and shortcuts.height
    drawn, certain = feed.filter("explored"), feed.filter(~pl.col("explored"))
    assert drawn.height >= 5 and drawn["pool_size"].min() >= 2 and drawn["pool_size"].max() <= how.pool  # type: ignore[operator]
    assert drawn["propensity"].min() > 0.005 and drawn["propensity"].max() < 1  # type: ignore[operator]
    assert set(certain["propensity"]) == {1.0} and set(certain["pool_size"]) == {1}
    assert set(shortcuts["policy"]) == {RANKED} and set(shortcuts["propensity"]) == {1.0}
    assert not shortcuts["explored"].any()


def test_a_replay_draws_the_same_to_the_bit_and_by_another_secret_it_does_not(
    world: World, store: OnlineStore, answers: dict[str, Any]
) -> None:
    registry = Registry(Lake(world.settings.home).registry)

    def bundle_of(name: str) -> ServingBundle:
        return load(registry.get(name), None, store.fingerprint, registry)

    rows = logged(world.settings.home, answers)
    again = replay_requests(rows, store, bundle_of, Explorer(registry.secret()))
    assert again.same == pc.count_distinct(rows["request_id"]).as_py() and not again.different and not again.left_out
    other = replay_requests(rows, store, bundle_of, Explorer(b"another secret"))
    explored = set(rows.filter(rows["explored"])["request_id"].to_pylist())
    drawn_anew = [name for name, why in other.different.items() if name in explored and "items" in why]
    assert len(drawn_anew) >= 0.5 * len(explored) > 0  # others are drawn alike by chance, from small pools


def test_a_rung_below_leaves_nothing_to_chance_and_logs_1(world: World) -> None:
    recommender = open_recommender(world.settings.model_copy(update={"explore": True}), follow=False)
    courses = [Course() for _ in range(20)]
    for n, course in enumerate(courses):  # what answers when a request's time is up
        recommender.fallback(RecommendRequest(user_id=f"hurried {n}", k=10), course)
    recommender.close()
    rows = logged(world.settings.home, [course.request_id for course in courses])
    assert rows.num_rows >= 100 and set(rows["rung"].to_pylist()) == {"trending"}
    assert set(rows["policy"].to_pylist()) == {RANKED} and set(rows["propensity"].to_pylist()) == {1.0}
    assert set(rows["pool_size"].to_pylist()) == {1} and not any(rows["explored"].to_pylist())
