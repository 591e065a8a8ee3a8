"""Load: `make load`, `python -m benchmarks.serving_load [seconds [workers]]`, on a copy of a home with a champion.

Two workers get 80 % of the rate that they were just measured to hold, a quarter of it over gRPC, while events flow in.
A third into it another bundle is promoted, after two thirds it is rolled back. No request may fail, every answer must
be wholly of one bundle, and the workers' memory may not grow once they are warm.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.running import Running, items_of, machine, running, users_of
from benchmarks.traffic import Traffic, capacity
from recsys.features.catalog import FINGERPRINT
from recsys.lake import Lake
from recsys.registry import Bundle, Registry
from recsys.settings import from_environment

SHARE, EVENTS = 0.8, 20.0
BUDGET_MS = "1000"
GROWTH = 0.05  # of memory between the first and the last fifth after warm-up that counts as none


def copy_of(home: Path, target: Path) -> Path:
    """What a service needs of a home, elsewhere: nothing that is done there touches the home.

    Raises:
        SystemExit: nothing is in service there yet.
    """
    if Registry(home / "registry").champion() is None:
        sys.exit(f"there is no champion in {home} (RECSYS_HOME) to measure: run `make run` first")
    return copied(home, target)


def copied(home: Path, target: Path) -> Path:
    """As `copy_of`, of a home of another commit too."""
    for name in ("registry", "store", "lake/cleaned"):
        shutil.copytree(home / name, target / name, symlinks=True)
    return target


def variant(registry: Registry, folder: Path) -> Bundle:
    """Another bundle: the champion's with a tenth off each click's probability."""
    champion = registry.champion()
    assert champion is not None
    shutil.copytree(champion.path, folder, ignore=shutil.ignore_patterns("manifest.json"))
    path = folder / "ranker" / "ranker.json"
    path.chmod(0o644)
    header = json.loads(path.read_text())
    click = header["calibrations"]["p_click" if header["kind"] == "blend" else "click"]
    click["probabilities"] = [0.9 * p for p in click["probabilities"]]
    path.write_text(json.dumps(header))
    return registry.register(folder, champion.facts, lineage=champion.lineage)


def own_memory(service: Running) -> float:
    """MiB that the workers hold of their own: pages of files that they map (journal, snapshot) are the kernel's."""
    held = 0.0
    for worker in service.workers():
        try:
            told = worker.memory_info()
        except psutil.Error:
            continue
        held += (told.rss - told.shared) / 2**20
    return held


async def memory(service: Running, every: float, told: list[tuple[float, float]], traffic: Traffic) -> None:
    """Note the workers' own memory in MiB until cancelled."""
    while True:
        told.append((time.perf_counter() - traffic.began, own_memory(service)))
        await asyncio.sleep(every)


async def loaded(service: Running, home: Path, other: Bundle, seconds: float) -> bool:
    """Run it; True when everything held."""
    lake = Lake(home)
    registry = Registry(lake.registry)
    users, items = users_of(lake), items_of(lake)
    await capacity(service.url, users, 5.0)
    rate = await capacity(service.url, users, 20.0)
    print(f"capacity {rate:.0f} recommends a second; now {SHARE * rate:.0f} a second for {seconds:.0f} s")
    traffic = Traffic(service.url, service.grpc, users, items)
    told: list[tuple[float, float]] = []
    watcher = asyncio.create_task(memory(service, max(0.5, seconds / 200), told, traffic))

    async def swap() -> None:
        await asyncio.sleep(seconds / 3)
        await asyncio.to_thread(registry.promote, other.bundle_id, held=FINGERPRINT)
        await asyncio.sleep(seconds / 3)
        await asyncio.to_thread(registry.rollback, held=FINGERPRINT)

    await asyncio.gather(traffic.run(SHARE * rate, EVENTS, seconds), swap())
    watcher.cancel()
    return report(traffic, told, seconds)


def report(traffic: Traffic, told: list[tuple[float, float]], seconds: float) -> bool:
    """Print what happened; True when no request failed and memory did not grow."""
    failed = Traffic.failed(traffic.answers)
    p50, p99, p999 = Traffic.quantiles(traffic.answers, 50, 99, 99.9)
    print(f"{len(traffic.answers):,} recommends: {dict(Traffic.rungs(traffic.answers))}, {len(failed)} failed")
    print(f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, p99.9 {p999:.1f} ms from when each was due")
    for number in range(3):
        part = traffic.between((number + 0.5) * seconds / 3, (number + 1) * seconds / 3)
        print(
            f"  bundles in the second half of the {number + 1}. third: {sorted({a.bundle for a in part if a.bundle})}"
        )
    kept = f"{len(traffic.acknowledged):,} of {len(traffic.sent):,} events"
    print(f"{kept} acknowledged, {traffic.refused_events} refused")
    rss = np.array(told)
    warm = rss[rss[:, 0] > 0.4 * seconds]  # the second bundle is loaded by then, and freed again later
    first = float(np.median(warm[warm[:, 0] < 0.52 * seconds, 1]))
    last = float(np.median(warm[warm[:, 0] > 0.88 * seconds, 1]))
    print(f"memory of the workers: {rss[0, 1]:.0f} MiB at the start, {first:.0f} once warm, {last:.0f} at the end")
    swapped = len({answer.bundle for answer in traffic.answers if answer.bundle}) == 2
    held = not failed and swapped and last <= (1 + GROWTH) * first and not traffic.refused_events
    print(f"{'held' if held else 'DID NOT HOLD'}; {machine()}")
    return held


def main(seconds: float = 600.0, workers: int = 2) -> int:
    with tempfile.TemporaryDirectory() as folder:
        home = copy_of(from_environment().home, Path(folder) / "home")
        other = variant(Registry(Lake(home).registry), Path(folder) / "variant")
        with running(home, workers, RECSYS_BUDGET_MS=BUDGET_MS) as service:
            return 0 if asyncio.run(loaded(service, home, other, seconds)) else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if sys.argv[1:] else 600.0, int(sys.argv[2]) if sys.argv[2:] else 2))
