"""Online reads and appends of each store: `python -m benchmarks.features_store [users items events]`.

One user and 1 / 100 / 500 items in the catalogue's full width, in process, over a Zipf log; then durable appends in
batches, and what the kernel reads and applies alone. Beside it Feast with its SQLite and Redis stores: as many int64
features of one user and k items, written ready-made, while ours computes windows at the instant of the read.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks import feast_environment
from benchmarks.features_sweep import view
from benchmarks.features_world import ZipfWorld, zipf_world
from recsys.events import key64
from recsys.features import fold, kernel, sweep
from recsys.features.catalog import AGGREGATES, ITEM, USER
from recsys.features.layout import compile_program
from recsys.store.journal import Journal
from recsys.store.lmdb_journal import LmdbJournal
from recsys.store.online import OnlineStore
from tests.features.redis_server import RedisServer

PAIRS = ("user_item", "user_category", "user_creator", "user_shelf")
ROUNDS, BATCH, BATCHES = 400, 5000, 6
SIZES = (1, 100, 500)
FEAST_USERS, FEAST_ITEMS, FEAST_SECONDS = 200, 1500, 420


def journals(folder: Path, server: RedisServer | None) -> Iterator[tuple[str, Callable[[], Journal]]]:
    yield "lmdb", lambda: LmdbJournal(folder / "lmdb", create=True)
    if server is not None:
        from recsys.store.redis_journal import RedisJournal

        yield "redis", lambda: RedisJournal(server.url, timeout=60)


def by_feast(folder: Path, server: RedisServer | None) -> dict[str, dict[str, tuple[float, float]]]:
    """Seconds at the quantiles 50 and 99 of each of Feast's stores, by k.

    Raises:
        NoFeast: it cannot take part.
    """
    rng = np.random.default_rng(8)
    folder.mkdir()
    at = pa.array([1_700_000_000_000_000], pa.timestamp("us", tz="UTC"))
    of_user = [name for name in AGGREGATES if name.startswith("user_") and not name.startswith(PAIRS)]
    of_item = [name for name in AGGREGATES if name not in of_user]
    for key, columns, rows in (("user", of_user, FEAST_USERS), ("item", of_item, FEAST_ITEMS)):
        keys = pa.array(np.unique(rng.integers(1, 2**62, rows)))
        values = {name: rng.integers(0, 10_000, len(keys)) for name in columns}
        instants = pa.chunked_array([at] * len(keys)).combine_chunks()
        pq.write_table(pa.table({f"{key}_key": keys, "at": instants, **values}), folder / f"{key}s.parquet")
    place = "-" if server is None else f"127.0.0.1:{server.port}"
    return feast_environment.ask("online", folder, place, FEAST_SECONDS)


def in_process(world: ZipfWorld, users: int, items: int, now: int) -> list[float]:
    """Median seconds of the kernel's read of one user and k items, for each k, in the columns of features_sweep."""
    program = compile_program((view(USER), view(ITEM)))
    state = fold.applied(program, fold.new_state(), world.log)
    rng, item_keys, medians = np.random.default_rng(6), key64(f"i{i}" for i in range(items)), []
    for k in SIZES:
        out, none, at, took = np.empty((k, 40), np.int64), np.zeros(k, np.int64), np.full(k, now), []
        for _ in range(ROUNDS):
            user = np.repeat(world.user_keys[rng.integers(len(world.user_keys))], k)
            reads = kernel.Reads(user, item_keys[rng.zipf(1.2, k) % items], none, none, none, none, at)
            began = time.perf_counter()
            kernel.read_rows(program, state, reads, out)
            took.append(time.perf_counter() - began)
        medians.append(float(np.median(took[ROUNDS // 4 :])))
    return medians


def main(users: int = 24_000, items: int = 6_000, events: int = 1_000_000) -> None:
    world = zipf_world(users, items, events)
    console = Console(width=120)
    table = Table(title=f"one user and k items, {len(AGGREGATES)} int64 columns, {events:,} events: microseconds")
    for name in (
        "store",
        "open s",
        "p50 k=1",
        "p99",
        "p50 k=100",
        "p99",
        "p50 k=500",
        "p99",
        f"durable appends/s, by {BATCH:,}",
    ):
        table.add_column(name, justify="right")
    state = fold.new_state()
    fold.applied(sweep.PROGRAM, state, world.log.until(int(world.log.position[1000])))  # compile
    room = fold.new_state(1 << 21, 1 << 26)  # of a state that has grown to its size, as a service's has
    began = time.process_time()
    fold.applied(sweep.PROGRAM, room, world.log)
    rate = events / (time.process_time() - began)
    now = int(world.log.received_at.max()) + 1000
    rng = np.random.default_rng(5)
    item_ids = [f"i{i}" for i in range(items)]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = None
        if shutil.which("redis-server"):
            server = stack.enter_context(RedisServer(Path(folder)))
        medians: dict[str, dict[str, float]] = {}
        for name, open_journal in journals(Path(folder), server):
            store = OnlineStore(open_journal(), create=True)
            store.bootstrap(world.log, world.item_table, world.log.head)
            began = time.perf_counter()
            again = OnlineStore(open_journal())
            opened = time.perf_counter() - began
            rows = {}
            for asked, of in ((name, item_ids), (f"{name}, by keys", key64(item_ids))):
                rows[asked] = []
                for k in SIZES:
                    took = []
                    for _ in range(ROUNDS):
                        user, places = f"u{rng.integers(users)}", rng.zipf(1.2, k) % items
                        chosen = of[places] if isinstance(of, np.ndarray) else [of[i] for i in places]
                        began = time.perf_counter()
                        again.read(user, chosen, now)
                        took.append(time.perf_counter() - began)
                    middle, worst = np.percentile(took[ROUNDS // 4 :], [50, 99])
                    medians.setdefault(asked, {})[str(k)] = middle
                    rows[asked] += [f"{middle * 1e6:,.0f}", f"{worst * 1e6:,.0f}"]
            batches = [
                [
                    {"event_id": f"{b}-{i}", "kind": "click", "user_id": f"u{i % users}", "item_id": f"i{i % items}"}
                    for i in range(BATCH)
                ]
                for b in range(BATCHES)
            ]
            began = time.perf_counter()
            for batch in batches:
                store.append(batch, now)
            appended = BATCH * BATCHES / (time.perf_counter() - began)
            for asked, cells in rows.items():
                first = asked == name
                table.add_row(asked, f"{opened:.2f}" if first else "", *cells, f"{appended:,.0f}" if first else "")
            again.close()
            store.close()
        try:
            feast = by_feast(Path(folder) / "feast", server)
        except feast_environment.NoFeast as why:
            feast = {}
            console.print(f"without Feast: {why}")
    for name, told in feast.items():
        cells = [f"{q * 1e6:,.0f}" for k in SIZES for q in told[str(k)]]
        table.add_row(f"Feast, {name}", "", *cells, "")
    console.print(table)
    for ours, quantiles in medians.items():
        for name, told in feast.items():
            ahead = " / ".join(f"{told[str(k)][0] / quantiles[str(k)]:,.0f}" for k in SIZES)
            console.print(f"{ours} is {ahead} times ahead of Feast's {name} store at 1 / 100 / 500 rows (p50)")
    told = " / ".join(f"{seconds * 1e6:,.0f}" for seconds in in_process(world, users, items, now))
    console.print(f"kernel alone reads 20 window columns of a user and of k items in {told} us (p50)")
    console.print(f"kernel alone applies {rate:,.0f} events per CPU second to {len(sweep.PROGRAM.views)} views each")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
