"""`python -m benchmarks.exploration_pays FOLDER [SEED ...]`: two worlds a seed that differ in nothing but exploration.

Both live through a week of the log's own policy, and then for fourteen days the simulator answers our own slates. Every
night takes the day in, and trees learn anew (towers and index stay those of the first night, gates decide). The same
users ask at the same instants in both. Told are true clicks of the last and of the first week, with against without,
and the discoverable corpus: items with five clicks or more. Stopped, it goes on after the last whole day in FOLDER.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import dagster as dg
import numpy as np
import polars as pl

from benchmarks.closed_loop import DAYS, HISTORY, done, keep, opened
from recsys.evaluation.contest import Contest
from recsys.experiments.effect import Moments, paired
from recsys.lake import Lake
from recsys.monitoring.feedback import DISCOVERED
from tests.e2e.loop_world import FIRST, LAST, Platform

SEEDS: Final = (31,)
WEEK: Final = 7
LEARNED: Final = ("training_set", "xgboost_ranker")
JUDGED: Final = ("shelf_orders", "drift_reference", "retrieval_candidates", "evaluation", "verdict", "bundle")


def main(folder: Path, seeds: tuple[int, ...]) -> int:
    for seed in seeds:
        worlds = {name: folder / f"{seed}-{name}" for name in ("with", "without")}
        for name, world in worlds.items():
            if name == "without" and not (world / "kept").exists():  # until the first day they are one
                world.mkdir(parents=True, exist_ok=True)
                shutil.copytree(worlds["with"] / "first", world / "kept", symlinks=True)
            command = [sys.executable, "-m", "benchmarks.exploration_pays", "--world", str(world), str(seed), name]
            subprocess.run(command, check=True)
        print(f"seed {seed}: {told(*(json.loads((world / 'days.json').read_text()) for world in worlds.values()))}")
    return 0


def live(world: Path, seed: int, explores: bool) -> None:
    """One world, day by day; what its slates were worth lies in days.json."""
    home = world / "living" / "home"
    settings = {
        "HOME": home,
        "SOURCE": "files",
        "DATA": world / "living" / "deliveries",
        "TEST_DAYS": 1,
        "VALIDATION_DAYS": 1,
        "EXPLORE": str(explores).lower(),
    }
    os.environ.update({f"RECSYS_{name}": str(value) for name, value in settings.items()})
    days, rows = world / "days.json", list[dict[str, Any]]()
    with opened(world, seed) as platform:
        if days.exists():
            rows = json.loads(days.read_text())
        elif platform.registry.alias_id() is None:
            platform.lake.registry.mkdir(parents=True)
            (platform.lake.registry / "secret").write_text("5e" * 32)  # a world is lived again to the same draws
            whole = {FIRST: platform.name(1 - HISTORY), LAST: platform.name(0)}
            done(platform, platform.run(0, "refresh", whole))
            _learn(platform)
            keep(platform, world)
            shutil.copytree(world / "kept", world / "first", symlinks=True)
        for day in range(len(rows) + 1, DAYS + 1):
            began, served = time.process_time(), platform.serve(day)
            truth = platform.simulator.truth
            clicks = [
                float(truth.outcome([user] * len(items), items, at, np.arange(len(items))).click.mean())
                for user, at, items in served.slates
            ]
            users, _, shown = zip(*served.slates, strict=True)
            done(platform, platform.night(day))
            _learn(platform)
            rows.append({"users": users, "clicks": clicks, "items": sorted({i for items in shown for i in items})})
            rows[-1] |= {"bundle": served.bundle, "discovered": _discovered(platform.lake), "weighed": _weighed(home)}
            keep(platform, world)
            days.write_text(json.dumps(rows))
            seconds = time.process_time() - began
            print(
                f"{world.name}, day {day}: {np.mean(clicks):.4f} true clicks an impression, {len(rows[-1]['items'])} "
                f"items, {rows[-1]['discovered']} discovered, {rows[-1]['weighed']}, {seconds:.0f} CPU s",
                flush=True,
            )


def _learn(platform: Platform) -> None:
    """Trees alone order: learned, taken for the chosen ranker, judged and put into a bundle."""
    models, job = platform.lake.models, platform.definitions.resolve_implicit_global_asset_job_def()
    for asked in (LEARNED, JUDGED):
        if asked is JUDGED:
            shutil.rmtree(models / "ranker", ignore_errors=True)
            shutil.copytree(models / "rankers" / "xgboost", models / "ranker")
        job.execute_in_process(instance=platform.instance, asset_selection=[dg.AssetKey(name) for name in asked])


def _discovered(lake: Lake) -> int:
    """Items that were clicked on so often in all that the service showed."""
    days = [lake.day(day, "feedback", "slates") for day in lake.days("feedback", "slates")]
    slates = pl.concat([pl.read_parquet(path, columns=["item_id", "click"]) for path in days])
    return int((slates.group_by("item_id").agg(pl.col("click").sum())["click"] >= DISCOVERED).sum())


def _weighed(home: Path) -> str:
    """What the trees made of rows that explored, on the validation day."""
    path = home / "reports" / "explored.json"
    if not path.exists():
        return "too few rows explored to weigh them"
    contest = Contest(**json.loads(path.read_text()))
    losses = {name: entrant["log_loss"] for name, entrant in contest.entrants.items()}  # type: ignore[index]
    return f"log loss {losses}, {contest.chosen}"


def told(with_it: list[dict[str, Any]], without: list[dict[str, Any]]) -> str:
    """Clicks with against without, by week with an interval of 95 % over users; and what was discovered."""
    words = []
    for name, week in (("first", slice(0, WEEK)), ("last", slice(-WEEK, None))):
        users = np.concatenate([day["users"] for day in with_it[week]])
        mine, other = (np.concatenate([day["clicks"] for day in days[week]]) for days in (with_it, without))
        _, user = np.unique(users, return_inverse=True)
        sums = [np.bincount(user, weights) for weights in (mine, np.ones(len(user)), other, np.ones(len(user)))]
        difference, error = paired(Moments.of(np.stack(sums, axis=1)))
        level = other.mean()
        low, high = (float(difference + z * error) / level for z in (-1.96, 1.96))
        words.append(f"{name} week {float(difference) / level:+.1%} clicks ({low:+.1%} to {high:+.1%})")
    found = [days[-1]["discovered"] for days in (with_it, without)]
    shown = [len({item for day in days for item in day["items"]}) for days in (with_it, without)]
    return f"{', '.join(words)}; {found[0]} against {found[1]} discovered, {shown[0]} against {shown[1]} items shown"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--world"]:
        live(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "with")
    elif len(sys.argv) > 1:
        raise SystemExit(main(Path(sys.argv[1]).resolve(), tuple(map(int, sys.argv[2:])) or SEEDS))
    else:
        raise SystemExit(
            "say the folder that holds the worlds: python -m benchmarks.exploration_pays FOLDER [SEED ...]"
        )
