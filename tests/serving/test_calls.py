"""Time and load: an answer within the budget whatever hangs, circuits that follow it, refusal before collapse."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bentos.recommender.calls import Calls, Overloaded, Starting, TooSlow
from recsys.serving.breakers import Breakers
from recsys.serving.bundles import Fixed
from recsys.serving.course import Course
from recsys.serving.pipeline import Recommender
from recsys.serving.schema import Context, RecommendRequest, RecommendResponse
from recsys.serving.served_log import ServedLog
from recsys.serving.steps import PARTS
from recsys.store.online import OnlineStore
from recsys.store.opening import open_store
from tests.serving.world import World


class Slow:
    """A store whose reads take `seconds` more; it counts how often a past position was looked for."""

    def __init__(self, store: OnlineStore) -> None:
        self._store, self.seconds, self.looked_for = store, 0.0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read(self, *arguments: Any, **named: Any) -> Any:
        time.sleep(self.seconds)
        return self._store.read(*arguments, **named)

    def position_at(self, instant: int) -> int:
        self.looked_for += 1
        return self._store.position_at(instant)


@pytest.fixture
def slow(world: World) -> Slow:
    return Slow(open_store(world.settings))


def calls_over(slow: Slow, recommender: Recommender, folder: Path, budget: float, failures: int = 3) -> Calls:
    calls = Calls(budget)
    breakers = Breakers(PARTS, failures=failures, seconds=0.5)
    calls.open(Recommender(slow, Fixed(recommender._bundles.current), ServedLog(folder), breakers=breakers))  # type: ignore[arg-type]
    calls.recommender.warm()
    return calls


def test_a_hanging_store_costs_no_answer_and_its_circuit_opens_and_closes(
    world: World, slow: Slow, recommender: Recommender, tmp_path: Path
) -> None:
    async def ask(calls: Calls, user: str) -> tuple[RecommendResponse, float, Course]:
        course = Course()
        answer = await calls.recommend(RecommendRequest(user_id=user, k=5), course)
        return answer, time.perf_counter() - course.began, course

    async def scenario() -> None:
        budget = 1.0
        calls = calls_over(slow, recommender, tmp_path, budget)
        user, stranger = world.user_ids[30], world.user_ids[31]
        assert (await ask(calls, user))[0].rung == "full"
        slow.seconds = 4.0
        answers = await asyncio.gather(*(ask(calls, u) for u in [user, stranger] * 4))
        assert all(seconds < budget for _, seconds, _ in answers)
        assert {answer.rung for answer, _, _ in answers} == {"cached", "trending"}
        assert all(len(answer.items) == 5 for answer, _, _ in answers)
        assert answers[0][2].down == ["time"] and answers[0][2].rung == answers[0][0].rung
        assert calls.recommender.state()["breakers"]["store"] == "opened"
        answer, seconds, course = await ask(calls, user)
        assert answer.rung == "cached" and seconds < 0.3 and "store" in course.down  # not even tried
        slow.seconds = 0.0
        await asyncio.sleep(4.2)  # those that hung are back, and the circuit may be tried again
        assert (await ask(calls, user))[0].rung == "full"
        assert calls.recommender.state()["breakers"]["store"] == "closed"
        calls.close()

    asyncio.run(scenario())


def test_a_slow_store_counts_as_failed_and_no_later_stage_is_begun(
    world: World, slow: Slow, recommender: Recommender, tmp_path: Path
) -> None:
    async def scenario() -> None:
        calls = calls_over(slow, recommender, tmp_path, budget=2.0, failures=2)
        slow.seconds = 0.85  # answers, but over a third of the budget
        course = Course()
        answer = await calls.recommend(RecommendRequest(user_id=world.user_ids[32]), course)
        assert answer.rung == "trending" and set(course.down) == {"two_tower", "store"}
        await calls.recommend(RecommendRequest(user_id=world.user_ids[32]), Course())
        assert calls.recommender.state()["breakers"]["store"] == "opened"
        calls.close()

    asyncio.run(scenario())


def test_requests_about_the_past_may_take_their_time_and_look_for_its_position_once(
    world: World, slow: Slow, recommender: Recommender, tmp_path: Path
) -> None:
    async def scenario() -> None:
        calls = calls_over(slow, recommender, tmp_path, budget=0.2)
        slow.seconds = 0.3
        asked = RecommendRequest(user_id=world.user_ids[33], context=Context(at=world.simulator_end))
        assert (await calls.recommend(asked, Course())).rung == "full"
        assert calls.recommender.state()["breakers"]["store"] == "closed" and slow.looked_for == 1
        calls.close()

    asyncio.run(scenario())


def test_a_batch_has_a_time_for_all_its_slates_of_the_past(
    world: World, slow: Slow, recommender: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bentos.recommender.calls.BATCH_SECONDS", 0.5)

    async def scenario() -> None:
        calls = calls_over(slow, recommender, tmp_path, budget=0.2)
        slow.seconds = 0.3
        asked = RecommendRequest(user_id=world.user_ids[33], context=Context(at=world.simulator_end))
        with pytest.raises(TooSlow, match="no answer within 0"):
            await calls.batch([asked] * 5, Course(), lambda response, course: None)
        calls.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("fallbacks", [16, 0])
def test_what_would_wait_too_long_is_answered_from_memory_or_refused_and_nothing_is_late(
    world: World, slow: Slow, recommender: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fallbacks: int
) -> None:
    monkeypatch.setattr("bentos.recommender.calls.FALLBACKS", fallbacks)

    async def scenario() -> None:
        calls = calls_over(slow, recommender, tmp_path, budget=1.0)
        slow.seconds = 0.03  # twice a request, four at a time: some 60 a second
        took: list[float] = []
        rungs: set[str] = set()
        refused = 0

        async def ask(n: int) -> None:
            nonlocal refused
            course = Course()
            try:
                rungs.add((await calls.recommend(RecommendRequest(user_id=world.user_ids[n % 40]), course)).rung)
                took.append(time.perf_counter() - course.began)
            except Overloaded:
                refused += 1

        async with asyncio.TaskGroup() as group:
            for n in range(600):  # 300 a second
                group.create_task(ask(n))
                await asyncio.sleep(1 / 300)
        if fallbacks:
            assert refused < 60 and len(took) > 540 and rungs & {"cached", "trending"}
        else:
            assert refused > 20 and len(took) > 60
        # a queue without a bound is 8 s long at the end; on a busy machine the loop itself is late by half a second
        assert np.percentile(took, 95) < 4.0
        assert (await calls.recommend(RecommendRequest(user_id=world.user_ids[0]), Course())).items
        calls.close()

    asyncio.run(scenario())


def test_before_it_is_open_a_worker_says_so() -> None:
    async def scenario() -> None:
        with pytest.raises(Starting):
            await Calls(1.0).recommend(RecommendRequest(user_id="u"), Course())

    asyncio.run(scenario())
