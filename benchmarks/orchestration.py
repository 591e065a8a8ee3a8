"""What the multiprocess executor costs beside the work: `python -m benchmarks.orchestration [job] [home]`.

A copy of a materialized home takes its newest day in again by a job (`observe` unless another is named), as `make dev`
would run it: a process a step, two at a time. From the run's own events:

    wall      first step worker asked for, to the end of the last step
    busy      of it, the time in which at least one step was at work (between its start and its success)
    overhead  wall minus busy, as a share of wall: processes that start, and nothing else going on

Imports that a step makes for itself are in its work; the second table says what the same job takes in one process.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.running import ROOT, machine

LEFT_OUT = ("dagster", "bentoml", "run.lock", "milvus/server.json")  # of the copy: records of other runs, sockets
CODE = """
import json, sys, dagster as dg
from recsys.lake import Lake
from recsys.settings import from_environment
from recsys_assets.definitions import defs
job, how = sys.argv[1:]
day = Lake(from_environment().home).days("raw", "events")[-1]
tags = {"dagster/asset_partition_range_start": day, "dagster/asset_partition_range_end": day}
with dg.DagsterInstance.get() as instance:
    if how == "in_process":
        done = defs().resolve_job_def(job).execute_in_process(instance=instance, tags=tags)
    else:
        from benchmarks.orchestration import named
        done = dg.execute_job(dg.build_reconstructable_job("benchmarks.orchestration", "named", (job,)),
                              instance=instance, tags=tags, raise_on_error=True)
    rows = [(e.step_key, e.event_type_value, r.timestamp) for r, e in (
        (r, r.dagster_event) for r in instance.all_logs(done.run_id) if r.dagster_event)]
print("EVENTS " + json.dumps(rows))
"""


@dataclass(frozen=True)
class Step:
    """Instants (s) of one step."""

    key: str
    asked: float
    started: float
    ended: float


def named(job: str) -> object:
    """The job of that name, for the processes of its steps."""
    from recsys_assets.definitions import defs

    return defs().resolve_job_def(job)


def measured(home: Path, job: str, how: str) -> list[Step]:
    """Run the job once on that home; its steps as the run's events tell."""
    from recsys.settings import from_environment
    from recsys_assets.home import prepare

    prepare(from_environment({**os.environ, "RECSYS_HOME": str(home)}))
    done = subprocess.run(
        [sys.executable, "-c", CODE, job, how],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line for line in done.stdout.splitlines() if line.startswith("EVENTS ")]
    if done.returncode or not told:
        raise SystemExit(f"{job} failed: {done.stderr.strip()[-2000:]}")
    at: dict[str, dict[str, float]] = {}
    for key, kind, instant in json.loads(told[-1].removeprefix("EVENTS ")):
        if key is not None:
            at.setdefault(key, {}).setdefault(kind, instant)
    return [
        Step(key, kinds.get("STEP_WORKER_STARTING", kinds["STEP_START"]), kinds["STEP_START"], kinds["STEP_SUCCESS"])
        for key, kinds in at.items()
        if "STEP_SUCCESS" in kinds
    ]


def busy(steps: Sequence[Step]) -> float:
    """Seconds in which at least one step was at work."""
    total, until = 0.0, 0.0
    for step in sorted(steps, key=lambda s: s.started):
        total += max(0.0, step.ended - max(step.started, until))
        until = max(until, step.ended)
    return total


def report(console: Console, job: str, steps: Sequence[Step], alone: Sequence[Step]) -> None:
    wall = max(s.ended for s in steps) - min(s.asked for s in steps)
    table = Table(title=f"{job}, one day, a process a step", title_justify="left")
    for column in ("step", "process starts, s", "work, s", "work in one process, s"):
        table.add_column(column, justify="left" if column == "step" else "right")
    in_one = {s.key: s.ended - s.started for s in alone}
    for s in sorted(steps, key=lambda s: s.asked):
        table.add_row(s.key, f"{s.started - s.asked:.1f}", f"{s.ended - s.started:.1f}", f"{in_one.get(s.key, 0):.1f}")
    console.print(table)
    work = busy(steps)
    together = max(s.ended for s in alone) - min(s.started for s in alone)
    console.print(
        f"{len(steps)} steps: wall {wall:.1f} s, busy {work:.1f} s, overhead {1 - work / wall:.0%} "
        f"(35 % at most is asked); the same in one process {together:.1f} s"
    )


def main() -> int:
    job = sys.argv[1] if len(sys.argv) > 1 else "observe"
    source = Path(sys.argv[2] if len(sys.argv) > 2 else os.environ.get("RECSYS_HOME", ROOT / "var"))
    if not (source / "lake").exists():
        print(f"{source} holds nothing: `make run` first, or name a home that was", file=sys.stderr)
        return 2
    console = Console(width=120)
    console.print(f"{machine()}, load average {os.getloadavg()[0]:.1f}; a copy of {source.name}/")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        left_out = shutil.ignore_patterns(*(name.split("/")[-1] for name in LEFT_OUT))
        shutil.copytree(source, home, symlinks=True, ignore=left_out)
        alone = measured(home, job, "in_process")
        steps = measured(home, job, "multiprocess")
    report(console, job, steps, alone)
    return 0


if __name__ == "__main__":
    sys.exit(main())
