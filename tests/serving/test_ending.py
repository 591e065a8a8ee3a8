"""A service that is told to end, seen by callers that connect anew all the time: an answer or a refusal, no reset."""

from __future__ import annotations

import http.client
import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import grpc
import psutil
import pytest

from bentos.recommender.recsys_v1 import recommender_pb2 as pb
from bentos.recommender.recsys_v1 import recommender_pb2_grpc as pb_grpc
from recsys.store.opening import open_store
from tests.serving.running import Service, serving
from tests.serving.world import World

CALLERS = 3  # of each front, one after the other without a pause
Asked = tuple[str, str]  # the event's id, and how it went


def by_http(service: Service, event: dict[str, str], waits: float) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", service.ports[0], timeout=30)
    try:
        connection.connect()
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return f"not connected: {error!r}"
    try:
        time.sleep(waits)  # a caller on a slow line
        connection.request("POST", "/events", json.dumps({"events": [event]}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return "taken" if json.loads(answer.read())["accepted"] == 1 else f"answered {answer.status}"
    except (OSError, http.client.HTTPException) as error:
        return f"broken: {error!r}"
    finally:
        connection.close()


def by_grpc(service: Service, event: dict[str, str], waits: float) -> str:
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{service.ports[1]}", options=options) as channel:
        try:
            answer = pb_grpc.RecommenderStub(channel).RecordEvents(
                pb.RecordEventsRequest(events=[pb.Event(**event)]), timeout=30
            )
        except grpc.RpcError as error:
            # the channel could not be made, so nothing was sent
            return (
                "refused"
                if "failed to connect to all addresses" in error.details()
                else f"broken: {error.code()} {error.details()}"
            )
        return "taken" if answer.accepted == 1 else "answered"


@pytest.mark.parametrize("call", [by_http, by_grpc])
def test_who_connects_anew_while_the_service_ends_is_answered_or_refused(
    world: World, tmp_path: Path, call: Callable[[Service, dict[str, str], float], str]
) -> None:
    asked: list[Asked] = []
    after: Counter[str] = Counter()
    with serving(world, tmp_path, RECSYS_WORKERS="2") as service:

        def caller(name: str, waits: float) -> None:
            for n in itertools.count():
                event = {"event_id": f"{name}-{n}", "kind": "click", "user_id": "u", "item_id": str(world.item_ids[0])}
                told = ending.is_set()
                how = call(service, event, waits)
                asked.append((event["event_id"], how))
                after.update([how] if told else [])
                if done.wait(0.02 if how == "refused" else 0.002):
                    return

        ending, done = threading.Event(), threading.Event()
        prefix = f"{call.__name__}-{time.monotonic_ns()}"
        callers = [
            threading.Thread(target=caller, args=(f"{prefix}-{n}", 0.3 if n == 0 else 0.0)) for n in range(CALLERS)
        ]
        for one in callers:
            one.start()
        try:
            time.sleep(1)
            ending.set()
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(60) == 0
            time.sleep(0.2)
        finally:
            done.set()
            for one in callers:
                one.join(60)
    assert set(after) == {"taken", "refused"}, after
    store = open_store(world.settings)
    kept = {event_id for event_id in store.tail(0)["event_id"].to_pylist() if event_id.startswith(prefix)}
    store.close()
    assert kept == {event_id for event_id, how in asked if how == "taken"}


# Circus as BentoML starts it, with workers that sleep. A warm-up of a worker makes the moment long in which it does
# nothing else; without one it is as long as a fork.
SUPERVISOR = """
import sys
from bentoml._internal.utils.circus import create_standalone_arbiter
from circus.watcher import Watcher
from bentos.recommender.ending import end_in_order

end_in_order()
worker = Watcher("worker", sys.executable, args=["-c", "import time; time.sleep(600)"], numprocesses=2,
                 warmup_delay=2, graceful_timeout=5)
create_standalone_arbiter(watchers=[worker]).start(cb=lambda _: print("started", flush=True))
"""


@pytest.mark.parametrize("told", [1, 2], ids=["told-once", "told-twice"])
def test_a_supervisor_told_to_end_while_it_replaces_a_worker_ends(told: int) -> None:
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR], stdout=subprocess.PIPE, text=True)
    try:
        assert supervisor.stdout is not None and supervisor.stdout.readline() == "started\n"
        first, second = psutil.Process(supervisor.pid).children()
        first.kill()
        while len(replaced := {one.pid for one in psutil.Process(supervisor.pid).children()} - {first.pid}) < 2:
            time.sleep(0.01)
        for _ in range(told):
            supervisor.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        assert supervisor.wait(30) == 0
        assert second.pid in replaced and not any(map(psutil.pid_exists, replaced))
    finally:
        supervisor.kill()
