"""A soak: `python -m benchmarks.soak [seconds [workers]]`: 45 min at half load, on a copy of a home with a champion.

Recommends (a quarter over gRPC) and events flow at half the rate that the service was just measured to hold; a backup
is taken in the middle. Held: no request failed, the workers' memory grew by less than SLOPE an hour over the last two
thirds, and every acknowledged event is in what the next day's `raw_events` reads, once, and in the backup's restored
log as far as it goes.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.running import Running, items_of, machine, running, users_of
from benchmarks.serving_load import BUDGET_MS, copy_of, memory
from benchmarks.traffic import Traffic, capacity
from recsys.backup.restoring import restore
from recsys.backup.vault import Vault
from recsys.lake import Lake
from recsys.settings import Settings, from_environment
from recsys.store.opening import open_store

SHARE, EVENTS = 0.5, 50.0
SLOPE = 0.03  # of memory, an hour


async def soaked(
    service: Running, home: Path, vault: Path, seconds: float
) -> tuple[Traffic, list[tuple[float, float]]]:
    """The traffic, and the workers' memory over time (seconds, MiB)."""
    lake = Lake(home)
    users = users_of(lake)
    rate = SHARE * await capacity(service.url, users, 20.0)
    print(f"{rate:.0f} recommends and {EVENTS:.0f} events a second for {seconds:.0f} s", flush=True)
    traffic = Traffic(service.url, service.grpc, users, items_of(lake))
    told: list[tuple[float, float]] = []
    watcher = asyncio.create_task(memory(service, max(0.5, seconds / 500), told, traffic))

    async def keep() -> None:
        await asyncio.sleep(seconds / 2)
        command = (sys.executable, "-m", "recsys_assets.backup", "backup", str(vault))
        process = await asyncio.create_subprocess_exec(*command, env={**os.environ, "RECSYS_HOME": str(home)})
        if await process.wait():
            sys.exit("no backup was taken")

    await asyncio.gather(traffic.run(rate, EVENTS, seconds), keep())
    watcher.cancel()
    return traffic, told


def events_of(home: Path) -> Counter[str]:
    """How often each event is in what the next day reads."""
    store = open_store(Settings(home=home))
    try:
        return Counter(store.tail(0)["event_id"].to_pylist())
    finally:
        store.close()


def report(traffic: Traffic, told: list[tuple[float, float]], home: Path, restored: Path, seconds: float) -> bool:
    """Print what happened; True when it held."""
    failed = Traffic.failed(traffic.answers)
    p50, p99 = Traffic.quantiles(traffic.answers, 50, 99)
    print(f"{len(traffic.answers):,} recommends: {dict(Traffic.rungs(traffic.answers))}, {len(failed)} failed")
    print(f"p50 {p50:.1f} ms, p99 {p99:.1f} ms from when each was due")
    at, held = np.array([row for row in told if row[0] > seconds / 3]).T
    slope = float(np.polyfit(at, held, 1)[0]) * 3600 / float(np.median(held))
    print(f"memory of the workers: {held[0]:.0f} MiB after a third, {held[-1]:.0f} at the end, {slope:+.2%} an hour")
    kept, backed_up = events_of(home), events_of(restored)
    lost = sum(kept[event] == 0 for event in traffic.acknowledged)
    doubled = sum(count > 1 for count in kept.values())
    print(f"{len(traffic.acknowledged):,} events acknowledged: {lost} lost, {doubled} doubled", end="; ")
    print(f"the backup holds {len(backed_up):,}, {len(backed_up - kept)} of them strange")
    well = not failed and not lost and not doubled and slope < SLOPE and not traffic.refused_events
    well = well and len(backed_up) > 0 and not backed_up - kept
    print(f"{'held' if well else 'DID NOT HOLD'}; {machine()}")
    return well


def main(seconds: float = 2700.0, workers: int = 2) -> int:
    with tempfile.TemporaryDirectory() as folder:
        home, vault, restored = (Path(folder) / name for name in ("home", "vault", "restored"))
        copy_of(from_environment().home, home)
        with running(home, workers, RECSYS_BUDGET_MS=BUDGET_MS) as service:
            traffic, told = asyncio.run(soaked(service, home, vault, seconds))
        restore(Settings(home=restored), Vault(str(vault)))
        return 0 if report(traffic, told, home, restored, seconds) else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if sys.argv[1:] else 2700.0, int(sys.argv[2]) if sys.argv[2:] else 2))
