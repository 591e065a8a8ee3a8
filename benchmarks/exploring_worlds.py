"""`python -m benchmarks.exploring_worlds FOLDER [worlds]`: what exploration costs and finds over fourteen days.

Each world is a pair of loops, with exploration and without. Both have the same 500 users, the same week of the log's
own policy and the first bundle that learned from it, and the same people ask at the same instants. 40 items are new
every day, and on the eighth a category comes that nobody was ever shown. Every night learns anew (towers, trees alone,
gates, bundle). Secret and request ids are the world's own, so a loop repeats.

Told of each pair, and of all together: true clicks of the last week and of the first, as differences with 95 %
intervals (users drawn whole, their requests paired). Of each pair: items with five clicks or more, impressions of the
new category on its first day, and what a place that explores gets. The difference of a pair holds the luck of its
nights too (which bundle is promoted); places are drawn by a hash, so what they get beside the others does not.

Stopped, it goes on after the last whole day in FOLDER. No seed but these was looked at.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Final

import dagster as dg
import numpy as np
import polars as pl

from benchmarks.closed_loop import DAYS, HISTORY, USERS, done, keep, opened
from recsys.events import DAY_MS
from recsys.lake import Lake, replacing
from recsys.monitoring.feedback import DISCOVERED
from recsys.serving import served_log
from recsys.sources.simulator import Simulator
from recsys.sources.world import BEGIN_MS
from recsys_assets.defs.automation.schedules import CATALOGUE, DBT, FOLLOWING, OBSERVED
from tests.e2e.loop_world import FIRST, LAST, Platform

SEEDS: Final = (31, 32, 33, 34, 35, 36)
LATE: Final = 6  # the category that comes late, ...
LATE_DAY: Final = 8  # ... on this day of the loop
WEEKS: Final = {"last_week": slice(DAYS - 7, DAYS), "first_week": slice(0, 7)}
ARMS: Final = {"without": "false", "with": "true"}
DRAWS: Final = 2_000
Rows = list[dict[str, Any]]  # the days of a loop


class Trees(Platform):
    """A platform whose ranker is the trees alone, without a contest, and whose nights neither report nor audit."""

    def offer(self) -> None:
        super().offer()
        chosen = dg.AssetSelection.assets("ranker")
        others = dg.AssetSelection.assets("mmoe_ranker", "factor_ranker", *FOLLOWING)
        checks = dg.AssetSelection.checks(
            *(key for made in self.definitions.asset_checks or () for key in made.check_keys)
        )
        learned, after = dg.AssetSelection.assets("training_set").downstream(), chosen.downstream() - chosen - others
        jobs = {
            "whole": dg.AssetSelection.all() - chosen.downstream() - others,
            "to_trees": learned - chosen.downstream() - others,
            "to_bundle": after,
            "night": dg.AssetSelection.assets(*CATALOGUE, *DBT, *OBSERVED[:6]) - checks,  # up to feedback
        }
        made = [dg.define_asset_job(name, selection=selection) for name, selection in jobs.items()]
        self.definitions = dg.Definitions.merge(self.definitions, dg.Definitions(jobs=made))

    def night(self, day: int) -> bool:
        self.offer()
        return self.run(day, "night", {FIRST: self.name(day - 1), LAST: self.name(day)})

    def learn(self, day: int, job: str = "to_trees", **tags: str) -> None:
        """From the training set to a bundle; `job` is what runs before the trees are the ranker."""
        done(self, self.run(day, job, tags))
        models = self.lake.models
        shutil.rmtree(models / "ranker", ignore_errors=True)
        shutil.copytree(models / "rankers" / "xgboost", models / "ranker")
        done(self, self.run(day, "to_bundle"))


def main(arguments: list[str]) -> int:
    if len(arguments) not in (1, 2):
        print("say the folder that holds the loops: python -m benchmarks.exploring_worlds FOLDER [worlds]")
        return 2
    folder, told, pairs = Path(arguments[0]).resolve(), [], []
    for seed in SEEDS[: int(arguments[1]) if len(arguments) > 1 else len(SEEDS)]:
        without, loop = (lived(folder, seed, arm) for arm in ARMS)
        pairs.append((loop, without))
        told.append(
            {"seed": seed, **compared(loop, without), "place": at_places(folder / f"{seed}-with", world_of(seed))}
        )
        together = {"pairs": len(pairs), **{name: relative(pairs, days) for name, days in WEEKS.items()}}
        with replacing(folder / "worlds.json") as path:
            path.write_text(json.dumps([*told, together], indent=1))
        print(f"{json.dumps(told[-1])}\n{json.dumps(together)}", flush=True)
    return 0


def world_of(seed: int) -> Simulator:
    """The simulator of a seed, in which one category is published from LATE_DAY on."""
    simulator = Simulator(days=HISTORY + DAYS + 1, users=USERS, seed=seed)
    world, begin = simulator.world, BEGIN_MS + (HISTORY + LATE_DAY - 1) * DAY_MS
    early = np.flatnonzero((world.item_category == LATE) & (world.item_published_at < begin))
    rest = (HISTORY + DAYS) * DAY_MS - (begin - BEGIN_MS)
    world.item_published_at[early] = begin + np.random.default_rng([seed, 6]).integers(0, rest, len(early))
    return simulator


def lived(folder: Path, seed: int, arm: str) -> Rows:
    """The days of a loop: users who asked, true P(click) of their slates, items, and those of the late category."""
    kept, history = folder / f"{seed}-{arm}", folder / f"{seed}-history"
    rows = _told(kept)
    if len(rows) == DAYS:
        return rows
    os.environ.update(
        RECSYS_HOME=str(folder / "living" / "home"),
        RECSYS_SOURCE="files",
        RECSYS_DATA=str(folder / "living" / "deliveries"),
        RECSYS_TEST_DAYS="1",
        RECSYS_VALIDATION_DAYS="1",
        RECSYS_EXPLORE=ARMS[arm],
    )
    simulator = world_of(seed)
    if not history.exists():
        with opened(folder, history, simulator, Trees) as platform:
            secret = platform.home / "registry" / "secret"
            secret.parent.mkdir(parents=True, exist_ok=True)
            secret.write_text(f"{seed:064x}")
            platform.learn(0, "whole", **{FIRST: platform.name(1 - HISTORY), LAST: platform.name(0)})
            keep(platform, folder, history)
    with opened(folder, kept if rows else history, simulator, Trees) as platform:
        for day in range(len(rows) + 1, DAYS + 1):
            began, served = time.process_time(), platform.serve(day)
            late = [item for _, _, items in served.slates for item in items if of_late(simulator, item)]
            rows.append(
                {
                    "users": [user for user, _, _ in served.slates],
                    "click": served.values,
                    "items": len({item for _, _, items in served.slates for item in items}),
                    "late": len(late),
                    "bundles": sorted(served.by_bundle),
                }
            )
            done(platform, platform.night(day))
            if day < DAYS:
                platform.learn(day)
            rows[-1]["discovered"] = discovered(platform)
            (platform.home / "days.json").write_text(json.dumps(rows))
            keep(platform, folder, kept)
            seconds = time.process_time() - began
            print(f"world {seed} {arm}, day {day}: {served.true_ctr:.4f}, {seconds:.0f} CPU s", flush=True)
    return rows


def of_late(simulator: Simulator, item: str) -> bool:
    return bool(simulator.world.item_category[simulator.truth.item_index[item]] == LATE)


def discovered(platform: Platform) -> int:
    """Items that had DISCOVERED clicks or more in our slates so far."""
    lake = platform.lake
    days = [lake.day(day, "feedback", "slates") for day in lake.days("feedback", "slates")]
    clicks = pl.concat([pl.read_parquet(path, columns=["item_id", "click"]) for path in days])
    return clicks.group_by("item_id").agg(pl.col("click").sum()).filter(pl.col("click") >= DISCOVERED).height


def compared(loop: Rows, without: Rows) -> dict[str, Any]:
    """What exploration changed: relative differences of true clicks with their intervals, and counts of both loops."""
    return {
        **{name: relative([(loop, without)], days) for name, days in WEEKS.items()},
        "discovered": [rows[-1]["discovered"] for rows in (loop, without)],
        "late_on_its_first_day": [rows[LATE_DAY - 1]["late"] for rows in (loop, without)],
    }


def at_places(kept: Path, simulator: Simulator) -> list[float]:
    """True clicks of places that explored, of the others at the same place on the same day: the relative difference and
    its 95 % interval, users drawn whole."""
    folder = Lake(kept / "home").served_log
    paths = [path for day in served_log.days(folder) for path in served_log.segments(folder, day)]
    rows = pl.DataFrame(served_log.read(paths).drop_columns(["features"]))
    rows = rows.filter(pl.col("request_id").str.starts_with("day"))  # what nobody asked for warms the service
    shown = (rows[name].to_list() for name in ("user_id", "item_id"))
    click = simulator.truth.outcome(*shown, rows["as_of"].to_numpy(), rows["slot"].to_numpy()).click
    rows = rows.with_columns(day=pl.col("request_id").str.split("-").list.first(), click=pl.Series(click))
    usual = rows.filter(~pl.col("explored")).group_by("day", "slot").agg(pl.col("click").mean().alias("usual"))
    drawn = rows.filter("explored").join(usual, on=["day", "slot"]).group_by("user_id", maintain_order=True)
    return _ratio(drawn.agg(pl.col("click", "usual").sum()).select("click", "usual").to_numpy().T)


def relative(pairs: list[tuple[Rows, Rows]], days: slice) -> list[float]:
    """Difference of true clicks of the same requests, as a part of those without; its 95 % interval, users whole.

    Args:
        pairs: days of a loop with exploration and of the one without, of each world; its users are its own.
    """
    return _ratio(np.concatenate([_by_user(loop[days], without[days]) for loop, without in pairs], axis=1))


def _ratio(sums: np.ndarray) -> list[float]:
    """The first row's sum as a part more than the second's, and its 95 % interval; float64[2, users]."""
    users = sums.shape[1]
    drawn = np.random.default_rng(1).multinomial(users, np.full(users, 1 / users), DRAWS)
    ours, theirs = drawn @ sums[0], drawn @ sums[1]
    low, high = np.quantile(ours / theirs - 1, [0.025, 0.975])
    return [round(float(value), 5) for value in (sums[0].sum() / sums[1].sum() - 1, low, high)]


def _by_user(loop: Rows, without: Rows) -> np.ndarray:
    """True clicks of each user in both, float64[2, users]."""
    names, at = np.unique(np.concatenate([day["users"] for day in without]), return_inverse=True)
    clicks = [np.concatenate([day["click"] for day in rows]) for rows in (loop, without)]
    return np.stack([np.bincount(at, row, len(names)) for row in clicks])


def _told(kept: Path) -> Rows:
    path = kept / "home" / "days.json"
    rows: Rows = json.loads(path.read_text()) if path.exists() else []
    return rows


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
