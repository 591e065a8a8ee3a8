"""The constants of `make plan`: `python -m benchmarks.capacity measure` (RECSYS_HOME with a champion) writes
recsys/capacity/constants.toml, `measure store` those of the store alone; `python -m benchmarks.capacity check` holds
them against a world four times the size of the store's default one, with both stores. CPU is that of the processes that
work, so other programs do not count.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import psutil
import pyarrow.parquet as pq
from scipy.optimize import nnls

from benchmarks.features_world import ZipfWorld, zipf_world
from benchmarks.running import machine, running, users_of
from benchmarks.serving_load import BUDGET_MS, copy_of
from benchmarks.store_life import ITEMS, USERS
from recsys.capacity.plan import (
    CACHE_MB,
    CONSTANTS,
    DIMENSIONS,
    Size,
    constants,
    redis_server_bytes,
    redis_worker_bytes,
    state_bytes,
)
from recsys.features import sweep
from recsys.features.log import Rows
from recsys.lake import Lake, replacing
from recsys.retrieval.item_index import ExactMirror, IndexedItems
from recsys.serving import served_log
from recsys.settings import from_environment
from recsys.store.hot import LOG
from recsys.store.journal import Journal
from recsys.store.lmdb_journal import LmdbJournal
from recsys.store.online import OnlineStore
from recsys.store.redis_journal import RedisJournal
from tests.features.redis_server import RedisServer

EVENTS: Final = 200_000
WORLDS: Final = ((6_000, 1_500, 50_000), (24_000, 6_000, 200_000), (24_000, 6_000, 100_000), (12_000, 6_000, 200_000))
BATCH, BATCHES, REQUESTS, WARM = 5_000, 12, 400, 100
TIMES = 3
Constant = tuple[float, str]


def cpu(*works: Callable[[], Any]) -> float:
    """CPU seconds of this process; of works that are alike the quickest, since other programs slow a CPU down."""
    took = []
    for work in works:
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return min(took)


def built(journal: Journal, world: ZipfWorld) -> OnlineStore:
    """A store of that world."""
    store = OnlineStore(journal, create=True)
    begun(store, world)
    return store


def begun(store: OnlineStore, world: ZipfWorld) -> None:
    """The state anew."""
    store.bootstrap(world.log, world.item_table, world.log.head)


def sizes_of(store: OnlineStore) -> tuple[int, int]:
    """Bytes of what reads touch, and of the log beside it."""
    arrays = store.journal.load(store.fingerprint, store.journal.mark(store.fingerprint).snapshot)
    log = sum(arrays[name].nbytes for name in LOG)
    return sum(array.nbytes for array in arrays.values()) - log, log


def opened(place: str) -> OnlineStore:
    """The store, as a worker holds it."""
    if place.startswith("redis"):
        return OnlineStore(RedisJournal(place, timeout=60), cache_mb=CACHE_MB)
    return OnlineStore(LmdbJournal(Path(place)))


def slates(store: OnlineStore, users: int, items: int, now: int) -> None:
    """What some users ask for: most items, so that a store that keeps what it was asked for has those."""
    chance, ids = np.random.default_rng(3), [f"i{i}" for i in range(items)]
    for user in chance.integers(users, size=500).tolist():
        store.read(f"u{user}", [ids[i] for i in chance.integers(items, size=500)], now)


def appended(*stores: tuple[OnlineStore, ZipfWorld]) -> list[float]:
    """CPU seconds of an event, in batches, of workers that have answered: the quickest batch of each, in turn."""
    took: list[list[float]] = [[] for _ in stores]
    for store, world in stores:
        slates(store, *size_of(world), after(world))
    for number in range(BATCHES + 1):
        for (store, world), of in zip(stores, took, strict=True):
            users, items = size_of(world)
            batch = [
                {"event_id": f"{number}-{i}", "kind": "click", "user_id": f"u{i % users}", "item_id": f"i{i % items}"}
                for i in range(number * BATCH, (number + 1) * BATCH)
            ]
            of.append(cpu(functools.partial(store.append, batch, after(world))) / BATCH)
    return [min(of[1:]) for of in took]


def after(world: ZipfWorld) -> int:
    """An instant behind that world."""
    return int(world.log.received_at.max()) + 1000


def size_of(world: ZipfWorld) -> tuple[int, int]:
    """Its users and items."""
    return (4 * USERS, 4 * ITEMS) if len(world.item_table) == 4 * ITEMS else (USERS, ITEMS)


def _hold(place: str, users: int, items: int, now: int, pipe: Any) -> None:
    """A worker of the store: the most that it holds while it reads what users ask for."""
    store, process, most = opened(place), psutil.Process(), 0
    slates(store, users, items, now)
    for user in range(users) if place.startswith("redis") else ():  # until all that it keeps is of what it was asked
        store.read(f"u{user}", ["i0"], now)
        if user % 500 == 0:
            most = max(most, process.memory_full_info().uss)
    pipe.send(max(most, process.memory_full_info().uss))
    pipe.recv()


def held(place: str, users: int, items: int, now: int) -> int:
    """Bytes of a worker of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=_hold, args=(place, users, items, now, theirs), daemon=True)
    worker.start()
    told = int(ours.recv())
    worker.kill()
    worker.join()
    return told


