"""Where the CPU and the memory of `make run` go, and how both grow: `python -m benchmarks.scale [USERS ...]`.

Each size of the simulator (1,000 and 4,000 users unless others are named) runs in a new home. With `--against FOLDER`,
a checkout of another commit, both run in turns, `--rounds` times, and medians and ratios are told. With `--again` the
world lies in files by day: all but the last day, the same once more, and then that day. CPU is user and system time of
the process and of all below it; the machine may be busy.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.recorder import CHILDREN
from benchmarks.running import ROOT, machine

RECORDER = Path(__file__).with_name("recorder.py")
SIZES = (1_000, 4_000)
TOLD = 0.01  # of all CPU: a step that takes less is summed up with its like
BETWEEN = "between steps"
RANKERS = {"trained_rankers", "xgboost_ranker", "mmoe_ranker", "factor_ranker"}  # a step each up to 30 November 2026
LEARN = RANKERS | {"ranker_parameters", "ranker", "refreshed_factors", "shelf_orders", "two_tower"}
JUDGE = {"evaluation", "verdict"}


@dataclass(frozen=True)
class Run:
    """CPU s, wall and most bytes of one run, by step and by kind."""

    cpu: float  # all of it, as the kernel counted
    wall: float  # s
    peak: int
    by_step: dict[str, float]
    took: dict[str, float]  # wall s, by step
    by_kind: dict[str, float]
    memory: dict[str, int]  # most, by step


def measured(root: Path, home: Path, **settings: str) -> Run:
    """One run of a checkout's code.

    Raises:
        SystemExit: it failed, with the end of its log.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RECSYS_", "DAGSTER_"))}
    where = kept | settings | {"RECSYS_HOME": str(home), "PYTHONPATH": str(root)}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "samples.json"
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, str(RECORDER), str(out)], cwd=root, env=where, stdout=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log = home / "run.log"
            raise SystemExit(log.read_text()[-2000:] if log.exists() else f"{root} does not run")
        told = json.loads(out.read_text())
    return summed(told["samples"], told["steps"], used.ru_utime + used.ru_stime, wall)


def in_a_new_home(root: Path, users: int) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        return measured(root, Path(folder) / "home", RECSYS_USERS=str(users))


def again(console: Console, users: int) -> None:
    """A first run, one without changes, and one of a day more."""
    from recsys.sources.simulator import Simulator

    with tempfile.TemporaryDirectory() as name:
        data, home, source = Path(name) / "data", Path(name) / "home", Simulator(users=users)
        (data / "events").mkdir(parents=True)
        pq.write_table(source.items().drop("id_is_integer"), data / "items.parquet")
        pq.write_table(source.users(), data / "users.parquet")
        *days, last = sorted(source.days())

        def run() -> Run:
            return measured(ROOT, home, RECSYS_DATA=str(data))

        def deliver(day: str) -> None:
            pq.write_table(source.read_day(day).events, data / "events" / f"{day}.parquet")

        for day in days:
            deliver(day)
        first, same = run(), run()
        deliver(last)
        more = run()
    learned = sum(cpu for step, cpu in more.by_step.items() if step in LEARN)
    judged = sum(cpu for step, cpu in more.by_step.items() if step in JUDGE)
    share = (more.cpu - learned - judged) / first.cpu
    console.print(f"{users:,} users: {first.cpu:.0f} CPU s of {len(days)} days from nothing")
    console.print(f"  the same again: {same.cpu:.1f} CPU s, {same.cpu / first.cpu:.1%}")
    console.print(
        f"  one day more: {more.cpu:.0f} CPU s; {learned:.0f} to learn, {judged:.0f} to judge, else {share:.1%}"
    )


