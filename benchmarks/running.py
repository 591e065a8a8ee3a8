"""A service under test: started as `make serve` starts it, on free ports, and ended with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pyarrow.parquet as pq

from recsys.lake import Lake

ROOT = Path(__file__).parents[1]
START_SECONDS = 180.0


@dataclass
class Running:
    """A launcher and the workers below it."""

    process: subprocess.Popen[bytes]
    url: str
    grpc: str
    log: Path

    @property
    def launcher(self) -> psutil.Process:
        return psutil.Process(self.process.pid)

    def workers(self) -> list[psutil.Process]:
        """The processes that answer."""
        started = []
        for process in self.launcher.children(recursive=True):
            try:
                if "_bentoml_impl.worker.service" in " ".join(process.cmdline()):
                    started.append(process)
            except psutil.Error:  # it ended meanwhile
                continue
        return started


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(home: Path, workers: int = 1, root: Path = ROOT, **settings: str) -> Iterator[Running]:
    """The service of a checkout over a home that has a champion; `settings` are RECSYS_* variables."""
    http_port, grpc_port = free_port(), free_port()
    environment = {
        **os.environ,
        "RECSYS_HOME": str(home),
        "RECSYS_HTTP_PORT": str(http_port),
        "RECSYS_GRPC_PORT": str(grpc_port),
        "RECSYS_WORKERS": str(workers),
        **settings,
    }
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "serve.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "bentos.recommender.serve"],
                env=environment,
                stdout=output,
                stderr=output,
                cwd=root,
            )
        started = Running(process, f"http://127.0.0.1:{http_port}", f"127.0.0.1:{grpc_port}", log)
        try:
            wait_until_ready(started)
            yield started
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(90)


def wait_until_ready(started: Running) -> None:
    """Return when a worker answers.

    Raises:
        SystemExit: the launcher ended, with its own words, or it takes too long.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if started.process.poll() is not None:
            sys.exit(started.log.read_text())
        try:
            if httpx.get(f"{started.url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    sys.exit(f"the service is not ready after {START_SECONDS:.0f} s: {started.log.read_text()[-2000:]}")


def users_of(lake: Lake, most: int = 200) -> list[str]:
    """Users of the last day."""
    path = lake.day(lake.days("cleaned", "impressions")[-1], "cleaned", "impressions")
    ids = pq.read_table(path, columns=["user_id"])["user_id"].to_pylist()
    return list(dict.fromkeys(ids))[:most]


def items_of(lake: Lake) -> list[str]:
    """Ids of the catalogue."""
    ids: list[str] = pq.read_table(lake.table("cleaned", "items"), columns=["item_id"])["item_id"].to_pylist()
    return ids


def machine() -> str:
    """One line that names it."""
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    memory = psutil.virtual_memory().total / 2**30
    return f"{psutil.cpu_count()} cores, {name}, {memory:.0f} GiB, Python {platform.python_version()}"
