"""A recommend over HTTP beside that of another commit: `python -m benchmarks.serving_beside [rate] CHECKOUT HOME ...`.

Pairs of a checkout and a home that has a champion there (`make run`), the first is measured against. A service of each,
with one worker as `make serve` starts it, over a copy of its home. Rounds of requests to each alternate, and their
order with them; CPU is that of all its processes. Beside it: seconds and CPU to ready, and memory of the worker.
`rate` tells instead how many recommends a second two workers hold for 16 clients that ask again as soon as answered.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.running import Running, machine, running, users_of
from benchmarks.serving import cpu_seconds, http_asker
from benchmarks.serving_load import copied, own_memory
from benchmarks.traffic import capacity
from recsys.lake import Lake

ROUNDS: Final = 20
REQUESTS: Final = 100  # a round
WARM: Final = 200
TURNS, SECONDS = 8, 5.0


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, and its 95 % bootstrap interval."""
    medians = np.median(np.random.default_rng(1).choice(values, (2_000, len(values))), axis=1)
    return float(np.median(values)), *np.quantile(medians, [0.025, 0.975]).tolist()


def main(pairs: Sequence[tuple[Path, Path]]) -> None:
    services: list[Running] = []
    started, asks, users = [], [], []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ending:
        for place, (checkout, source) in enumerate(pairs):
            home = copied(source, Path(folder) / str(place))
            began = time.perf_counter()
            service = ending.enter_context(running(home, root=checkout, RECSYS_BUDGET_MS="10000"))
            started.append((time.perf_counter() - began, cpu_seconds(service.launcher)))
            client = ending.enter_context(httpx.Client(base_url=service.url, timeout=60))
            services.append(service)
            asks.append(http_asker(client))
            users.append(users_of(Lake(home)))
            for n in range(WARM):
                asks[-1](users[-1][n % len(users[-1])])
        taken: list[list[float]] = [[] for _ in services]
        for turn in range(ROUNDS):
            for place in sorted(range(len(services)), reverse=turn % 2 == 1):
                began = cpu_seconds(services[place].launcher)
                for n in range(REQUESTS):
                    asks[place](users[place][(turn * REQUESTS + n) % len(users[place])])
                taken[place].append((cpu_seconds(services[place].launcher) - began) / REQUESTS * 1e3)
        table = Table(title=f"{ROUNDS} rounds of {REQUESTS} recommends over HTTP; {machine()}")
        for name in ("checkout", "CPU ms", "of the first", "95 %", "ready s", "CPU s to ready", "worker MiB"):
            table.add_column(name)
        for place, values in enumerate(taken):
            ratio, low, high = interval([mine / first for mine, first in zip(values, taken[0], strict=True)])
            seconds, cpu = started[place]
            told = (f"{np.median(values):.2f}", f"{ratio:.3f}", f"{low:.3f} to {high:.3f}", f"{seconds:.1f}")
            table.add_row(str(pairs[place][0]), *told, f"{cpu:.1f}", f"{own_memory(services[place]):.0f}")
        Console(width=150).print(table)


def rate(pairs: Sequence[tuple[Path, Path]]) -> None:
    held: list[list[float]] = [[] for _ in pairs]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ending:
        started = []
        for place, (checkout, source) in enumerate(pairs):
            home = copied(source, Path(folder) / str(place))
            started.append(ending.enter_context(running(home, 2, checkout, RECSYS_BUDGET_MS="10000")))
            asyncio.run(capacity(started[-1].url, users_of(Lake(source)), SECONDS))  # warms
        for turn in range(TURNS):
            for place in sorted(range(len(pairs)), reverse=turn % 2 == 1):
                users = users_of(Lake(pairs[place][1]))
                held[place].append(asyncio.run(capacity(started[place].url, users, SECONDS)))
    for (checkout, _), values in zip(pairs, held, strict=True):
        ratio, low, high = interval([mine / first for mine, first in zip(values, held[0], strict=True)])
        print(f"{checkout}: {np.median(values):.0f} recommends/s, {ratio:.2f} ({low:.2f} to {high:.2f}) of the first")
    print(f"two workers, {TURNS} turns of {SECONDS:.0f} s; {machine()}")


if __name__ == "__main__":
    of = rate if sys.argv[1] == "rate" else main
    paths = [Path(argument).resolve() for argument in sys.argv[1:] if argument != "rate"]
    of(list(zip(paths[::2], paths[1::2], strict=True)))
