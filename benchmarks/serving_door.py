"""What others notice of trouble at the door: `python -m benchmarks.serving_door [seconds]`, on a copy of a home.

Two workers answer steady traffic of people who are known and people who are not. Beside it, one after the other: one
sender posts bodies of 1.8 MB of unknown fields, 2,000 callers hang up, the disk of the home (50 MB) is filled, Milvus
is killed every ten seconds where it is asked for each search, and Redis is killed under a service over Redis. Answers
before are compared with those meanwhile: the p99 may be twice what it was, no worker may die, `/readyz` must tell of
what is down, and each answer must be a slate; one without all sources must name those that are missing.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np

from benchmarks.running import Running, items_of, machine, running, users_of
from benchmarks.serving_faults import Verdicts, fill_redis, redis_server, small_disk, with_milvus
from benchmarks.serving_load import copy_of
from benchmarks.traffic import Traffic
from benchmarks.trouble import HUNG_UP
from recsys.lake import Lake
from recsys.retrieval.milvus_server import running_milvus, stop_milvus
from recsys.settings import from_environment

RATE, EVENTS = 30.0, 10.0  # a second
STRANGERS = 50  # beside the 200 people of the last day
DISK_MB = 50  # free beside what the copy of the home takes
FOLD = 2.0  # of the p99 that was
KILL_SECONDS = 10.0
BUDGET = {"RECSYS_BUDGET_MS": "2000"}


async def beside(service: Running, home: Path, seconds: float, trouble: Callable[[], None]) -> tuple[Traffic, float]:
    """Traffic for twice the seconds, with the trouble in the second half; also where that half begins."""
    lake = Lake(home)
    users = [*users_of(lake), *(f"nobody-{n}" for n in range(STRANGERS))]
    traffic = Traffic(service.url, service.grpc, users, items_of(lake))
    flow = asyncio.create_task(traffic.run(RATE, EVENTS, 2 * seconds + 5, steady=True))
    await asyncio.sleep(seconds + 3)  # the first three are left out: connections are made
    began = time.perf_counter() - traffic.began
    await asyncio.to_thread(trouble)
    await flow
    return traffic, began


def judged(
    name: str,
    service: Running,
    home: Path,
    seconds: float,
    trouble: Callable[[], None],
    verdicts: Verdicts,
    down: str = "",
) -> None:
    """Run it, and say whether others noticed.

    Args:
        down: what `/readyz` has to tell of
    """
    before = {worker.pid for worker in service.workers()}
    told: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.5):
            with suppress(httpx.HTTPError, ValueError):
                told.extend(httpx.get(f"{service.url}/readyz", timeout=10).json().get("down", {}))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    traffic, began = asyncio.run(beside(service, home, seconds, trouble))
    stop.set()
    asking.join()
    calm, troubled = traffic.between(3.0, began), traffic.between(began, began + seconds)
    p99 = [float(np.percentile([answer.ms for answer in part], 99)) for part in (calm, troubled)]
    wrong = [*Traffic.failed(troubled), *(a for a in troubled if a.rung == "partial" and not a.names)]
    alive = {worker.pid for worker in service.workers()} == before
    held = alive and not wrong and p99[1] <= FOLD * p99[0] and (not down or down in told)
    words = (
        f"p99 {p99[0]:.0f} ms before, {p99[1]:.0f} meanwhile ({p99[1] / p99[0]:.1f} times) of {len(troubled):,} answers"
    )
    words += f" {dict(Traffic.rungs(troubled))}, {len(wrong)} of them wrong, workers {'live' if alive else 'DIED'}"
    verdicts.say(name, held, f"{words}, /readyz told {sorted(set(told)) or 'nothing'}")


def fill(disk: Path) -> None:
    """Every byte of a file system."""
    with (disk / "filler").open("ab", buffering=0) as file:
        for size in (1 << 20, 4096):
            with suppress(OSError):
                while file.write(b"\0" * size) == size:
                    continue


def kill_milvus(home: Path, seconds: float) -> None:
    """Again and again: the service brings it back."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        if (process := running_milvus(Lake(home).milvus)) is not None and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(KILL_SECONDS)


def apart(kind: str, url: str, seconds: float) -> None:
    """A troublemaker of its own process (see trouble.py)."""
    subprocess.run([sys.executable, "-m", "benchmarks.trouble", kind, url.rpartition(":")[2], str(seconds)], check=True)


@contextmanager
def on_a_small_disk(source: Path, folder: Path) -> Iterator[Path]:
    """A copy of the home on a file system with DISK_MB left.

    Raises:
        SystemExit: this process may not mount one.
    """
    parts = [source / name for name in ("registry", "store", "lake/cleaned")]
    size = sum(path.stat().st_blocks * 512 for part in parts for path in part.rglob("*") if path.is_file()) >> 20
    with small_disk(folder / "disk", size + DISK_MB) as disk:
        if disk is None:
            sys.exit("no small file system can be mounted here: run it as root")
        yield copy_of(source, disk / "home")


def on_lmdb(source: Path, folder: Path, seconds: float, verdicts: Verdicts) -> None:
    """A hostile sender, callers who hang up, a full disk."""
    with on_a_small_disk(source, folder) as home, running(home, workers=2, **BUDGET) as service:
        given = (service, home, seconds)
        judged("one hostile sender", *given, lambda: apart("hostile", service.url, seconds), verdicts)
        judged(f"{HUNG_UP:,} hung up", *given, lambda: apart("hang_up", service.url, seconds), verdicts)
        judged(f"a disk of {DISK_MB} MB full", *given, lambda: fill(folder / "disk"), verdicts, down="disk")


def without_milvus(source: Path, folder: Path, seconds: float, verdicts: Verdicts) -> None:
    """Every search is one of Milvus, until there is none."""
    home = copy_of(source, folder / "home-milvus")
    settings = with_milvus(home)
    try:
        with running(home, workers=2, RECSYS_MIRROR_ROWS="0", **BUDGET) as service:
            trouble = functools.partial(kill_milvus, home, seconds)
            judged("Milvus killed", service, home, seconds, trouble, verdicts, down="milvus")
    finally:
        stop_milvus(settings)


def without_redis(source: Path, folder: Path, seconds: float, verdicts: Verdicts) -> None:
    """What is still answerable comes from memory."""
    home = copy_of(source, folder / "home-redis")
    (folder / "redis").mkdir()
    with redis_server(folder / "redis") as (server, url):
        fill_redis(home, url)
        with running(home, workers=2, RECSYS_STORE=url, **BUDGET) as service:
            judged("Redis gone", service, home, seconds, server.kill, verdicts, down="store")


def main(seconds: float = 70.0) -> int:
    verdicts, source = Verdicts(), from_environment().home
    with tempfile.TemporaryDirectory() as name:
        for part in (on_lmdb, without_milvus, without_redis):
            part(source, Path(name), seconds, verdicts)
    print(f"{RATE:.0f} recommends a second, two workers; {machine()}")
    return 1 if verdicts.failed else 0


if __name__ == "__main__":
    sys.exit(main(*(float(argument) for argument in sys.argv[1:])))
