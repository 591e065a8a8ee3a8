"""`python -m benchmarks.closed_loop FOLDER`: fourteen days in which the simulator answers our own slates.

500 users live through a week of the log's own policy, and then meet our slates alone. Every night takes the day in and
learns anew: towers, rankers, gates, bundle. Beside it stand two loops that learn nothing: one serves the most popular
items, the other the best list for everybody by the log's own long-view rate, each by what it had shown itself. Told by
day: the true P(long view) of the slates, and how many items they hold.

Stopped, it goes on after the last whole day in FOLDER. No seed but this one was looked at.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import dagster as dg
import numpy as np
import polars as pl

from recsys.evaluation.served import Requests, lists
from recsys.events import HOUR_MS, KINDS, key64
from recsys.features.log import EventLog
from recsys.lake import replacing
from recsys.policy.filters import left_out
from recsys.retrieval.milvus_server import stop_milvus
from recsys.settings import from_environment
from recsys.sources.simulator import Simulator
from recsys_assets.home import headless, prepare
from tests.e2e.loop_world import FIRST, LAST, Platform

SEED: Final = 23
HISTORY, DAYS, USERS, REQUESTS = 7, 14, 500, 200
LISTS: Final = {"popular": "popular", "best list for all": "item_rate"}
K: Final = 10
P = TypeVar("P", bound=Platform)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("say the folder that holds the loop: python -m benchmarks.closed_loop FOLDER", file=sys.stderr)
        return 2
    folder = Path(arguments[0]).resolve()
    living = folder / "living"
    settings = {
        "HOME": living / "home",
        "SOURCE": "files",
        "DATA": living / "deliveries",
        "TEST_DAYS": 1,
        "VALIDATION_DAYS": 1,
        "EXPLORE": "false",  # the figures of slates are with exploration off
    }
    os.environ.update({f"RECSYS_{name}": str(value) for name, value in settings.items()})
    simulator = Simulator(days=HISTORY + DAYS + 1, users=USERS, seed=SEED)
    with opened(folder, folder / "kept", simulator, Platform) as platform:
        told = {name: by_list(platform, heuristic) for name, heuristic in LISTS.items()}
        told = {"served": by_ourselves(platform, folder), **told}
    with replacing(folder / "closed_loop.json") as path:
        path.write_text(json.dumps(told, indent=1))
    print("true P(long view) of the slates of a day, and the items that they hold")
    print(f"{'day':>4}" + "".join(f"{name:>24}" for name in told))
    for day in range(DAYS):
        cells = (f"{rows[day]['long_view']:>17.4f} {rows[day]['items']:>6}" for rows in told.values())
        print(f"{day + 1:>4}" + "".join(cells))
    return 0


@contextmanager
def opened(folder: Path, kept: Path, simulator: Simulator, of: type[P]) -> Iterator[P]:
    """The platform as it stood at the end of its last whole day, which is `kept`; it lives on in `folder`."""
    living = folder / "living"
    shutil.rmtree(living, ignore_errors=True)
    if kept.exists():
        shutil.copytree(kept, living, symlinks=True)
    prepare(from_environment())
    with headless() as instance:
        platform = of(living / "home", simulator, HISTORY, REQUESTS, instance, dg.Definitions())
        for day in range(1 - HISTORY, 1):
            platform.deliver(day)
        platform.offer()
        yield platform
        stop_milvus(platform.settings)


def by_ourselves(platform: Platform, folder: Path) -> list[dict[str, Any]]:
    """The loop served by whatever the gates let through."""
    told = platform.home / "days.json"
    rows: list[dict[str, Any]] = json.loads(told.read_text()) if told.exists() else []
    if not rows:
        whole = {FIRST: platform.name(1 - HISTORY), LAST: platform.name(0)}
        done(platform, platform.run(0, "refresh", whole))
    for day in range(len(rows) + 1, DAYS + 1):
        began, served = time.process_time(), platform.serve(day)
        rows.append(worth(platform.simulator, served.slates) | {"bundle": next(iter(served.by_bundle))})
        done(platform, platform.night(day))
        done(platform, platform.run(day, "learn"))
        told.write_text(json.dumps(rows))
        keep(platform, folder, folder / "kept")
        print(f"day {day}: {rows[-1]}, {time.process_time() - began:.0f} CPU s", flush=True)
    return rows


def by_list(platform: Platform, heuristic: str) -> list[dict[str, Any]]:
    """The loop served by one of `served.LISTS`, as at each hour what this loop had shown, and what came of it, says."""
    simulator, world = platform.simulator, platform.simulator.world
    events = [_columns(pl.DataFrame(simulator.read_day(platform.name(day)).events)) for day in range(1 - HISTORY, 1)]
    item_keys, rows = key64(world.item_names), []
    for day in range(1, DAYS + 1):
        slates: list[tuple[str, int, tuple[str, ...]]] = []
        visits = platform.visits(day)
        for hour in range(24):
            begin = platform.begins(day) + hour * HOUR_MS
            asking = [(n, u, at) for n, (u, at) in enumerate(visits) if begin <= at < begin + HOUR_MS]
            if not asking:
                continue
            log = _log(pl.concat(events).filter(pl.col("received_at") < begin))
            names = [world.user_names[user] for _, user, _ in asking]
            requests = Requests(names, key64(names), np.array([at for _, _, at in asking]))
            hidden = left_out(log, requests.user_key, ["feed"] * len(names), requests.at, True)
            allowed = [
                np.setdiff1d(world.available(at), np.flatnonzero(np.isin(item_keys, out)))
                for at, out in zip(requests.at.tolist(), hidden, strict=True)
            ]
            shown = lists(log, item_keys, requests, allowed, "long_view", K).slates[heuristic]
            for (n, _, at), name, slate in zip(asking, names, shown, strict=True):
                items = tuple(world.item_names[item] for item in slate)
                slates.append((name, at, items))
                events.append(_columns(pl.DataFrame(simulator.feedback(name, items, at, n, f"r{day}-{n}"))))
        rows.append(worth(simulator, slates))
    return rows


def worth(simulator: Simulator, slates: Sequence[tuple[str, int, tuple[str, ...]]]) -> dict[str, Any]:
    """Means over the slates of a day, each item at its place, and how many items they hold."""
    outcomes = [
        simulator.truth.outcome([user] * len(items), items, at, np.arange(len(items))) for user, at, items in slates
    ]
    return {
        "long_view": float(np.mean([outcome.long_view.mean() for outcome in outcomes])),
        "click": float(np.mean([outcome.click.mean() for outcome in outcomes])),
        "items": len({item for _, _, items in slates for item in items}),
    }


def _columns(events: pl.DataFrame) -> pl.DataFrame:
    names = ("kind", "user_id", "item_id", "occurred_at", "received_at", "watch_ms")
    return events.select(names).filter(
        pl.col("kind").is_in(list(KINDS)) & pl.col("user_id").is_not_null() & pl.col("item_id").is_not_null()
    )


def _log(events: pl.DataFrame) -> EventLog:
    """Those events as a log in the order of their receipt; lists read no category, creator or shelf of it."""
    events = events.sort("received_at", maintain_order=True)
    nothing = np.zeros(events.height, np.int64)
    return EventLog(
        position=np.arange(1, events.height + 1),
        kind=events["kind"].replace_strict(KINDS, return_dtype=pl.Int8).to_numpy(),
        user_key=key64(events["user_id"].to_list()),
        item_key=key64(events["item_id"].to_list()),
        category_key=nothing,
        creator_key=nothing,
        shelf_key=nothing,
        occurred_at=events["occurred_at"].to_numpy(),
        received_at=events["received_at"].to_numpy(),
        watch_ms=events["watch_ms"].fill_null(0).to_numpy(),
    )


def keep(platform: Platform, folder: Path, kept: Path) -> None:
    """The day is whole: what stands now is where a loop that is stopped goes on."""
    stop_milvus(platform.settings)
    copying = folder / "copying"
    shutil.rmtree(copying, ignore_errors=True)
    shutil.copytree(platform.home.parent, copying, symlinks=True, ignore=shutil.ignore_patterns("*.lock", "*.sock"))
    shutil.rmtree(kept, ignore_errors=True)
    copying.rename(kept)


def done(platform: Platform, success: bool) -> None:
    if not success:
        raise SystemExit(f"the loop cannot go on: {platform.failures}")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
