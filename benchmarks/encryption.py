"""What encryption at rest costs: `python -m benchmarks.encryption`: CPU with keys over CPU without, side by side.

In turns: appends by 5,000 and alone, 5,200 records read back, slates of 10 rows written to the served log and read.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.features_world import zipf_world
from benchmarks.running import machine
from recsys import keyfile
from recsys.features.catalog import FEATURES
from recsys.serving import served_log
from recsys.serving.served_log import Served, ServedLog
from recsys.store.lmdb_journal import LmdbJournal
from recsys.store.online import OnlineStore

USERS, ITEMS, BATCH, ROUNDS, SINGLES, SLATES = 2_000, 1_000, 5_000, 10, 200, 500


def slate(number: int) -> Served:
    ids = [f"i{i}" for i in range(10)]
    ones = [1.0] * 10
    return Served(
        request_id=f"{number:032x}", served_at=1_700_000_000_000, user_id="u1", shelf="feed", log_shelf="feed",
        device=None, bundle="b", rung="full", position=1, as_of=1_700_000_000_000, fingerprint="f", item_id=ids,
        slot=list(range(10)), source=["s"] * 10, score=ones, p_click=ones, watch_seconds=ones,
        features=np.random.default_rng(number).random((10, len(FEATURES)), np.float32),
    )  # fmt: skip


def took(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def one_turn(store: OnlineStore, log: ServedLog, root: Path, number: int, now: int) -> dict[str, float]:
    """CPU seconds of each kind of work."""
    events = [
        {"event_id": f"{number}-{i}", "kind": "click", "user_id": f"u{i % USERS}", "item_id": f"i{i % ITEMS}"}
        for i in range(BATCH + SINGLES)
    ]
    slates, before = [slate(n) for n in range(SLATES)], store.head()
    return {
        "append by 5,000": took(lambda: store.append(events[:BATCH], now)),
        "append alone": took(lambda: [store.append([event], now) for event in events[BATCH:]]),
        "read back": took(lambda: store.journal.records(before, store.head())),
        "write slates": took(lambda: [log.append(one) for one in slates]),
        "read slates": took(lambda: served_log.draw(root, 5_000)),
    }


def main() -> None:
    print(machine())
    world = zipf_world(USERS, ITEMS, 50_000)
    now = int(world.log.received_at.max()) + 1000
    costs: dict[str, dict[bool, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        keyfile.add(keys, "one")
        stores = {}
        for with_keys in (False, True):
            stores[with_keys] = OnlineStore(LmdbJournal(Path(folder) / f"{with_keys}", create=True), create=True)
            stores[with_keys].bootstrap(world.log, world.item_table, world.log.head)
        roots = {with_keys: Path(folder) / f"served-{with_keys}" for with_keys in (False, True)}
        logs = {with_keys: ServedLog(root) for with_keys, root in roots.items()}
        for turn in range(2 * ROUNDS + 2):
            with_keys, number = bool(turn % 2), turn // 2
            os.environ.pop("RECSYS_ENCRYPTION_KEYS", None)
            if with_keys:
                os.environ["RECSYS_ENCRYPTION_KEYS"] = str(keys)
            for name, seconds in one_turn(stores[with_keys], logs[with_keys], roots[with_keys], number, now).items():
                if number:  # the first of each warms up
                    costs.setdefault(name, {}).setdefault(with_keys, []).append(seconds)
        sizes = [sum(path.stat().st_size for path in roots[w].rglob("*.served")) for w in (False, True)]
    for name, by in costs.items():
        plain, sealed = (statistics.median(by[with_keys]) for with_keys in (False, True))
        print(
            f"{name}: {sealed / plain:.2f} times the CPU ({plain * 1e3:.1f} ms without keys, {sealed * 1e3:.1f} with)"
        )
    print(f"served log: {sizes[1] / sizes[0]:.3f} times the bytes")


if __name__ == "__main__":
    main()
