"""Faults under load: `make faults`, `python -m benchmarks.serving_faults [seconds]`, on a copy of a champion's home.

While two workers answer, one thing after another breaks for some seconds and is mended: Milvus is killed (it is asked
for every search here), the ranker of a promoted bundle is corrupt, the disk is full, a worker is killed with SIGKILL,
and, on a second service over Redis, the store hangs. Every request must be answered on some rung within its budget,
circuits must open and close, and every event that was acknowledged must be in the log afterwards.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.running import Running, free_port, items_of, machine, running, users_of
from benchmarks.serving_load import copy_of, variant
from benchmarks.traffic import Traffic
from recsys.cleaned.log import read_keys, read_log
from recsys.events import ITEM_SCHEMA
from recsys.lake import Lake
from recsys.registry import Registry
from recsys.retrieval.item_index import MilvusIndex
from recsys.retrieval.milvus_server import ensure_milvus, running_milvus, stop_milvus
from recsys.settings import Settings, from_environment
from recsys.store.online import OnlineStore
from recsys.store.opening import open_store

RATE, EVENTS = 12.0, 20.0  # a second: well below what one worker holds, since one of two will be missing
BUDGET_MS = 1000
GRACE_MS = 100  # from the socket to the stopwatch of a busy client
RECOVERY = 12.0  # seconds: circuits stay open for ten


@dataclass
class Verdicts:
    """What held and what did not."""

    lines: list[str] = field(default_factory=list)
    failed: int = 0

    def say(self, name: str, held: bool, words: str) -> None:
        self.failed += not held
        line = f"{'held' if held else 'DID NOT HOLD'}  {name}: {words}"
        self.lines.append(line)
        print(line, flush=True)


@dataclass
class Scene:
    """A service under steady traffic."""

    service: Running
    traffic: Traffic
    verdicts: Verdicts

    def states(self) -> list[dict[str, str]]:
        """Breakers as some answers of the readiness check tell them: workers take turns."""
        breakers = []
        for _ in range(20):
            with suppress(httpx.TransportError):
                breakers.append(httpx.get(f"{self.service.url}/readyz", timeout=5).json().get("breakers", {}))
        return breakers

    async def fault(
        self,
        name: str,
        broken: Callable[[], None],
        mended: Callable[[], None],
        seconds: float,
        part: str | None = None,
        retries: bool = False,
    ) -> None:
        """Break, wait, mend, wait; judge the answers meanwhile, and the circuit of `part`."""
        began = time.perf_counter() - self.traffic.began
        await asyncio.to_thread(broken)
        await asyncio.sleep(seconds)
        states = await asyncio.to_thread(self.states)
        opened = part is None or any(state.get(part) != "closed" for state in states)
        await asyncio.to_thread(mended)
        await asyncio.sleep(RECOVERY)
        recovered_at = time.perf_counter() - self.traffic.began
        await asyncio.sleep(max(4.0, seconds / 3))
        states = await asyncio.to_thread(self.states)
        closed = part is None or all(state.get(part) == "closed" for state in states)
        ended = time.perf_counter() - self.traffic.began
        answers = self.traffic.between(began, ended)
        failed = Traffic.failed(answers)
        late = [answer for answer in answers if answer.ms > BUDGET_MS + GRACE_MS and answer.tries == 1]
        after = Traffic.rungs(self.traffic.between(recovered_at, ended))
        again = sum(answer.tries > 1 for answer in answers)
        held = bool(answers) and not failed and not late and opened and closed and set(after) == {"full"}
        words = f"{len(answers)} answers {dict(Traffic.rungs(answers))}, slowest {max(a.ms for a in answers):.0f} ms"
        if part:
            words += f", circuit {'opened' if opened else 'stayed closed'} and {'closed' if closed else 'stayed open'}"
        if retries:
            words += f", {again} asked twice"
        else:
            held = held and not again
        if failed or late:
            words += f", {len(failed)} failed {dict(Traffic.rungs(failed))}, {len(late)} late"
        self.verdicts.say(name, held, f"{words}; afterwards {dict(after)}")


def kept(store: OnlineStore, acknowledged: set[str]) -> int:
    """How many of the events are in the log."""
    return len(acknowledged & set(store.tail(0)["event_id"].to_pylist()))


async def under_traffic(
    service: Running, home: Path, faults: Callable[[Scene], Awaitable[None]], verdicts: Verdicts
) -> Traffic:
    """Run the faults while requests come."""
    lake = Lake(home)
    traffic = Traffic(service.url, service.grpc, users_of(lake), items_of(lake))
    flow = asyncio.create_task(traffic.run(RATE, EVENTS, 3600))
    await asyncio.sleep(3)
    try:
        await faults(Scene(service, traffic, verdicts))
    finally:
        flow.cancel()
        with suppress(asyncio.CancelledError):
            await flow
    return traffic


def with_milvus(home: Path) -> Settings:
    """A home whose embedded Milvus holds the champion's collection."""
    settings = Settings(home=home)
    registry = Registry(Lake(home).registry)
    champion = registry.champion()
    assert champion is not None
    from recsys.serving.bundle import load

    vectors = load(champion, None, champion.facts.features, registry).retriever.index.items  # type: ignore[attr-defined]
    index = MilvusIndex(ensure_milvus(settings).uri)
    index.publish(champion.facts.collection.removeprefix("items__"), vectors, {"tower": champion.facts.tower})
    index.close()
    return settings