def of_default(store: OnlineStore, folder: Path, world: ZipfWorld, state: int) -> dict[str, Constant]:
    """Constants from the default world."""
    constants: dict[str, Constant] = {}
    seconds = cpu(*[functools.partial(begun, store, world)] * TIMES)
    constants["bootstrap_cpu_event"] = seconds / EVENTS, "s"
    uss = held(str(folder / "store"), USERS, ITEMS, after(world))
    constants["store_worker_bytes"] = uss - state, "bytes"
    data = next((folder / "store").glob("map-*/data.mdb"))
    before = data.stat().st_size
    constants["append_cpu_event"] = appended((store, world))[0], "s"
    grown = data.stat().st_size - before
    constants["journal_bytes_event"] = grown / (BATCH * (BATCHES + 1)), "bytes"
    raws = [raw for *_, raw in store.journal.raw(0)]
    constants["event_bytes"] = float(np.mean([len(raw) for raw in raws])), "bytes"
    user, item, positions, shown, shelf = world.rows
    asked = Rows(user, item, positions, shown, shelf)
    sweep.point_in_time(world.log, world.items, Rows(*(part[:10] for part in world.rows)))
    seconds = cpu(*[lambda: sweep.point_in_time(world.log, world.items, asked)] * TIMES)
    constants["sweep_cpu_row"] = seconds / len(user), "s"
    return constants


def of_store() -> dict[str, Constant]:
    """Constants of the store, from small worlds."""
    rows, touched, logs = [], [], []
    constants: dict[str, Constant] = {}
    for users, items, events in WORLDS:
        world = zipf_world(users, items, events)
        with tempfile.TemporaryDirectory() as folder:
            store = built(LmdbJournal(Path(folder) / "store", create=True), world)
            state, log = sizes_of(store)
            rows.append((users, items, events))
            touched.append(state)
            logs.append(log / events)
            if (users, items, events) == (USERS, ITEMS, EVENTS):
                constants |= of_default(store, Path(folder), world, state)
            store.close()
    for name, value in zip(("user", "item", "event"), fitted(rows, touched), strict=True):
        constants[f"state_bytes_{name}"] = value, "bytes"
    constants["log_bytes_event"] = float(np.mean(logs)), "bytes"
    return constants | of_redis(constants)


def fitted(rows: list[tuple[int, ...]], measured: list[int]) -> list[float]:
    """What one of each column takes, by the least relative errors."""
    found, _ = nnls(np.array(rows, float) / np.array(measured)[:, None], np.ones(len(rows)))
    return [float(value) for value in found]


