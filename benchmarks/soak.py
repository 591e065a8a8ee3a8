"""A soak: `python -m benchmarks.soak [seconds [workers]]`: 45 min at half load, on a copy of a home with a champion.

Recommends (a quarter over gRPC) flow at half the rate that the service was just measured to hold, and events beside
them over HTTP and through Kafka (a broker in memory, `make stream`); a backup is taken in the middle. Held: no request
failed, the workers' own memory grew by less than SLOPE an hour over the last two thirds, and every event that the
service or the broker acknowledged is in what the next day's `raw_events` reads, once, and in the backup's restored log
as far as it goes.

A worker keeps the log's tail beside its snapshot until the next checkpoint (40,000 records): a saw, of which one tooth
is seven minutes at this rate. So memory is told as drift an hour and as bytes a record of the tail, fitted together.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from confluent_kafka import Producer

from benchmarks.running import Running, free_port, items_of, machine, running, users_of
from benchmarks.serving_load import BUDGET_MS, copy_of, own_memory
from benchmarks.traffic import Traffic, capacity
from bentos.recommender.dev_stream import PARTITIONS, Broker
from recsys.backup.restoring import restore
from recsys.backup.vault import Vault
from recsys.lake import Lake
from recsys.settings import Settings, from_environment
from recsys.store.opening import open_store

SHARE, EVENTS = 0.5, 50.0
SLOPE = 0.03  # of memory, an hour
TOPIC, DRAIN_SECONDS = "events", 60
Held = tuple[float, float, int]  # seconds since the start, MiB of the workers' own, records since the snapshot


@contextmanager
def streaming(broker: Broker, home: Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`make stream` from the broker's topic into a home's store."""
    broker.topics(**{TOPIC: PARTITIONS, f"{TOPIC}_rejected": 1})
    properties = folder / "kafka.properties"
    properties.write_text(f"bootstrap.servers={broker.servers}\ngroup.id=soak\nsession.timeout.ms=3000\n")
    given = {"RECSYS_HOME": str(home), "RECSYS_KAFKA": str(properties), "RECSYS_KAFKA_TOPIC": TOPIC}
    with (folder / "stream.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bentos.recommender.stream"],
            env=os.environ | given | {"RECSYS_STREAM_PORT": str(free_port())},
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)


async def produce(broker: Broker, traffic: Traffic, streamed: set[str], rate: float, seconds: float) -> None:
    """Events to the topic, each noted in `streamed` once the broker has acknowledged it."""
    producer = Producer({"bootstrap.servers": broker.servers, "enable.idempotence": True, "log_level": 0})
    begin = time.perf_counter()
    for number in range(round(rate * seconds / 5)):
        await asyncio.sleep(max(0.0, begin + 5 * number / rate - time.perf_counter()))
        for event in traffic.five():

            def noted(error: object, _: object, event_id: str = event["event_id"]) -> None:
                if error is None:
                    streamed.add(event_id)

            producer.produce(TOPIC, json.dumps(event).encode(), key=event["user_id"], on_delivery=noted)
        producer.poll(0)
    await asyncio.to_thread(producer.flush, 60)


async def soaked(
    service: Running, broker: Broker, home: Path, vault: Path, streamed: set[str], seconds: float
) -> tuple[Traffic, list[Held]]:
    """The traffic, and the workers' memory over time."""
    lake = Lake(home)
    users = users_of(lake)
    rate = SHARE * await capacity(service.url, users, 20.0)
    print(f"{rate:.0f} recommends a second for {seconds:.0f} s, {EVENTS:.0f} events each way", flush=True)
    traffic = Traffic(service.url, service.grpc, users, items_of(lake))
    told: list[Held] = []
    watcher = asyncio.create_task(watch(service, home, max(0.5, seconds / 500), told, traffic))

    async def keep() -> None:
        await asyncio.sleep(seconds / 2)
        command = (sys.executable, "-m", "recsys_assets.backup", "backup", str(vault))
        process = await asyncio.create_subprocess_exec(*command, env={**os.environ, "RECSYS_HOME": str(home)})
        if await process.wait():
            sys.exit("no backup was taken")

    await asyncio.gather(
        traffic.run(rate, EVENTS, seconds), produce(broker, traffic, streamed, EVENTS, seconds), keep()
    )
    for _ in range(DRAIN_SECONDS):
        if streamed <= events_of(home).keys():
            break
        await asyncio.sleep(1.0)
    watcher.cancel()
    return traffic, told


