"""What one training step costs and what it is worth: `python -m benchmarks.training [STEP ...] --home HOME`.

Runs the asset alone on the lake that a finished run left, which is not changed, and tells CPU s, wall and the figures
of the validation days, by seed. With `--against CHECKOUT` (and `--against-home`, where its lake is another one) both
run in turns. `--earlier` moves the split back by the validation days: the last days of train are validation, and the
validation days judge what was fitted to both; the test days take no part.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks.running import ROOT, machine
from benchmarks.training_step import STEPS

WORKER = Path(__file__).with_name("training_step.py")


def laid_out(home: Path, folder: Path, earlier: bool) -> None:
    """A home of its own over the lake and the sources of another one."""
    (folder / "lake").mkdir(parents=True)
    for path in home.iterdir():
        if path.name not in ("lake", "models", "reports", "run.lock"):
            (folder / path.name).symlink_to(path)
    for path in (home / "lake").iterdir():
        if path.name != "training_sets" or not earlier:
            (folder / "lake" / path.name).symlink_to(path)
    (folder / "models").mkdir()
    (folder / "models" / "tuning").symlink_to(home / "models" / "tuning")
    (folder / "reports").mkdir()
    if earlier:
        (folder / "earlier").touch()
        moved_back(home / "lake" / "training_sets", folder / "lake" / "training_sets")


def moved_back(there: Path, here: Path) -> None:
    """The parts of a training set without its test days: as many days as validation has, cut from the end of train."""
    here.mkdir()
    train, validation = (pl.read_parquet(there / f"{part}.parquet") for part in ("train", "validation"))
    last = train["date"].unique().sort()[-validation["date"].n_unique() :].to_list()
    is_late = pl.col("date").is_in(last)
    parts = {"train": train.filter(~is_late), "validation": train.filter(is_late), "test": validation}
    for name, rows in parts.items():
        rows.write_parquet(here / f"{name}.parquet")


def measured(root: Path, home: Path, step: str, seed: int) -> dict[str, Any]:
    """One run of a step.

    Raises:
        SystemExit: it failed, with the end of what it said.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RECSYS_", "DAGSTER_"))}
    where = kept | {"RECSYS_HOME": str(home), "RECSYS_SEED": str(seed), "PYTHONPATH": str(root)}
    out = home / "told.json"
    ran = subprocess.run(
        [sys.executable, str(WORKER), step, str(out)], cwd=root, env=where, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise SystemExit(ran.stderr[-2000:])
    told: dict[str, Any] = json.loads(out.read_text())
    return told


def report(console: Console, step: str, runs: dict[str, list[dict[str, Any]]]) -> None:
    """Medians of each checkout, and the figures' means with their spread over the seeds."""
    figures = list(next(iter(runs.values()))[0]["figures"])
    table = Table(title=step, title_justify="left")
    for column in ("checkout", "CPU s", "wall s", "GiB", *figures):
        table.add_column(column, justify="left" if column == "checkout" else "right")
    for name, told in runs.items():
        cpu, wall, peak = (statistics.median(run[what] for run in told) for what in ("cpu", "wall", "peak"))
        values = ([run["figures"][figure] for run in told] for figure in figures)
        spread = (
            f"{statistics.mean(v):.4f}" + (f" ±{statistics.stdev(v):.4f}" if len(set(v)) > 1 else "") for v in values
        )
        table.add_row(name, f"{cpu:.1f}", f"{wall:.1f}", f"{peak / 2**30:.2f}", *spread)
    console.print(table)
    if len(runs) == 2:
        ours, theirs = runs.values()
        ratio = statistics.median(run["cpu"] for run in ours) / statistics.median(run["cpu"] for run in theirs)
        parts = []
        for figure in figures:
            pairs = zip(ours, theirs, strict=True)
            apart = [mine["figures"][figure] - other["figures"][figure] for mine, other in pairs]
            within = f" ({min(apart):+.4f} to {max(apart):+.4f})" if len(apart) > 1 else ""
            parts.append(f"{figure} {statistics.mean(apart):+.4f}{within}")
        console.print(f"{ratio:.2f} times the CPU; ours minus theirs by seed: {'; '.join(parts)}", soft_wrap=True)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("steps", nargs="*", help=", ".join(STEPS))
    parser.add_argument("--home", type=Path, required=True, help="of a finished run")
    parser.add_argument("--against", type=Path, help="a checkout of another commit, run in turns with this one")
    parser.add_argument("--against-home", type=Path, help="its own home, where it reads another lake")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--earlier", action="store_true", help="the split moved back by the validation days")
    asked = parser.parse_args(arguments)
    if unknown := [step for step in asked.steps if step not in STEPS]:
        print(f"no step {', '.join(unknown)}: there are {', '.join(STEPS)}", file=sys.stderr)
        return 2
    checkouts = {"here": (ROOT, asked.home.resolve())}
    if asked.against:
        theirs = (asked.against_home or asked.home).resolve()
        checkouts[asked.against.name] = (asked.against.resolve(), theirs)
    console = Console(width=160)
    console.print(f"{machine()}, load average {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        homes = {}
        for name, (_, home) in checkouts.items():
            homes[name] = Path(folder) / name
            laid_out(home, homes[name], asked.earlier)
        steps = asked.steps or list(STEPS)
        runs: dict[str, dict[str, list[dict[str, Any]]]] = {step: {name: [] for name in checkouts} for step in steps}
        for seed in asked.seeds:
            for step in steps:
                for name, (root, _) in checkouts.items():
                    runs[step][name].append(measured(root, homes[name], step, seed))
        for step in steps:
            report(console, step, runs[step])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
