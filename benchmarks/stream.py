"""Events a CPU second from a topic to the durable journal, beside a bare consumer and beside `/events`.

`python -m benchmarks.stream [events]`: a broker in memory, a small world of its own, rounds in turn. The CPU is that of
the process that takes the events, with its threads; what it waits for (broker, disk) is not in it.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.running import machine, running
from bentos.recommender.dev_stream import Broker
from recsys.retrieval.milvus_server import stop_milvus
from recsys.serving.schema import EventsRequest, parse
from recsys.serving.taking import Told
from recsys.sources.derived import Rules
from recsys.store.online import OnlineStore
from recsys.store.opening import open_store
from recsys.stream.consumer import Stream
from recsys.stream.kafka import Kafka
from tests.serving.world import World, make

EVENTS, ROUNDS, BODY, PARTITIONS = 60_000, 3, 1_000, 3
QUICK = {"session.timeout.ms": "3000"}  # this broker waits half a session before a group begins


def events(world: World, name: str, count: int) -> list[dict[str, Any]]:
    """Events as clients send them, with ids of their own."""
    chance, now = np.random.default_rng(1), time.time_ns() // 1_000_000
    kinds = ("impression", "impression", "impression", "click", "play", "like")
    return [
        {"event_id": f"{name}-{n}", "kind": kinds[n % 6], "user_id": world.user_ids[u % len(world.user_ids)],
         "item_id": world.item_ids[i % len(world.item_ids)], "occurred_at": now - 60_000 + n % 60_000, "shelf": "feed",
         "device": "phone", "slot": n % 10, "request_id": f"r{n // 10}", "watch_ms": 20_000 if n % 6 == 4 else None}
        for n, (u, i) in enumerate(chance.integers(0, 1 << 30, (count, 2)).tolist())
    ]  # fmt: skip


def produced(broker: Broker, topic: str, rows: list[dict[str, Any]]) -> Kafka:
    broker.topics(**{topic: PARTITIONS, f"{topic}_rejected": 1})
    producer = Producer({"bootstrap.servers": broker.servers, "linger.ms": 20, "log_level": 0})
    for number, row in enumerate(rows):
        producer.produce(topic, json.dumps(row).encode(), key=row["user_id"])
        if number % 1000 == 0:
            producer.poll(0.1)
    if producer.flush(60):
        raise RuntimeError("the broker takes nothing")
    return Kafka({"bootstrap.servers": broker.servers, "group.id": topic, **QUICK}, topic, f"{topic}.rejected", None)


def bare(kafka: Kafka, count: int) -> float:
    """CPU seconds of a consumer that does nothing with what it gets."""
    consumer = Consumer({**kafka.properties, "enable.auto.commit": False, "log_level": 0})
    consumer.assign([TopicPartition(kafka.topic or "", partition, 0) for partition in range(PARTITIONS)])
    began, got = time.process_time(), 0
    while got < count:
        got += sum(message.error() is None for message in consumer.consume(5_000, 0.5))
    took = time.process_time() - began
    consumer.close()
    return took


def streamed(kafka: Kafka, store: OnlineStore, count: int) -> float:
    store.append([], 0)  # catches up with what others appended
    stream, stop = Stream(kafka, store, None, Rules), threading.Event()
    reader = threading.Thread(target=stream.run, args=(stop,))
    began = time.process_time()
    reader.start()
    while stream.progress.accepted < count:
        time.sleep(0.05)
    took = time.process_time() - began
    stop.set()
    reader.join()
    return took


def bodies(rows: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps({"events": rows[at : at + BODY]}).encode() for at in range(0, len(rows), BODY)]


def without_a_server(store: OnlineStore, rows: list[dict[str, Any]]) -> float:
    """CPU seconds of what `/events` does with a body, in this process."""
    sent = bodies(rows)
    store.append([], 0)
    began = time.process_time()
    for body in sent:
        told = Told.of(parse(EventsRequest, body).events, None)
        told.answer(store.append(told.rows, time.time_ns() // 1_000_000)).model_dump_json()
    return time.process_time() - began


def over_http(url: str, worker: psutil.Process, rows: list[dict[str, Any]]) -> float:
    """CPU seconds of the worker that answers."""

    def spent() -> float:
        times = worker.cpu_times()
        return times.user + times.system

    with httpx.Client(base_url=url, timeout=60) as client:
        client.post("/events", json={"events": []})  # it catches up with what others appended
        began = spent()
        for body in bodies(rows):
            answer = client.post("/events", content=body, headers={"content-type": "application/json"})
            if answer.json()["accepted"] != BODY:
                raise RuntimeError(answer.text[:200])
    return spent() - began


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS
    print(f"{machine()}\n{count:,} events a leg, median of {ROUNDS} rounds in turn")
    with tempfile.TemporaryDirectory() as folder, Broker() as broker:
        world = make(Path(folder))
        store = open_store(world.settings)
        legs: dict[str, list[float]] = {}

        def leg(name: str, take: Callable[[], float]) -> None:
            legs.setdefault(name, []).append(take())

        try:
            with running(Path(folder)) as service:
                (worker,) = service.workers()
                for number in range(ROUNDS + 1):  # the first warms
                    kafka = produced(broker, f"events{number}", events(world, f"kafka{number}", count))
                    leg("bare consume", lambda: bare(kafka, count))  # noqa: B023
                    leg("topic to journal", lambda: streamed(kafka, store, count))  # noqa: B023
                    rows = events(world, f"body{number}", count)
                    leg("/events without its server", lambda: without_a_server(store, rows))  # noqa: B023
                    rows_over = events(world, f"http{number}", count)
                    leg("/events over HTTP", lambda: over_http(service.url, worker, rows_over))  # noqa: B023
        finally:
            store.close()
            stop_milvus(world.settings)
    of = {name: float(np.median(taken[1:])) for name, taken in legs.items()}
    for name, seconds in of.items():
        times = of["topic to journal"] / seconds
        print(f"{name:28} {count / seconds:10,.0f} events a CPU second; topic to journal costs {times:.2f} times it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
