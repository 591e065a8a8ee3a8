"""The whole recommend over HTTP beside the bare scoring of its rows: `python -m benchmarks.serving [rounds requests]`.

Needs a RECSYS_HOME with a champion; reads it and adds only to its served log. One worker is started as `make serve`
starts it. Rounds of requests over HTTP (CPU of the launcher and all its processes, by psutil) alternate with rounds of
the same requests' candidate rows through the same boosters in this process (one thread, no calibration, no Python
around it), so that both meet a machine in the same mood. Then requests come at half the rate
that four clients reach, each timed from the instant at which it was due.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from recsys.lake import Lake
from recsys.ranking.ranker import Predictions, Ranker
from recsys.ranking.xgboost_ranker import XGBoostRanker
from recsys.serving.bundle import ServingBundle
from recsys.serving.opening import open_recommender
from recsys.serving.pipeline import Recommender
from recsys.serving.schema import RecommendRequest
from recsys.serving.served_log import ServedLog
from recsys.settings import Settings, from_environment

CLIENTS, SECONDS, USERS = 4, 10.0, 200


class Recording:
    """A ranker that keeps the rows it was asked to score."""

    def __init__(self, ranker: Ranker) -> None:
        self.ranker, self.rows = ranker, list[np.ndarray]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ranker, name)

    def predict(self, features: np.ndarray) -> Predictions:
        self.rows.append(features)
        return self.ranker.predict(features)


class Fixed:
    """A bundle in service that never changes."""

    refused = None

    def __init__(self, current: ServingBundle) -> None:
        self.current = current

    def close(self) -> None:
        """Nothing to let go of."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(settings: Settings) -> Iterator[tuple[psutil.Process, str]]:
    """The launcher's process and the URL of its one worker."""
    ports = {"RECSYS_HTTP_PORT": str(free_port()), "RECSYS_GRPC_PORT": str(free_port())}
    environment = {**os.environ, **ports, "RECSYS_HOME": str(settings.home), "RECSYS_WORKERS": "1"}
    url = f"http://127.0.0.1:{ports['RECSYS_HTTP_PORT']}"
    command = [sys.executable, "-m", "bentos.recommender.serve"]
    root = Path(__file__).parents[1]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=root)
    try:
        for _ in range(600):
            if process.poll() is not None:
                sys.exit(process.stderr.read().decode() if process.stderr else "the service ended")
            try:
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        yield psutil.Process(process.pid), url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def cpu_seconds(launcher: psutil.Process) -> float:
    """User and system time of a process and all below it."""
    times = [process.cpu_times() for process in [launcher, *launcher.children(recursive=True)]]
    return sum(t.user + t.system for t in times)


def users_of(lake: Lake) -> list[str]:
    path = lake.day(lake.days("cleaned", "impressions")[-1], "cleaned", "impressions")
    ids = pq.read_table(path, columns=["user_id"])["user_id"].to_pylist()
    return list(dict.fromkeys(ids))[:USERS]


def rows_of(settings: Settings, users: list[str]) -> tuple[XGBoostRanker, list[np.ndarray]]:
    """What the service's ranker is asked to score for these users, by the same core in this process."""
    opened = open_recommender(settings, follow=False)
    bundle = opened._bundles.current
    recording = Recording(bundle.ranker)
    with tempfile.TemporaryDirectory() as folder:
        mine = dataclasses.replace(bundle, ranker=recording)
        core = Recommender(opened._store, Fixed(mine), ServedLog(Path(folder)))
        for user in users:
            core.recommend(RecommendRequest(user_id=user))
        core.close()
    opened.close()
    assert isinstance(bundle.ranker, XGBoostRanker)
    return bundle.ranker, recording.rows


def bare(ranker: XGBoostRanker, rows: list[np.ndarray], first: int, count: int) -> float:
    """CPU milliseconds of scoring one request's rows with every booster."""
    began = time.process_time()
    for i in range(first, first + count):
        for booster in ranker.boosters.values():
            booster.inplace_predict(rows[i % len(rows)], predict_type="margin", validate_features=False)
    return (time.process_time() - began) / count * 1e3


def ask(client: httpx.Client, user: str) -> None:
    answer = client.post("/recommend", json={"user_id": user, "k": 10})
    assert answer.status_code == 200 and answer.json()["rung"] == "full", answer.text


def at_rate(url: str, users: list[str], rate: float, seconds: float) -> np.ndarray:
    """Milliseconds from the instant each request was due to its answer; clients wait for nobody's answer but theirs."""
    with httpx.Client(base_url=url, timeout=30) as client, ThreadPoolExecutor(16) as pool:
        start = time.perf_counter() + 0.1

        def one(i: int) -> float:
            due = start + i / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            ask(client, users[i % len(users)])
            return (time.perf_counter() - due) * 1e3

        return np.array(list(pool.map(one, range(int(rate * seconds)))))


def main(rounds: int = 7, requests: int = 100) -> None:
    settings = from_environment()
    users = users_of(Lake(settings.home))
    ranker, rows = rows_of(settings, users)
    console = Console(width=120)
    whole, alone = [], []
    with served(settings) as (launcher, url):
        with httpx.Client(base_url=url, timeout=30) as client:
            for user in users:
                ask(client, user)
            bare(ranker, rows, 0, 50)
            for number in range(rounds):
                began = cpu_seconds(launcher)
                for i in range(requests):
                    ask(client, users[(number * requests + i) % len(users)])
                whole.append((cpu_seconds(launcher) - began) / requests * 1e3)
                alone.append(bare(ranker, rows, number * requests, requests))
            began = time.perf_counter()
            with ThreadPoolExecutor(CLIENTS) as pool:
                list(pool.map(lambda i: ask(client, users[i % len(users)]), range(4 * requests)))
            capacity = 4 * requests / (time.perf_counter() - began)
        took = at_rate(url, users, capacity / 2, SECONDS)
    count = np.mean([len(r) for r in rows])
    table = Table(
        title=f"recommend of {count:.0f} candidates, {len(ranker.feature_names)} features, k = 10, one worker"
    )
    for name in ("", "median", "least", "most"):
        table.add_column(name, justify="right" if name else "left")
    ratios = np.array(whole) / np.array(alone)
    for name, values in (
        ("server CPU a request over HTTP, ms", whole),
        (f"bare scoring of its rows, {len(ranker.boosters)} boosters, ms", alone),
        ("ratio", ratios),
    ):
        table.add_row(name, f"{np.median(values):.2f}", f"{np.min(values):.2f}", f"{np.max(values):.2f}")
    console.print(table)
    p50, p99 = np.percentile(took, [50, 99])
    console.print(
        f"at half load ({capacity / 2:.0f} of {capacity:.0f} requests/s, {len(took):,} requests): "
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, ratio {p99 / p50:.1f}"
    )
    console.print(f"{psutil.cpu_count()} cores, {processor()}, Python {platform.python_version()}")


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:]))
