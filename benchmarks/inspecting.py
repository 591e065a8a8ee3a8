"""What an inspection costs beside the slate that it looks into: `python -m benchmarks.inspecting [users]`.

Needs a RECSYS_HOME with a champion, works on a copy. One worker answers over HTTP, one call at a time: for each user a
recommend of ten places, an inspection without the network's part, and one with it, in turn. Time and CPU of the worker
are medians over the users; three times a recommend is aimed at, and ten with the network.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.running import machine, running, users_of
from benchmarks.serving_load import copy_of
from recsys.lake import Lake
from recsys.settings import from_environment

CALLS: Final[dict[str, tuple[str, dict[str, Any], float]]] = {  # path, what is asked, times a recommend at most
    "/recommend": ("/recommend", {}, 1.0),
    "/inspect, network: false": ("/inspect", {"network": False}, 3.0),
    "/inspect": ("/inspect", {}, 10.0),
}
WARM: Final = 5  # users first, whose answers do not count


def main(count: int = 60) -> int:
    source = from_environment().home
    took, cpu, size = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list), {}
    with tempfile.TemporaryDirectory() as folder:
        home = copy_of(source, Path(folder) / "home")
        users = users_of(Lake(source), count + WARM)
        with (
            running(home, RECSYS_BUDGET_MS="10000") as service,
            httpx.Client(base_url=service.url, timeout=60) as client,
        ):
            worker = service.workers()[0]
            for place, user in enumerate(users):
                for name, (path, asked, _) in CALLS.items():
                    before, began = worker.cpu_times(), time.perf_counter()
                    answer = client.post(path, json={"user_id": user, "k": 10, **asked})
                    seconds, after = time.perf_counter() - began, worker.cpu_times()
                    answer.raise_for_status()
                    if answer.json()["rung"] != "full":
                        sys.exit(f"{path} answered on rung {answer.json()['rung']}: measure a service that is whole")
                    size[name] = len(answer.content)
                    if place >= WARM:
                        took[name].append(seconds * 1e3)
                        cpu[name].append((after.user + after.system - before.user - before.system) * 1e3)
    table = Table("call", "ms, p50", "CPU ms, mean", "times", "CPU", "at most", "KB", title=f"k = 10; {machine()}")
    base, spent, missed = float(np.median(took["/recommend"])), np.sum(cpu["/recommend"]), False
    for name, (_, _, most) in CALLS.items():
        p50 = float(np.median(took[name]))
        missed |= p50 > most * base
        row = (f"{p50:.1f}", f"{np.mean(cpu[name]):.1f}", f"{p50 / base:.2f}", f"{np.sum(cpu[name]) / spent:.2f}")
        table.add_row(name, *row, f"{most:g}", f"{size[name] / 1024:.0f}")
    Console(width=120).print(table)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(*(int(argument) for argument in sys.argv[1:])))
