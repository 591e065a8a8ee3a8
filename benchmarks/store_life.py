"""A store that lives: `python -m benchmarks.store_life [PARTS] [ENGINES]`, all of them where none is named.

- histories: 10,000 calls of 8 threads in 2 processes, killed with SIGKILL meanwhile, checked for one order; beside
  checkpoints, nights that cut the journal, and in the cluster primaries that die and a slot that moves
- forget: two users forgotten a second for two minutes beside 2 processes of 4 threads that read and append
- reload: the first read behind a bootstrap, opening with the longest tail, and a worker's memory, by the number of
  live events: those of LIVE, or the numbers that are given (`reload 100000 10000000`)
- cut: a journal that is cut each night beside one that is not, by the number of live events
- append: events a second in batches, and single appends beside a bare write and fdatasync of as many bytes
"""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.features_world import zipf_world
from recsys.events import DAY_MS
from recsys.lake import Lake
from recsys.privacy.border import Border, Forgotten
from recsys.store.checkpoints import RECORDS
from recsys.store.lmdb_journal import LmdbJournal
from recsys.store.online import OnlineStore
from tests.features.crowd import Crowd, disorder, longest_wait, opened
from tests.features.nights import night
from tests.features.redis_cluster import LOG, RedisCluster
from tests.features.redis_server import RedisServer
from tests.features.streams import item_table, random_log
from tests.features.test_store import NOW, event

CALLS, KILLS = 10_000, 10
FORGET_SECONDS, PAUSE = 120.0, 0.5
LIVE: Final = (100_000, 600_000)
READERS, CACHE_MB = 4_000, 64  # users whose slates a process reads, and what it keeps where state lies by entity
BATCH, BATCHES, SINGLES = 5_000, 8, 400
USERS, ITEMS = 24_000, 6_000
ENGINES: Final = {"LMDB", "Redis", "Redis Cluster"}
CUT_AT, A_DAY = (100_000, 1_000_000), 50_000


class Engine(NamedTuple):
    """A store's engine."""

    name: str
    place: str
    trouble: Sequence[Callable[[], object]] = ()  # what happens to its servers


def engines(folder: Path) -> Iterator[Engine]:
    LmdbJournal(folder / "lmdb", create=True).close()
    yield Engine("LMDB", str(folder / "lmdb"))
    if shutil.which("redis-server"):
        with ExitStack() as stack:
            (folder / "redis").mkdir()
            yield Engine("Redis", stack.enter_context(RedisServer(folder / "redis")).url)
            cluster = stack.enter_context(RedisCluster(folder / "cluster"))
            trouble = [functools.partial(happens, LOG) for happens in (cluster.fail_over, cluster.move)]
            yield Engine("Redis Cluster", cluster.url, trouble)


def small(place: str) -> OnlineStore:
    store = OnlineStore(opened(place), create=True)
    log, _, table = random_log(1, 300)
    store.bootstrap(log, table, log.head)
    return store