async def watch(service: Running, home: Path, every: float, told: list[Held], traffic: Traffic) -> None:
    """Note the workers' memory until cancelled, and how long the tail is that they hold."""
    store = open_store(Settings(home=home))
    try:
        while True:
            store.read("nobody", ["nothing"], 0)  # whoever reads has caught up
            told.append((time.perf_counter() - traffic.began, own_memory(service), store.since_snapshot))
            await asyncio.sleep(every)
    finally:
        store.close()


def drift(told: list[Held], begin: float) -> tuple[float, float]:
    """Of the workers' memory from `begin` on: share an hour, and bytes a record of the tail.

    NaN where no checkpoint came meanwhile: what time and what the tail brings is one and the same then.
    """
    at, held, tail = np.array([row for row in told if row[0] > begin]).T
    if not (np.diff(tail) < 0).any():
        return float("nan"), float("nan")
    (_, an_hour, a_record), *_ = np.linalg.lstsq(np.stack([np.ones(len(at)), at / 3600, tail], axis=1), held)
    return float(an_hour / np.median(held)), float(a_record * 2**20)


def events_of(home: Path) -> Counter[str]:
    """How often each event is in what the next day reads."""
    store = open_store(Settings(home=home))
    try:
        return Counter(store.tail(0)["event_id"].to_pylist())
    finally:
        store.close()


def report(traffic: Traffic, streamed: set[str], told: list[Held], home: Path, restored: Path, seconds: float) -> bool:
    """Print what happened; True when it held."""
    failed = Traffic.failed(traffic.answers)
    p50, p99 = Traffic.quantiles(traffic.answers, 50, 99)
    print(f"{len(traffic.answers):,} recommends: {dict(Traffic.rungs(traffic.answers))}, {len(failed)} failed")
    print(f"p50 {p50:.1f} ms, p99 {p99:.1f} ms from when each was due")
    slope, a_record = drift(told, seconds / 3)
    held = [mib for at, mib, _ in told if at > seconds / 3]
    print(f"memory of the workers: {held[0]:.0f} MiB after a third, {max(held):.0f} at most, {held[-1]:.0f} at the end")
    print(f"  {slope:+.2%} an hour, and {a_record:.0f} bytes a record of the tail (NaN: no checkpoint came meanwhile)")
    kept, backed_up = events_of(home), events_of(restored)
    lost = sum(kept[event] == 0 for event in traffic.acknowledged | streamed)
    doubled = sum(count > 1 for count in kept.values())
    ways = f"{len(traffic.acknowledged):,} events over HTTP and {len(streamed):,} through Kafka acknowledged"
    print(f"{ways}: {lost} lost, {doubled} doubled", end="; ")
    print(f"the backup holds {len(backed_up):,}, {len(backed_up - kept)} of them strange")
    well = not failed and not lost and not doubled and slope < SLOPE and not traffic.refused_events
    well = well and len(streamed) > 0 and len(backed_up) > 0 and not backed_up - kept
    print(f"{'held' if well else 'DID NOT HOLD'}; {machine()}")
    return well


def main(seconds: float = 2700.0, workers: int = 2) -> int:
    with tempfile.TemporaryDirectory() as folder:
        home, vault, restored = (Path(folder) / name for name in ("home", "vault", "restored"))
        copy_of(from_environment().home, home)
        streamed: set[str] = set()
        with (
            Broker() as broker,
            running(home, workers, RECSYS_BUDGET_MS=BUDGET_MS) as service,
            streaming(broker, home, Path(folder)),
        ):
            traffic, told = asyncio.run(soaked(service, broker, home, vault, streamed, seconds))
        restore(Settings(home=restored), Vault(str(vault)))
        return 0 if report(traffic, streamed, told, home, restored, seconds) else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if sys.argv[1:] else 2700.0, int(sys.argv[2]) if sys.argv[2:] else 2))
