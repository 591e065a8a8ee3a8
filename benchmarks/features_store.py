"""Online reads and appends of each store: `python -m benchmarks.features_store [users items events]`.

One user and 1 / 100 / 500 items in the catalogue's full width, in process, over a Zipf log; then durable appends in
batches, and what the kernel applies alone.
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
from rich.console import Console
from rich.table import Table

from benchmarks.features_world import zipf_world
from recsys.features import kernel, sweep
from recsys.features.catalog import AGGREGATES
from recsys.features.journal import Journal
from recsys.features.store import OnlineStore
from recsys.features.store_lmdb import LmdbJournal

ROUNDS, BATCH, BATCHES = 400, 1000, 20


def journals(folder: Path, stack: ExitStack) -> Iterator[tuple[str, Callable[[], Journal]]]:
    yield "lmdb", lambda: LmdbJournal(folder / "lmdb", create=True)
    if shutil.which("redis-server"):
        from recsys.features.store_redis import RedisJournal
        from tests.features.redis_server import RedisServer

        server = stack.enter_context(RedisServer(folder))
        yield "redis", lambda: RedisJournal(server.url, timeout=60)


def main(users: int = 24_000, items: int = 6_000, events: int = 1_000_000) -> None:
    world = zipf_world(users, items, events)
    console = Console(width=120)
    table = Table(title=f"one user and k items, {len(AGGREGATES)} int64 columns, {events:,} events: microseconds")
    for name in ("store", "open s", "p50 k=1", "p99", "p50 k=100", "p99", "p50 k=500", "p99", "durable appends/s"):
        table.add_column(name, justify="right")
    state = kernel.new_state()
    kernel.applied(sweep.PROGRAM, state, world.log.until(int(world.log.position[1000])))  # compile
    began = time.process_time()
    kernel.applied(sweep.PROGRAM, kernel.new_state(), world.log)
    rate = events / (time.process_time() - began)
    now = int(world.log.received_at.max()) + 1000
    rng = np.random.default_rng(5)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for name, open_journal in journals(Path(folder), stack):
            store = OnlineStore(open_journal(), create=True)
            store.bootstrap(world.log, world.item_table, world.log.head)
            began = time.perf_counter()
            again = OnlineStore(open_journal())
            opened = time.perf_counter() - began
            cells = []
            for k in (1, 100, 500):
                took = []
                for _ in range(ROUNDS):
                    user, chosen = f"u{rng.integers(users)}", [f"i{i}" for i in rng.zipf(1.2, k) % items]
                    began = time.perf_counter()
                    again.read(user, chosen, now)
                    took.append(time.perf_counter() - began)
                cells += [f"{q * 1e6:,.0f}" for q in np.percentile(took[ROUNDS // 4 :], [50, 99])]
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
            table.add_row(name, f"{opened:.2f}", *cells, f"{appended:,.0f}")
            again.close()
            store.close()
    console.print(table)
    console.print(f"kernel alone applies {rate:,.0f} events per CPU second to {len(sweep.PROGRAM.views)} views each")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