def of_redis(of_state: dict[str, Constant]) -> dict[str, Constant]:
    """Constants of the store on Redis, from the same worlds."""
    constants: dict[str, Constant] = {}
    used = []
    for users, items, events in WORLDS:
        world = zipf_world(users, items, events)
        with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
            empty = server.client().info("memory")["used_memory"]
            built(RedisJournal(server.url, timeout=60), world).close()
            grown = server.client().info("memory")["used_memory"]
            used.append(grown - empty)
            if (users, items, events) != (USERS, ITEMS, EVENTS):
                continue
            touched = users * of_state["state_bytes_user"][0] + items * of_state["state_bytes_item"][0]
            touched += events * of_state["state_bytes_event"][0]
            constants["redis_worker_bytes"] = held(server.url, users, items, after(world)) - touched, "bytes"
            store = opened(server.url)
            constants["redis_append_cpu_event"] = appended((store, world))[0], "s"
            journal = server.client().info("memory")["used_memory"] - grown
            constants["redis_journal_bytes_event"] = journal / (BATCH * (BATCHES + 1)), "bytes"
            store.close()
    for name, value in zip(("user", "item", "event"), fitted(list(WORLDS), used), strict=True):
        constants[f"redis_bytes_{name}"] = value, "bytes"
    return constants