def summed(
    samples: Sequence[tuple[float, str, float, int]], steps: Sequence[tuple[str, float, float]], cpu: float, wall: float
) -> Run:
    """Samples by the step in which each was taken: the one that began last, of those that had not ended."""
    by_step: dict[str, float] = defaultdict(float)
    by_kind: dict[str, float] = defaultdict(float)
    memory: dict[str, int] = defaultdict(int)
    for at, kind, used, bytes_held in samples:
        step = max((s for s in steps if s[1] <= at <= s[2]), key=lambda s: s[1], default=(BETWEEN, 0.0, 0.0))[0]
        by_step[step] += used
        by_kind[kind] += used
        memory[step] = max(memory[step], bytes_held)
    took = {name: end - begin for name, begin, end in steps}
    return Run(cpu, wall, max(memory.values(), default=0), dict(by_step), took, dict(by_kind), dict(memory))


def report(console: Console, users: int, runs: Sequence[Run]) -> None:
    """The run in the middle, by step and by kind."""
    run = sorted(runs, key=lambda r: r.cpu)[len(runs) // 2]
    table = Table(
        title=f"{users:,} users: {run.cpu:.0f} CPU s, {run.wall:.0f} s, {run.peak / 2**30:.1f} GiB at most",
        title_justify="left",
    )
    for column in ("step", "CPU s", "share", "wall s", "GiB at most"):
        table.add_column(column, justify="left" if column == "step" else "right")
    small = {name: cpu for name, cpu in run.by_step.items() if cpu < TOLD * run.cpu}
    for name, cpu in sorted(run.by_step.items(), key=lambda pair: -pair[1]):
        if name not in small:
            table.add_row(
                name,
                f"{cpu:.1f}",
                f"{cpu / run.cpu:.0%}",
                f"{run.took.get(name, 0):.1f}",
                f"{run.memory[name] / 2**30:.2f}",
            )
    rest = sum(small.values())
    most = max((run.memory[name] for name in small), default=0)
    also = sum(run.took.get(name, 0.0) for name in small)
    share = f"{rest / run.cpu:.0%}"
    table.add_row(f"{len(small)} others", f"{rest:.1f}", share, f"{also:.1f}", f"{most / 2**30:.2f}")
    console.print(table)
    kinds = sorted(run.by_kind.items(), key=lambda pair: -pair[1])
    console.print("by kind: " + ", ".join(f"{name} {cpu:.1f} s ({cpu / run.cpu:.0%})" for name, cpu in kinds))
    console.print(f"({CHILDREN}: the index; a step's own threads count as what its main thread does)")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("users", nargs="*", type=int, default=list(SIZES))
    parser.add_argument("--against", type=Path, help="a checkout of another commit, run in turns with this one")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="the same run once more, and one of a day more")
    asked = parser.parse_args(arguments)
    roots = [ROOT, *([asked.against.resolve()] if asked.against else [])]
    if missing := [root for root in roots if not (root / "recsys_assets" / "run.py").exists()]:
        print(f"{missing[0]} is no checkout of this project", file=sys.stderr)
        return 2
    console = Console(width=120)
    console.print(f"{machine()}, load average {os.getloadavg()[0]:.1f}")
    for users in asked.users if asked.again else ():
        again(console, users)
    if asked.again:
        return 0
    cost: list[float] = []
    for users in asked.users:
        runs: dict[Path, list[Run]] = {root: [] for root in roots}
        for _ in range(asked.rounds):
            for root in roots:
                runs[root].append(in_a_new_home(root, users))
        report(console, users, runs[ROOT])
        ours, *theirs = [statistics.median(r.cpu for r in runs[root]) for root in roots]
        cost.append(ours)
        for other in theirs:
            peaks = [statistics.median(r.peak for r in runs[root]) for root in roots]
            walls = [statistics.median(r.wall for r in runs[root]) for root in roots]
            console.print(
                f"beside {asked.against}: {other:.0f} CPU s there, {ours / other:.2f} times that here, "
                f"{walls[1]:.0f} s there, {walls[0] / walls[1]:.2f} times that here, "
                f"{peaks[0] / peaks[1]:.2f} times its memory; {asked.rounds} rounds in turns, medians"
            )
    for users, cpu in zip(asked.users[1:], cost[1:], strict=True):
        console.print(f"{users / asked.users[0]:.1f} times the users: {cpu / cost[0]:.2f} times the CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
