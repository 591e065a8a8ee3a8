"""A candidate source that fails or hangs takes no other down: the rest answers and names what is missing."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from benchmarks.running import running
from benchmarks.serving_faults import with_milvus
from benchmarks.traffic import Traffic
from bentos.recommender.calls import Calls
from recsys.lake import Lake
from recsys.policy.shelves import GENERAL
from recsys.registry import Registry
from recsys.retrieval.item_index import Hits, ItemIndexUnavailable
from recsys.retrieval.milvus_server import ensure_milvus, running_milvus, stop_milvus
from recsys.retrieval.sources import SOURCES
from recsys.serving import served_log
from recsys.serving.breakers import Breakers
from recsys.serving.bundle import ServingBundle, load
from recsys.serving.bundles import Fixed
from recsys.serving.course import Course
from recsys.serving.pipeline import Recommender
from recsys.serving.replay import replay_requests
from recsys.serving.schema import Context, RecommendRequest
from recsys.serving.served_log import ServedLog
from recsys.serving.steps import PARTS
from recsys.store.online import OnlineStore
from recsys.store.opening import open_store
from tests.serving.world import World


class Remote:
    """An index outside this process, that may be down or take its time."""

    in_memory = False

    def __init__(self, index: Any) -> None:
        self._index, self.error, self.seconds = index, None, 0.0

    def search(self, *arguments: Any) -> Hits:
        time.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        hits: Hits = self._index.search(*arguments)
        return hits


@pytest.fixture(scope="module")
def store(world: World) -> OnlineStore:
    return open_store(world.settings)


@pytest.fixture
def remote(recommender: Recommender) -> Remote:
    return Remote(recommender._bundles.current.retriever.index)


@pytest.fixture
def bundle(recommender: Recommender, remote: Remote) -> ServingBundle:
    current = recommender._bundles.current
    retriever = copy.copy(current.retriever)
    retriever.index = remote  # type: ignore[assignment]
    return dataclasses.replace(current, retriever=retriever)


def test_without_the_index_the_other_sources_answer_known_and_unknown_users(
    world: World, store: OnlineStore, bundle: ServingBundle, remote: Remote, tmp_path: Path
) -> None:
    recommender = Recommender(store, Fixed(bundle), ServedLog(tmp_path), breakers=Breakers(PARTS, 2, 0.2))
    at = Context(at=world.simulator_end)

    def ask(user: str) -> tuple[str, list[str], set[str]]:
        answer = recommender.recommend(RecommendRequest(user_id=user, k=20, context=at))
        assert len(answer.items) == 20 and all(item.p_click is not None for item in answer.items)  # ranked
        return answer.rung, answer.missing, {item.source for item in answer.items}

    rung, missing, sources = ask(world.user_ids[9])
    assert (rung, missing) == ("full", [])
    remote.error = ItemIndexUnavailable("down")
    for user in (world.user_ids[9], world.user_ids[10], "never seen"):
        rung, missing, sources = ask(user)
        assert (rung, missing) == ("partial", ["two_tower"]) and sources <= set(GENERAL) - {"two_tower"}
    assert len(ask(world.user_ids[9])[2]) > 1  # not what is trending alone
    states = recommender.state()["breakers"]
    assert states["two_tower"] == "opened" and {states[part] for part in PARTS if part != "two_tower"} == {"closed"}
    remote.error = None
    time.sleep(0.25)
    assert ask(world.user_ids[10])[:2] == ("full", [])
    recommender.close()

    # and all of it replays, the partial ones without what was missing then
    rows = served_log.read(served_log.segments(tmp_path))
    registry = Registry(Lake(world.settings.home).registry)
    replays = replay_requests(rows, store, lambda name: load(registry.get(name), None, store.fingerprint, registry))
    assert (replays.same, replays.different, replays.left_out) == (6, {}, {}), str(replays)
    forgetful = rows.set_column(rows.schema.get_field_index("missing"), "missing", [[None] * rows.num_rows])
    assert len(replay_requests(forgetful, store, lambda name: bundle).left_out) == 4  # they reach full now


def test_an_index_that_hangs_is_cut_off_at_its_deadline_and_the_rest_is_still_ranked(
    world: World, store: OnlineStore, bundle: ServingBundle, remote: Remote, tmp_path: Path
) -> None:
    async def scenario() -> None:
        calls = Calls(budget=1.0)
        calls.open(Recommender(store, Fixed(bundle), ServedLog(tmp_path), breakers=Breakers(PARTS, 3, 60.0)))
        calls.recommender.warm()
        remote.seconds = 5.0
        for n in range(6):
            course = Course()
            answer = await calls.recommend(RecommendRequest(user_id=world.user_ids[40 + n], k=5), course)
            seconds = time.perf_counter() - course.began
            assert (answer.rung, answer.missing) == ("partial", ["two_tower"]) and seconds < 0.8
            assert course.down == ["two_tower"]
            if n > 2:  # its circuit is open: nobody waits for it any more
                assert seconds < 0.3
        calls.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("source", [name for name in GENERAL if name != "two_tower"])
def test_each_source_may_fail_alone(
    source: str, world: World, store: OnlineStore, bundle: ServingBundle, tmp_path: Path, monkeypatch: Any
) -> None:
    def broken(*arguments: Any) -> np.ndarray:
        raise ValueError("damaged")

    monkeypatch.setitem(SOURCES, source, broken)  # type: ignore[arg-type]
    recommender = Recommender(store, Fixed(bundle), ServedLog(tmp_path))
    answer = recommender.recommend(RecommendRequest(user_id=world.user_ids[11], k=5))
    assert (answer.rung, answer.missing, len(answer.items)) == ("partial", [source], 5)


def test_when_no_source_answers_memory_does(
    world: World, store: OnlineStore, bundle: ServingBundle, tmp_path: Path, monkeypatch: Any
) -> None:
    recommender = Recommender(store, Fixed(bundle), ServedLog(tmp_path))
    assert recommender.recommend(RecommendRequest(user_id=world.user_ids[12], k=5)).rung == "full"

    def broken(*arguments: Any) -> np.ndarray:
        raise ValueError("damaged")

    for source in GENERAL:
        monkeypatch.setitem(SOURCES, source, broken)  # type: ignore[arg-type]
    for user, rung in ((world.user_ids[12], "cached"), ("a stranger", "trending")):
        answer = recommender.recommend(RecommendRequest(user_id=user, k=5))
        assert (answer.rung, answer.missing, len(answer.items)) == (rung, list(GENERAL), 5)


@pytest.mark.slow
def test_milvus_killed_under_load_costs_one_source_over_http_and_grpc(world: World, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(world.settings.home, home, symlinks=True, ignore=shutil.ignore_patterns("milvus", "served_log"))
    settings = with_milvus(home)
    # an index that is named is not started again, so it stays down however long a busy machine takes
    index = ensure_milvus(settings).uri
    try:
        with running(home, RECSYS_MIRROR_ROWS="1", RECSYS_BUDGET_MS="2000", RECSYS_MILVUS_URI=index) as service:
            strangers = [f"stranger-{n}" for n in range(20)]
            traffic = Traffic(service.url, service.grpc, [*world.user_ids[:20], *strangers], world.item_ids[:100])

            async def scenario() -> float:
                flow = asyncio.create_task(traffic.run(10.0, 5.0, 60))
                await asyncio.sleep(3)
                process = running_milvus(Lake(home).milvus)
                assert process is not None and process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
                killed = time.perf_counter() - traffic.began
                await asyncio.sleep(5)
                flow.cancel()
                await asyncio.gather(flow, return_exceptions=True)
                return killed

            killed = asyncio.run(scenario())
            with httpx.Client(base_url=service.url, timeout=30) as http:
                for user in (world.user_ids[0], "one more stranger"):
                    told = http.post("/recommend", json={"user_id": user}).json()
                    assert (told["rung"], told["missing"], len(told["items"])) == ("partial", ["two_tower"], 10)
                assert http.get("/readyz").json()["breakers"]["two_tower"] != "closed"
                assert 'recsys_slates_total{role="champion",rung="partial"}' in http.get("/metrics").text
    finally:
        stop_milvus(settings)
    rungs = [Traffic.rungs([a for a in traffic.answers if (a.at > killed) is later]) for later in (False, True)]
    assert set(rungs[0]) <= {"full", "partial"} and rungs[0]["full"] > 10
    assert set(rungs[1]) <= {"full", "partial"} and rungs[1]["partial"] > 20, rungs
