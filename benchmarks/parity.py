"""The long proof: every runner and store against every other, crashes included. `python -m benchmarks.parity`.

1. Sweep (1 and 3 threads) against the event-by-event replay, aggregates and float32 features, on a Zipf log with late
   events and ties; against Spark where Java is there; and a sample against the plain Python oracle.
2. Each online store served by several processes that read and write at once and are killed with SIGKILL at random:
   every feature row they had logged is replayed from the log afterwards and compared byte by byte. Two nights begin the
   state anew meanwhile, and cut the journal; halfway the state of another fingerprint is built beside, and serves. Once
   more with what they append going through Kafka, whose consumer is killed like them.
3. Items that change daily, by file and live: lake, fold, service and replay against a stranger's oracle (metadata.py).

Ends with `mismatches / values`, and exits with 1 unless there are none.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.features_world import LOG_SHELVES, ZipfWorld, zipf_world
from benchmarks.metadata import changing
from bentos.recommender.dev_stream import PARTITIONS, Broker
from recsys.events import DAY_MS, HOUR_MS, key64
from recsys.features import sweep
from recsys.features.catalog import AGGREGATES, FEATURES, FINGERPRINT
from recsys.features.derive import Context, derive
from recsys.features.impressions import replayed
from recsys.features.log import Rows
from recsys.features.parity import Parity, compare_arrays, replay
from recsys.lake import Lake
from recsys.sources.derived import Rules
from recsys.store.online import OnlineStore
from recsys.store.upgrade import build_beside
from recsys.stream.consumer import Stream
from recsys.stream.kafka import Kafka
from tests.features.crowd import opened
from tests.features.nights import night

OFFLINE, CHANGING = "offline", "changing items"
CLUSTER, KAFKA = "Redis Cluster, served", "Kafka into LMDB, served"
PARTS = (OFFLINE, "LMDB, served", "Redis, served", CLUSTER, KAFKA, CHANGING)
USERS, ITEMS, SLATE = 3_000, 800, 40
SERVING = 3  # processes that read
NIGHTS = 2
OTHER = "other-features"
HEADER = np.dtype([("user", "i4"), ("position", "i8"), ("as_of", "i8"), ("shelf", "i4")])
FRAME = HEADER.itemsize + SLATE * 4 + SLATE * len(FEATURES) * 4


def offline(world: ZipfWorld, rows: int) -> Iterator[tuple[str, int, Parity]]:
    """Each runner of the past against the replay."""
    users, items, _, as_of, shelves = asked = tuple(column[:rows] for column in world.rows)
    truth = replayed(world.log, world.items, Rows(*asked))
    zero = np.zeros(len(users), np.int64)
    context = Context(as_of, shelves, zero, zero, world.items.lookup(items))
    floats = derive(truth, context)
    for threads in (1, 3):
        aggregates = sweep.point_in_time(world.log, world.items, Rows(*asked), threads=threads)
        yield f"sweep, {threads} threads: aggregates", len(users), compare_arrays(aggregates, truth, AGGREGATES)
        yield (
            f"sweep, {threads} threads: features",
            len(users),
            compare_arrays(derive(aggregates, context), floats, FEATURES),
        )
    from tests.features.oracle import by_hand

    few = np.random.default_rng(1).choice(len(users), 40, replace=False)
    chosen = tuple(column[few] for column in asked)
    yield "plain Python oracle", 40, compare_arrays(by_hand(world.log, world.items, *chosen), truth[few], AGGREGATES)
    if shutil.which("java"):
        yield "Spark local[2]: aggregates", len(users), by_spark(world, asked, truth)


def by_spark(world: ZipfWorld, rows: tuple[np.ndarray, ...], truth: np.ndarray) -> Parity:
    from pyspark.sql import SparkSession

    from recsys.features.spark import ROW_COLUMNS, point_in_time

    os.environ["PYSPARK_PYTHON"] = sys.executable
    users, items, positions, as_of, shelves = rows
    item = world.items.lookup(items)
    columns = (np.arange(len(users)), users, items, item.category_key, item.creator_key, shelves, positions, as_of)
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.log.level", "ERROR")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.executorEnv.PYTHONPATH", str(Path(__file__).parents[1]))
        .getOrCreate()
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            pq.write_table(pa.table(dict(zip(world.log._fields, world.log, strict=True))), f"{folder}/events.parquet")
            pq.write_table(pa.table(dict(zip(ROW_COLUMNS, columns, strict=True))), f"{folder}/rows.parquet")
            read = session.read
            joined = point_in_time(
                read.parquet(f"{folder}/events.parquet"), read.parquet(f"{folder}/rows.parquet"), partitions=4
            )
            table = joined.toArrow().sort_by("row")
        return compare_arrays(np.stack([table[name].to_numpy() for name in AGGREGATES], axis=1), truth, AGGREGATES)
    finally:
        session.stop()


def clock_of(begin: int, worker: int) -> int:
    """UTC ms now: days pass in hours, and the clocks of workers differ."""
    return begin + int(time.time() * 1000) % DAY_MS * 20 + worker * 700


def consume(place: str, fingerprint: str, begin: int, worker: int, kafka: Kafka) -> None:
    """`make stream`: what others sent to the topic goes into the store."""
    store = OnlineStore(opened(place), fingerprint=fingerprint)
    Stream(kafka, store, None, Rules, clock=lambda: clock_of(begin, worker)).run(threading.Event())


def serve(
    place: str,
    fingerprint: str,
    output: str,
    worker: int,
    seed: int,
    begin: int,
    item_table: pa.Table,
    kafka: Kafka | None,
) -> None:
    """One service process: appends (or sends), changes items, reads; each row it reads goes to its own file at once."""
    rng = np.random.default_rng(seed)
    store = OnlineStore(opened(place), fingerprint=fingerprint)
    producer = kafka.producer() if kafka else None
    number, shelf_keys = 0, key64(LOG_SHELVES)
    with open(output, "ab", buffering=0) as log:
        while True:
            clock = clock_of(begin, worker)
            if rng.random() < 0.4:
                batch = []
                for _ in range(int(rng.integers(1, 60))):
                    number += 1
                    kind = ("impression", "click", "play", "long_view", "like", "skip")[rng.integers(6)]
                    late = int(rng.choice([0, 0, 0, HOUR_MS, 2 * HOUR_MS, 3 * DAY_MS]))
                    batch.append(
                        {
                            "event_id": f"{worker}-{seed}-{number - int(rng.random() < 0.05)}",  # some are repeats
                            "kind": kind,
                            "user_id": f"u{rng.zipf(1.2) % USERS}",
                            "item_id": f"i{rng.zipf(1.2) % ITEMS}",
                            "shelf": LOG_SHELVES[rng.integers(len(LOG_SHELVES))],
                            "occurred_at": clock - late - int(rng.integers(0, 60_000)),
                            "watch_ms": int(rng.integers(0, 100_000)) if kind == "play" else None,
                        }
                    )
                if producer is None or kafka is None:
                    store.append(batch, clock)
                else:
                    for row in batch:
                        producer.produce(kafka.topic, json.dumps(row).encode(), key=row["user_id"])
                    producer.poll(0)
            if rng.random() < 0.01:
                changed = item_table.slice(int(rng.integers(ITEMS)), 1).to_pylist()[0]
                changed |= {"duration_ms": int(rng.integers(1, 10**6)), "category": f"c{rng.integers(40)}"}
                store.put_items(pa.Table.from_pylist([changed], schema=item_table.schema), clock)
            user, chosen = int(rng.zipf(1.2) % USERS), (rng.zipf(1.2, SLATE) - 1) % ITEMS
            # mostly now; sometimes an instant behind the log, for which tiles are gone
            as_of = clock - int(rng.choice([0, 0, 0, 0, 0, 0, 0, 20 * DAY_MS])) * int(rng.random() < 0.05)
            shelf = int(rng.integers(len(LOG_SHELVES)))
            read = store.read(f"u{user}", [f"i{i}" for i in chosen], as_of, shelf_key=int(shelf_keys[shelf]))
            zero = np.zeros(SLATE, np.int64)
            context = Context(zero + as_of, zero + shelf_keys[shelf], zero, zero, read.item)
            features = derive(read.aggregates, context)
            header = np.array([(user, read.position, as_of, shelf)], HEADER)
            log.write(header.tobytes() + chosen.astype("i4").tobytes() + features.tobytes())


def online(
    place: str,
    folder: Path,
    world: ZipfWorld,
    rows: int,
    kills: int,
    due: int,
    amid: Sequence[Callable[[], object]] = (),
    kafka: Kafka | None = None,
) -> tuple[int, Parity, str]:
    """Serve at least `rows` rows by three processes, killed again and again; then replay every row logged.

    Args:
        due: nights that are lived meanwhile
        amid: what befalls the store meanwhile, one at each third kill
        kafka: through which the three append; a fourth process reads it
    """
    store = OnlineStore(opened(place, create=True), create=True)
    store.bootstrap(world.log, world.item_table, world.log.head)
    begin = int(world.log.received_at.max()) + DAY_MS
    context = multiprocessing.get_context("spawn")
    rng = np.random.default_rng(9)
    workers: dict[int, Any] = {}
    seed = 0
    fingerprint = FINGERPRINT

    def start(worker: int) -> None:
        nonlocal seed
        seed += 1
        if worker < SERVING:
            output = str(folder / f"served-{seed}")
            arguments = (place, fingerprint, output, worker, seed, begin, world.item_table, kafka)
            workers[worker] = context.Process(target=serve, args=arguments, daemon=True)
        else:
            arguments = (place, fingerprint, begin, worker, kafka)
            workers[worker] = context.Process(target=consume, args=arguments, daemon=True)
        workers[worker].start()

    def kill(worker: int) -> None:
        os.kill(workers[worker].pid, signal.SIGKILL)
        workers[worker].join()

    for worker in range(SERVING + (kafka is not None)):
        start(worker)
    lake = Lake(folder / "home")
    killed = nights = left = befell = 0
    files: list[Path] = []
    while True:
        time.sleep(float(rng.uniform(1.0, 4.0)))
        files = sorted(folder.glob("served-*"))
        served = sum(file.stat().st_size // FRAME for file in files) * SLATE
        if served >= rows and killed >= kills:
            break
        worker = int(rng.integers(len(workers)))
        if not workers[worker].is_alive():
            raise RuntimeError(f"worker {worker} died by itself")
        if killed < kills or rng.random() < 0.1:
            kill(worker)
            killed += 1
            start(worker)
            store.checkpoint(0)
            if killed == 3 * (befell + 1) and befell < len(amid):
                amid[befell]()
                befell += 1
        if fingerprint == FINGERPRINT and killed >= kills / 2:
            fingerprint = OTHER
            build_beside(store.journal, FINGERPRINT, fingerprint)
            for worker in workers:
                kill(worker)
                start(worker)
            store.journal.drop(FINGERPRINT)
            store.close()
            store = OnlineStore(opened(place), fingerprint=fingerprint)
        if nights < due and killed >= kills * (nights + 1) // (due + 1):  # while they serve
            left += night(store, lake, world.item_table, days=-1).left
            nights += 1
    for worker in workers:
        kill(worker)
    log, _ = store.export()
    parities = []
    for file in files:
        frames = np.fromfile(file, np.uint8)
        frames = frames[: len(frames) // FRAME * FRAME].reshape(-1, FRAME)  # the one being written when it was killed
        if not len(frames):
            continue
        size = HEADER.itemsize
        heads = np.ascontiguousarray(frames[:, :size]).view(HEADER)[:, 0]
        chosen = np.ascontiguousarray(frames[:, size : size + 4 * SLATE]).view("i4").ravel()
        told = np.ascontiguousarray(frames[:, size + 4 * SLATE :]).view(np.float32).reshape(-1, len(FEATURES))
        nothing = pa.nulls(len(chosen), pa.string())
        served_rows = pa.table(
            {
                "user_id": [f"u{u}" for u in np.repeat(heads["user"], SLATE)],
                "item_id": [f"i{i}" for i in chosen],
                "position": np.repeat(heads["position"], SLATE),
                "as_of": np.repeat(heads["as_of"], SLATE),
                "log_shelf": np.repeat(np.array(LOG_SHELVES)[heads["shelf"]], SLATE),
                "device": nothing,
                "said": nothing,
            }
        )
        parities.append(compare_arrays(told, replay(log, store.items_at, served_rows), FEATURES))
    total = Parity(
        sum(p.values for p in parities),
        sum(p.mismatches for p in parities),
        0,
        0,
        {name: n for p in parities for name, n in p.worst.items()},
    )
    story = f"{killed} kills, {len(log.position) - len(world.log.position):,} live events"
    story += f", {nights} nights that cut {left:,} records, the fingerprint changed"
    story += f", {befell} of failover and reshard" if amid else ""
    store.close()
    return total.values // len(FEATURES), total, story


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=60_000, help="rows of the offline runners (120 columns each)")
    parser.add_argument("--served", type=int, default=120_000, help="rows served by each store")
    parser.add_argument("--changing", type=int, default=1_200, help="rows over items that change daily, as many served")
    parser.add_argument("--kills", type=int, default=10, help="processes killed while a store serves")
    parser.add_argument("--nights", type=int, default=NIGHTS, help="nights that cut the journal meanwhile")
    parser.add_argument("--only", choices=PARTS, help="one part of it")
    given = parser.parse_args()
    parts = [given.only] if given.only else PARTS
    console = Console(width=130)
    table = Table("compared", "rows", "values", "mismatches", "seconds", "")
    values = mismatches = 0

    def add(name: str, rows: int, parity: Parity, seconds: float, story: str = "") -> None:
        nonlocal values, mismatches
        values, mismatches = values + parity.values, mismatches + parity.mismatches + parity.missing + parity.extra
        table.add_row(
            name, f"{rows:,}", f"{parity.values:,}", f"{parity.mismatches:,}", f"{seconds:.0f}", story or str(parity)
        )
        console.print(f"{name}: {parity} {story}")

    world = zipf_world(USERS, ITEMS, 2 * given.rows, late=0.05)
    began = time.monotonic()
    for name, rows, parity in offline(world, given.rows) if OFFLINE in parts else ():
        add(name, rows, parity, time.monotonic() - began)
        began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        places = {"LMDB, served": str(Path(folder) / "store")}
        if shutil.which("redis-server"):
            from tests.features.redis_cluster import LOG, RedisCluster
            from tests.features.redis_server import RedisServer

            places["Redis, served"] = stack.enter_context(RedisServer(Path(folder))).url
            cluster = stack.enter_context(RedisCluster(Path(folder) / "cluster"))
            places[CLUSTER] = cluster.url
        kafka = None
        if KAFKA in parts:
            broker = stack.enter_context(Broker())
            broker.topics(events=PARTITIONS, events_rejected=1)
            # this broker waits half a session before a group begins
            properties = {"bootstrap.servers": broker.servers, "session.timeout.ms": "10000"}
            kafka = Kafka(properties, "events", "events.rejected", None)
            places[KAFKA] = str(Path(folder) / "streamed")
        for name, place in places.items():
            if name not in parts:
                continue
            began = time.monotonic()
            logs = Path(folder) / name.split(",")[0]
            logs.mkdir()
            amid = (lambda: cluster.fail_over(LOG), lambda: cluster.move(LOG)) if name == CLUSTER else ()
            way = kafka if name == KAFKA else None
            rows, parity, story = online(place, logs, world, given.served, given.kills, given.nights, amid, way)
            add(name, rows, parity, time.monotonic() - began, story)
        began = time.monotonic()
        for name, rows, parity in changing(Path(folder) / "changing", given.changing) if CHANGING in parts else ():
            add(f"{CHANGING}, {name}", rows, parity, time.monotonic() - began)
            began = time.monotonic()
    console.print(table)
    console.print(f"[bold]{mismatches:,} mismatches / {values:,} values[/] ({os.cpu_count()} cores)")
    return int(mismatches > 0 or values == 0)


if __name__ == "__main__":
    sys.exit(main())