def of_service(home: Path) -> dict[str, Constant]:
    """Constants of a service over a home with a champion: one worker, over HTTP."""
    chance = np.random.default_rng(1)
    vectors = chance.normal(size=(100_000, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"{i:06d}" for i in range(len(vectors))]
    mirror = ExactMirror("items", IndexedItems.of(ids, ["video"] * len(ids), vectors))
    mirror.search("items", vectors[0], 100)
    constants: dict[str, Constant] = {}
    constants["search_cpu_item"] = (
        cpu(lambda: [mirror.search("items", vectors[i], 100) for i in range(20)]) / 20 / 100_000,
        "s",
    )
    lake = Lake(home)
    size = sum(path.stat().st_size for path in (home / "lake").rglob("*.parquet"))
    rows = sum(pq.read_metadata(path).num_rows for path in (home / "lake/raw/events").glob("*.parquet"))
    constants["lake_bytes_event"] = size / rows, "bytes"
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_of(home, Path(folder) / "home")
        users = users_of(lake)
        with running(copy, 1, RECSYS_BUDGET_MS=BUDGET_MS) as service, httpx.Client(base_url=service.url) as client:
            (worker,) = service.workers()

            def ask(number: int) -> int:
                answer = client.post("/recommend", json={"user_id": users[number % len(users)], "k": 10})
                assert answer.status_code == 200
                return len(answer.content)

            for number in range(WARM):
                ask(number)
            before = sum(worker.cpu_times()[:2])
            answered = [ask(number) for number in range(REQUESTS)]
            seconds = (sum(worker.cpu_times()[:2]) - before) / REQUESTS
            items = pq.read_metadata(lake.table("cleaned", "items")).num_rows
            constants["recommend_cpu"] = seconds - items * constants["search_cpu_item"][0], "s"
            constants["slate_bytes"] = float(np.mean(answered)) + 600.0, "bytes"  # 600: the request and both heads
            constants["worker_bytes"] = float(worker.memory_full_info().uss), "bytes"
        logged = served_log.read(served_log.segments(Lake(copy).served_log))
        served_log.write_sealed(Path(folder) / "sealed.parquet", [logged], "sealed")
        slates = len(set(logged["request_id"].to_pylist()))
        constants["served_bytes_slate"] = (Path(folder) / "sealed.parquet").stat().st_size / slates, "bytes"
    return constants


def check() -> dict[str, tuple[float, float]]:
    """Planned and measured, of a world that no constant was measured on. How quick a CPU is depends on what else runs:
    what is planned of CPU is measured anew beside it, on the default world, in turn.
    """
    of, (users, items, events) = constants(), (4 * USERS, 4 * ITEMS, 4 * EVENTS)
    world, default = zipf_world(users, items, events, seed=5), zipf_world(USERS, ITEMS, EVENTS)
    size = Size(users, items, events, 1)
    touched, log = state_bytes(size, of, days=1)
    beside: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        stores = [
            (built(LmdbJournal(Path(folder) / name, create=True), of_size), of_size)
            for name, of_size in (("default", default), ("store", world))
        ]
        store = stores[1][0]
        beside["LMDB: state, MB"] = (touched + log) / 1e6, sum(sizes_of(store)) / 1e6
        memory = held(str(Path(folder) / "store"), users, items, after(world))
        beside["LMDB: memory of a worker, MB"] = (of["store_worker_bytes"] + touched) / 1e6, memory / 1e6
        took = [[cpu(functools.partial(begun, *one)) for one in stores] for _ in range(TIMES)]
        few, all_events = (min(seconds) for seconds in zip(*took, strict=True))
        beside["LMDB: CPU of a bootstrap, s"] = few / EVENTS * events, all_events
        planned, own = appended(*stores)
        beside["LMDB: CPU of an append, us an event"] = planned * 1e6, own * 1e6
        for store, _ in stores:
            store.close()
    if shutil.which("redis-server"):
        with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
            built(RedisJournal(server.url, timeout=60), world).close()
            memory = held(server.url, users, items, after(world))
            beside["Redis: memory of a worker, MB"] = redis_worker_bytes(size, of, days=1) / 1e6, memory / 1e6
            (Path(folder) / "default").mkdir()
            with RedisServer(Path(folder) / "default") as another:
                built(RedisJournal(another.url, timeout=60), default).close()
                stores = [(opened(another.url), default), (opened(server.url), world)]
                planned, own = appended(*stores)
                beside["Redis: CPU of an append, us an event"] = planned * 1e6, own * 1e6
            journal = of["redis_journal_bytes_event"] * BATCH * (BATCHES + 1)
            used = server.client().info("memory")["used_memory"]
            planned = redis_server_bytes(size, of, days=1) + journal
            beside["Redis: memory of the server, MB"] = planned / 1e6, used / 1e6
            for store, _ in stores:
                store.close()
    return beside


def written(kept: dict[str, Any]) -> None:
    """constants.toml."""
    lines = [f"machine = {json.dumps(kept['machine'])}", ""]
    for name, about in sorted(kept["constants"].items()):
        lines += [f"[constants.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in about.items()), ""]
    lines += [
        "[held_out]  # planned and measured",
        *(f"{json.dumps(k)} = {list(v)}" for k, v in kept["held_out"].items()),
    ]
    with replacing(CONSTANTS) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def main() -> int:
    what = sys.argv[1] if sys.argv[1:] else "check"
    kept = tomllib.loads(CONSTANTS.read_text()) if CONSTANTS.exists() else {"held_out": {}, "constants": {}}
    today = time.strftime("%Y-%m-%d")
    if what == "measure":
        command, only = "python -m benchmarks.capacity measure", sys.argv[2:] == ["store"]
        constants = of_store() | ({} if only else of_service(from_environment().home))
        told = {
            name: {"value": value, "unit": unit, "command": command + " store" * only, "date": today}
            for name, (value, unit) in constants.items()
        }
        kept["constants"] = (kept["constants"] if only else {}) | told
        kept["machine"] = machine()
        for name, (value, unit) in sorted(constants.items()):
            print(f"{name} = {value:.4g} {unit}")
    else:
        kept["held_out"] = check()
        for name, (planned, measured) in kept["held_out"].items():
            print(f"{name}: {planned:,.4g} planned, {measured:,.4g} measured, {planned / measured - 1:+.1%}")
    written(kept)
    return 0


if __name__ == "__main__":
    sys.exit(main())
