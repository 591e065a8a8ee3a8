"""`python -m benchmarks.worlds`: CPU time a row of both simulated worlds at their default size, in turn."""

from __future__ import annotations

import time

from recsys.sources.home_log import HomeSimulator
from recsys.sources.simulator import Simulator

TURNS = 3


def cost(world: type[Simulator]) -> tuple[int, float]:
    """Rows of all days, and CPU microseconds a row, the world's making included."""
    began = time.process_time()
    rows = sum(world().days().values())
    return rows, 1e6 * (time.process_time() - began) / rows


def main() -> None:
    for world in (Simulator, HomeSimulator):
        cost(world)  # whatever is loaded or compiled once
    for _ in range(TURNS):
        for world in (Simulator, HomeSimulator):
            rows, micros = cost(world)
            print(f"{world.__name__:14} {rows:,} rows  {micros:.2f} us a row")


if __name__ == "__main__":
    main()
