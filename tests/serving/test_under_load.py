"""Short versions of `make fuzz`, `make load` and `make faults`; the long ones are in benchmarks/."""

from __future__ import annotations

import asyncio
import signal
import time

import httpx
import pytest

from benchmarks.running import running
from benchmarks.serving_fuzz import fuzz
from benchmarks.traffic import Traffic
from recsys.features.catalog import FINGERPRINT
from recsys.lake import Lake
from recsys.registry import Registry
from recsys.serving import served_log
from recsys.store.opening import open_store
from tests.serving.running import Service, serving
from tests.serving.world import World

RATE, SECONDS = 10.0, 12.0


def test_bad_input_is_never_a_fault_of_the_service(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(world, tmp_path_factory.mktemp("fuzzed")) as started:
        service: Service = started
        tally = fuzz(str(service.http.base_url), f"127.0.0.1:{service.ports[1]}", 600, number=5)
        assert not tally.wrong, tally.wrong[:3]
        assert sum(tally.tries.values()) >= 600 and len(tally.tries) == 5
        assert {"200", "400", "422", "OK", "INVALID_ARGUMENT"} <= set(tally.answers)
        assert service.http.get("/readyz").status_code == 200
        assert "Traceback" not in service.output.read_text()


@pytest.mark.slow
def test_a_swap_a_rollback_and_a_killed_worker_cost_no_answer_and_no_event(world: World) -> None:
    registry = Registry(Lake(world.settings.home).registry)
    with running(world.settings.home, workers=2, RECSYS_BUDGET_MS="5000") as service:
        traffic = Traffic(service.url, service.grpc, world.user_ids[:40], world.item_ids[:200])

        async def events() -> None:
            await asyncio.sleep(SECONDS / 4)
            await asyncio.to_thread(registry.promote, world.other.bundle_id, held=FINGERPRINT)
            await asyncio.sleep(SECONDS / 4)
            await asyncio.to_thread(registry.rollback, held=FINGERPRINT)
            await asyncio.sleep(SECONDS / 4)
            service.workers()[0].kill()

        async def all_of_it() -> None:
            await asyncio.gather(traffic.run(RATE, 20.0, SECONDS), events())

        try:
            asyncio.run(all_of_it())
        finally:
            if registry.alias_id() != world.champion.bundle_id:
                registry.rollback()
        deadline = time.monotonic() + 60
        while len(service.workers()) < 2:  # the supervisor starts another
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert len(traffic.answers) > 0.7 * RATE * SECONDS and not Traffic.failed(traffic.answers)
    assert {answer.bundle for answer in traffic.answers} == {world.champion.bundle_id, world.other.bundle_id}
    assert set(Traffic.rungs(traffic.answers)) == {"full"}
    store = open_store(world.settings)
    log = store.tail(0)["event_id"].to_pylist()
    store.close()
    ours = [event_id for event_id in log if event_id in traffic.sent]  # other tests tell of events under used ids
    assert traffic.acknowledged and traffic.acknowledged <= set(ours) and len(ours) == len(set(ours))


def test_a_service_told_to_end_answers_what_it_has_begun(world: World) -> None:
    folder = Lake(world.settings.home).served_log
    before = set(served_log.read(served_log.segments(folder))["request_id"].to_pylist())
    with running(world.settings.home, RECSYS_BUDGET_MS="5000") as service:
        answered: set[str] = set()
        others: list[object] = []

        async def ask(client: httpx.AsyncClient, n: int) -> None:
            try:
                answer = await client.post("/recommend", json={"user_id": world.user_ids[n % 40]})
                if answer.status_code == 200:
                    answered.add(answer.json()["request_id"])
                else:
                    others.append(answer.status_code)
            except httpx.TransportError as error:  # it listens no more, or closed a connection that was idle
                others.append(error)

        async def scenario() -> None:
            async with httpx.AsyncClient(base_url=service.url, timeout=30) as client, asyncio.TaskGroup() as group:
                for n in range(120):
                    if n == 40:
                        service.process.send_signal(signal.SIGTERM)
                    group.create_task(ask(client, n))
                    await asyncio.sleep(0.02)

        asyncio.run(scenario())
        service.process.wait(30)
    begun = set(served_log.read(served_log.segments(folder))["request_id"].to_pylist()) - before
    assert len(answered) >= 40 and begun == answered, others