async def of_lmdb(scene: Scene, home: Path, settings: Settings, disk: Path | None, seconds: float) -> None:
    """Milvus, ranker, disk, worker."""
    registry = Registry(Lake(home).registry)
    milvus = Lake(home).milvus

    def kill_milvus() -> None:
        process = running_milvus(milvus)
        assert process is not None and process.pid is not None
        os.kill(process.pid, signal.SIGKILL)

    await scene.fault("Milvus killed", kill_milvus, lambda: void(ensure_milvus(settings)), seconds, "two_tower")

    with tempfile.TemporaryDirectory() as folder:
        other = variant(registry, Path(folder) / "corrupt")

    def corrupt() -> None:
        registry.promote(other.bundle_id)
        booster = next((other.path / "ranker").rglob("order.ubj"))  # of a blend, among its trees
        booster.chmod(0o644)
        data = bytearray(booster.read_bytes())
        data[len(data) // 2] ^= 0xFF
        booster.write_bytes(data)

    await scene.fault("ranker of the new champion corrupt", corrupt, lambda: void(registry.rollback()), seconds)

    if disk is not None:
        filler = disk / "filler"

        def fill() -> None:
            for size in (1 << 20, 4096):
                with filler.open("ab", buffering=0) as file, suppress(OSError):
                    while file.write(b"\0" * size) == size:
                        continue

        await scene.fault("disk full", fill, filler.unlink, seconds, "journal")
    else:
        scene.verdicts.say("disk full", False, "not tried: no small file system could be mounted")

    def kill_worker() -> None:
        scene.service.workers()[0].kill()

    await scene.fault("worker killed with SIGKILL", kill_worker, lambda: None, seconds, retries=True)


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path | None]:
    """A file system of that size at `folder`; None where this process may not mount one."""
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
    mounted = subprocess.run(options, check=False, capture_output=True).returncode == 0
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def void(_: object) -> None:
    """Forget a result."""


def first_service(source: Path, folder: Path, seconds: float, verdicts: Verdicts) -> None:
    """Everything but the slow store, over LMDB on a small disk."""
    size = sum(path.stat().st_blocks * 512 for path in (source / "store").rglob("*") if path.is_file()) >> 20
    with small_disk(folder / "disk", size + 96) as disk:
        home = copy_of(source, (disk or folder) / "home")
        settings = with_milvus(home)
        options = {"RECSYS_MIRROR_ROWS": "0", "RECSYS_BUDGET_MS": str(BUDGET_MS)}
        try:
            with running(home, workers=2, **options) as service:

                async def faults(scene: Scene) -> None:
                    await of_lmdb(scene, home, settings, disk, seconds)

                traffic = asyncio.run(under_traffic(service, home, faults, verdicts))
            store = open_store(settings)
            still_there = kept(store, traffic.acknowledged)
            store.close()
        finally:
            stop_milvus(settings)
        of = len(traffic.acknowledged)
        words = f"{still_there:,} of {of:,} in the log, {traffic.refused_events} were refused"
        verdicts.say("acknowledged events", still_there == of > 0, words)


@contextmanager
def redis_server(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A Redis that writes every command to disk."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--dir", str(folder), "--appendonly", "yes", "--save", ""]
    process = subprocess.Popen([*command, "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL)
    try:
        time.sleep(1.0)
        yield process, f"redis://127.0.0.1:{port}/0"
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(20)


def fill_redis(home: Path, url: str) -> None:
    """The store's state of the cleaned log, in Redis."""
    lake = Lake(home)
    log = read_log(lake)
    store = open_store(Settings(home=home, store=url), create=True)
    items = lake.read(lake.table("cleaned", "items"), ITEM_SCHEMA.names)
    store.bootstrap(log, items, log.head, event_keys=read_keys(lake))
    store.close()


def second_service(source: Path, folder: Path, seconds: float, verdicts: Verdicts) -> None:
    """The store hangs: Redis is stopped."""
    if shutil.which("redis-server") is None:
        verdicts.say("store slow", False, "not tried: there is no redis-server on the PATH")
        return
    home = copy_of(source, folder / "home-redis")
    with redis_server(folder) as (server, url):
        fill_redis(home, url)
        with running(home, workers=2, RECSYS_STORE=url, RECSYS_BUDGET_MS=str(BUDGET_MS)) as service:

            async def faults(scene: Scene) -> None:
                await scene.fault(
                    "store hangs (Redis stopped)",
                    lambda: server.send_signal(signal.SIGSTOP),
                    lambda: server.send_signal(signal.SIGCONT),
                    seconds,
                    "store",
                )

            traffic = asyncio.run(under_traffic(service, home, faults, verdicts))
        store = open_store(Settings(home=home, store=url))
        still_there, of = kept(store, traffic.acknowledged), len(traffic.acknowledged)
        store.close()
    verdicts.say(
        "acknowledged events in Redis",
        still_there == of > 0,
        f"{still_there:,} of {of:,}, {traffic.refused_events} refused",
    )


def main(seconds: float = 20.0) -> int:
    verdicts = Verdicts()
    source = from_environment().home
    with tempfile.TemporaryDirectory() as folder:
        first_service(source, Path(folder), seconds, verdicts)
        second_service(source, Path(folder), seconds, verdicts)
    print(f"budget {BUDGET_MS} ms; {machine()}")
    return 1 if verdicts.failed else 0


if __name__ == "__main__":
    sys.exit(main(*(float(a) for a in sys.argv[1:])))