def histories(engine: Engine, folder: Path) -> str:
    store, lake, left, began = small(engine.place), Lake(folder / "home"), 0, time.monotonic()
    with Crowd(engine.place, folder) as crowd:
        for kill in range(KILLS):
            crowd.wait(CALLS * (kill + 1) // (KILLS + 1), 600)
            crowd.kill_one(kill)
            store.checkpoint(0)
            left += night(store, lake, item_table(5), days=-1).left
            for happens in engine.trouble[kill % 2 : kill % 2 + 1]:
                happens()
        crowd.wait(CALLS, 600)
    calls = crowd.calls()
    wrong = disorder(calls, store, lake)
    return (
        f"{len(calls):,} calls, {KILLS} kills, checkpoints and nights ({left:,} records left the journal)"
        f"{f', {KILLS} failovers and moves' if engine.trouble else ''} in {time.monotonic() - began:.0f} s: "
        f"{len(wrong)} that no order explains {wrong[:3]}, longest call {longest_wait(calls):.2f} s"
    )


def forget(engine: Engine, folder: Path) -> str:
    place = engine.place
    store, border = small(place), Border(Forgotten(folder / "home"))
    gone = [f"somebody-who-goes-{n}" for n in range(int(FORGET_SECONDS / PAUSE))]
    store.append([event(1, event_id=user, user_id=user, occurred_at=NOW) for user in gone], NOW)
    forgotten, began = 0, time.monotonic()
    with Crowd(place, folder) as crowd:
        crowd.wait(100, 120)
        began = time.monotonic()
        for number, user in enumerate(gone):
            time.sleep(max(0.0, began + number * PAUSE - time.monotonic()))
            if time.monotonic() - began > FORGET_SECONDS:
                break
            forgotten += store.forget(user, border.nobodys_json)
            crowd.check_alive()
        crowd.wait(len(crowd.calls()) + 100, 120)
    calls = crowd.calls()
    return (
        f"{forgotten} users forgotten in {FORGET_SECONDS:.0f} s beside {len(calls):,} calls: "
        f"{len(disorder(calls, store))} lost or out of order, longest call {longest_wait(calls):.2f} s"
    )


def _hold(place: str, pipe: Any) -> None:
    """A worker: opens the store, reads when asked, and tells what it took and holds."""
    began = time.perf_counter(), time.process_time()
    store = OnlineStore(opened(place), cache_mb=CACHE_MB)
    pipe.send(f"{time.perf_counter() - began[0]:.2f} s, {time.process_time() - began[1]:.2f} of CPU")
    ids, now = [f"i{i}" for i in range(500)], pipe.recv()
    look = functools.partial(threading.Event().wait, 1.0)
    threading.Thread(target=lambda: [store.late_items() for _ in iter(look, True)], daemon=True).start()  # as a service
    while True:
        took = []
        for _ in range(3):
            began = time.perf_counter(), time.thread_time()
            store.read("u5", ids, now)
            took.append((time.perf_counter() - began[0], time.thread_time() - began[1]))
        for user in range(READERS):
            store.read(f"u{user}", ids[: 500 if user > READERS - 100 else 50], now)
        gc.collect()
        pipe.send((took, _memory()))
        pipe.recv()


def _memory() -> dict[str, int]:
    """MiB of this process: RssAnon is its own, with the pages of a snapshot that it changed; RssFile is the kernel's
    cache of what it maps, which the workers share and which goes when room is short.
    """
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {name[:-1]: int(rest[0]) >> 10 for name, *rest in lines if name in ("RssAnon:", "RssFile:")}


def reload(engine: Engine, folder: Path) -> str:
    place = engine.place
    world, rng, words, sent = zipf_world(USERS, ITEMS, 200_000), np.random.default_rng(1), [], 0
    now = int(world.log.received_at.max()) + 1000
    store = OnlineStore(opened(place), create=True)
    store.bootstrap(world.log, world.item_table, world.log.head)
    for live in [int(told) for told in sys.argv if told.isdigit()] or LIVE:
        while sent < live:
            users, items = rng.integers(USERS, size=BATCH), rng.zipf(1.2, BATCH) % ITEMS
            pairs = zip(users.tolist(), items.tolist(), strict=True)
            store.append(
                [
                    {"event_id": f"{sent + n}", "kind": "click", "user_id": f"u{user}", "item_id": f"i{item}"}
                    for n, (user, item) in enumerate(pairs)
                ],
                now,
            )
            sent += BATCH
            if sent == live - RECORDS:
                store.checkpoint(0)  # and from here on the longest tail
            elif sent < live:
                store.checkpoint(1_000_000)
        opening, ours, worker = _worker(place)
        ours.send(now)
        (_, *usual), held = ours.recv()
        store.bootstrap(world.log, world.item_table, world.log.head)
        ours.send(0)
        (first, *_), after = ours.recv()
        worker.kill()
        words.append(
            f"{live:,} live events: opened in {opening}, first read behind a bootstrap {first[0] * 1e3:.1f} ms, "
            f"{first[1] * 1e3:.2f} of CPU (usual {min(usual)[0] * 1e3:.1f} and {min(usual)[1] * 1e3:.2f}), "
            f"MiB {held}, behind it {after}"
        )
    return "; ".join(words)


def _worker(place: str) -> tuple[str, Any, Any]:
    """A process that has opened a store: in which time, in words; its pipe, and it."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    worker = multiprocessing.get_context("spawn").Process(target=_hold, args=(place, theirs), daemon=True)
    worker.start()
    return ours.recv(), ours, worker


def _opened_anew(place: str, now: int) -> tuple[str, int]:
    """In which time a process opens a store, in words, and MiB of its own once it has read."""
    opening, ours, worker = _worker(place)
    ours.send(now)
    _, held = ours.recv()
    worker.kill()
    return opening, held["RssAnon"]


def cut(engine: Engine, folder: Path) -> str:
    """Each night the day comes into a lake and the state begins anew from it; then the journal is cut, or not."""
    place = engine.place
    words, world = [], zipf_world(USERS, ITEMS, 200_000)
    for days in (1, 10_000):  # that the journal keeps
        store, lake = OnlineStore(opened(place), create=True), Lake(folder / str(days))
        store.bootstrap(world.log, world.item_table, world.log.head)
        rng, sent, spent, received = np.random.default_rng(1), 0, 0.0, int(world.log.received_at.max()) + 1000
        for live in CUT_AT:
            while sent < live:
                rows = [
                    {"event_id": f"{days}-{sent + n}", "kind": "click", "user_id": f"u{user}", "item_id": f"i{item}"}
                    for n, (user, item) in enumerate(rng.integers([USERS, ITEMS], size=(BATCH, 2)).tolist())
                ]
                store.append(rows, received)
                sent += BATCH
                if sent % A_DAY == 0:
                    began = time.process_time()
                    night(store, lake, world.item_table, days)
                    spent, received = time.process_time() - began, received + DAY_MS
            size, (opening, held) = store.journal.size(), _opened_anew(place, received)
            words.append(
                f"{live:,} live events, {'cut' if days == 1 else 'kept'}: {size.records:,} records, "
                f"{size.bytes / 2**20:,.0f} MiB, opened in {opening}, own memory {held} MiB, "
                f"night {spent:.1f} CPU s"
            )
        store.close()
        shutil.rmtree(place, ignore_errors=True)
        LmdbJournal(Path(place), create=True).close()
    return "; ".join(words)


def append(engine: Engine, folder: Path) -> str:
    place = engine.place
    world = zipf_world(USERS, ITEMS, 100_000)
    now = int(world.log.received_at.max()) + 1000
    store = OnlineStore(opened(place), create=True)
    store.bootstrap(world.log, world.item_table, world.log.head)

    def batch(mark: str, size: int) -> list[dict[str, Any]]:
        return [
            {"event_id": f"{mark}-{i}", "kind": "click", "user_id": f"u{i % USERS}", "item_id": f"i{i % ITEMS}"}
            for i in range(size)
        ]

    store.append(batch("warm", BATCH), now)
    batches = [batch(str(number), BATCH) for number in range(BATCHES)]
    gc.collect()
    gc.freeze()  # as a service does: else one batch of eight waits 100 ms for a look at all that was imported
    began, cpu = time.perf_counter(), time.process_time()
    for rows in batches:
        store.append(rows, now)
    rate = BATCH * BATCHES / (time.perf_counter() - began)
    per_cpu = BATCH * BATCHES / (time.process_time() - cpu)
    ours, bare, block = [], [], b"x" * 400
    descriptor = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(SINGLES):
        began = time.perf_counter()
        store.append(batch(f"single-{number}", 1), now)
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        os.write(descriptor, block)
        os.fdatasync(descriptor)
        bare.append(time.perf_counter() - began)
    told = " and ".join(
        f"{mine * 1e3:.2f} ms at {q} %, {mine / theirs:.1f} times bare"
        for q, mine, theirs in ((q, np.percentile(ours, q), np.percentile(bare, q)) for q in (50, 99))
    )
    return f"batches of {BATCH:,}: {rate:,.0f} events/s, {per_cpu:,.0f} a CPU second here; one alone {told}"


def main() -> None:
    parts = {"histories": histories, "forget": forget, "reload": reload, "append": append, "cut": cut}
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    asked = set(sys.argv[1:])
    for part in [part for part in parts if part in asked] or parts:
        with tempfile.TemporaryDirectory() as folder:
            for engine in engines(Path(folder)):
                if (part == "cut" and engine.name != "LMDB") or engine.name not in (asked & ENGINES or ENGINES):
                    continue
                here = Path(folder) / f"{engine.name}-{part}"
                here.mkdir()
                print(f"{part}, {engine.name}: {parts[part](engine, here)}", flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
