"""`python -m benchmarks.served`: slates of the last `make run` beside peers, and on the simulator beside the ceiling.

Needs the home of a finished run (RECSYS_HOME, RECSYS_SOURCE and RECSYS_DATA as they were for it); EASE, item-kNN and
SASRec stand beside the slates where the `peers` extra is installed. Requests are those of `evaluation.json["served"]`,
each user's first of the test days; `python -m benchmarks.served evening` asks for everybody at 22:00 of the last day
instead, when most is known of everybody, of a ranker that was refreshed the night before, as it is in service. Written
to `reports/bench_served.json`.

The ceiling is what the log can tell: the simulator's formula and the items' vectors and levels are known, and each
user's taste is the most likely one given their own impressions, all of them, with the place of each.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from recsys.evaluation import report
from recsys.evaluation.served import MOST, TRUE_METRIC, Requests, top
from recsys.events import DAY_MS, HOUR_MS
from recsys.features.log import EventLog, Items
from recsys.lake import Lake, replacing
from recsys.privacy.border import Border
from recsys.ranking.blend import BlendRanker
from recsys.ranking.factors import FactorRanker
from recsys.ranking.factors_solve import STEPS, Outcomes, Tables, solve
from recsys.ranking.inside import members
from recsys.ranking.ranker import Ranker
from recsys.ranking.saved import load_ranker
from recsys.serving.rehearsal import K, Rehearsed
from recsys.settings import from_environment
from recsys.sources import world as simulated
from recsys.sources.opening import open_source
from recsys.sources.simulator import Simulator
from recsys.training_sets.labels import aim, labels_of
from recsys.training_sets.split import PARTS
from recsys_assets.defs.evaluation import contenders, slates_judged
from recsys_assets.defs.ranking import refreshed_factors

WORLDS_OWN = 0.25  # variance of a user's own level in the simulated world


def main(names: list[str]) -> int:
    if unknown := set(names) - {"evening"}:
        print(f"no {', '.join(sorted(unknown))}: say nothing, or evening", file=sys.stderr)
        return 2
    settings = from_environment()
    lake, source, border = Lake(settings.home), open_source(settings), Border.of(settings)
    if not (lake.models / "ranker" / "ranker.json").exists():
        print(f"{settings.home} holds no trained ranker: `make run` first", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")
    began, parts = time.process_time(), contenders.tables(lake, PARTS)
    log, items = contenders.log_and_items(lake)
    shown = impressions(lake)
    requests = at_evening(shown) if names else slates_judged.requests_of(parts["test"])

    def others(made: Rehearsed) -> Mapping[str, np.ndarray]:
        slates = peers(parts, log, items, requests, made, contenders.come_back(lake))
        if isinstance(source, Simulator):
            slates["what the log can tell"] = ceiling(source, shown, requests, made)
        return slates

    aimed, ranker = aim(labels_of(parts["train"], parts["validation"])), load_ranker(lake.models / "ranker")
    if names:
        ranker = as_of(lake, ranker, parts["test"], int(requests.at[0]) // DAY_MS * DAY_MS, settings.seed)
    told = slates_judged.served(lake, source, border, log, requests, ranker, aimed, others)
    with replacing(lake.reports / "bench_served.json") as path:
        path.write_text(json.dumps(report.plain(told), indent=1, allow_nan=False))
    _show(told)
    print(f"{time.process_time() - began:.0f} CPU s; written to {lake.reports / 'bench_served.json'}")
    return 0


def impressions(lake: Lake) -> pl.DataFrame:
    """All cleaned impressions with the instants at which their outcomes were known."""
    names = ["user_id", "user_key", "item_id", "occurred_at", "received_at", "slot", "date"]
    names += [f"{label}{end}" for label in ("click", "long_view") for end in ("", "_received_at")]
    days = lake.days("cleaned", "impressions")
    return pl.concat([pl.read_parquet(lake.day(day, "cleaned", "impressions"), columns=names) for day in days])


def at_evening(shown: pl.DataFrame) -> Requests:
    """Everybody who was there, MOST of them by key, at 22:00 (UTC) of the last day."""
    at = int(shown["occurred_at"].to_numpy().max()) // DAY_MS * DAY_MS + 22 * HOUR_MS
    users = shown.filter(pl.col("received_at") < at).unique("user_key").sort("user_key").head(MOST)
    return Requests(users["user_id"].to_list(), users["user_key"].to_numpy(), np.full(users.height, at))


def as_of(lake: Lake, ranker: Ranker, test: pl.DataFrame, midnight: int, seed: int) -> Ranker:
    """The ranker as it serves from then on: its factors have learned the days before."""
    judged = [member for member in members(ranker) if isinstance(member, FactorRanker)]
    if not isinstance(ranker, BlendRanker) or not judged:
        return ranker
    *learned, last = refreshed_factors.parts_of(lake)
    before = last.take(test["occurred_at"].to_numpy()[-len(last) :] < midnight)
    return ranker.with_member(refreshed_factors.refreshed(lake, judged[0], [*learned, before], midnight, seed))


def ceiling(source: Simulator, shown: pl.DataFrame, requests: Requests, made: Rehearsed) -> np.ndarray:
    """The best K by what each user's own impressions tell of their taste, int64[q, K]."""
    world, truth = source.world, source.truth
    d = simulated.DIMENSIONS
    vectors = simulated.AFFINITY_WEIGHT * world.item_vectors
    click = simulated.CLICK_BIAS + simulated.QUALITY_WEIGHT * world.item_quality
    view = simulated.LONG_VIEW_BIAS + 0.4 * world.item_quality
    # a unit vector of d dimensions varies by 1 / d in each
    precision = np.append(np.full(d, float(d)), 1 / WORLDS_OWN)
    alike = np.full(len(vectors), -1)
    numbers = 2.2 / simulated.AFFINITY_WEIGHT, 0.0, 0.0  # of clicks and long views alone, as ever
    tables = Tables.of(vectors, np.column_stack([click, view]), numbers, alike, precision)
    rows = np.array([truth.item_index[item] for item in made.item_ids])
    slates = np.full((len(requests.at), K), -1)
    by_user = shown.partition_by("user_id", as_dict=True)
    for place, (user, at) in enumerate(zip(requests.user_id, requests.at.tolist(), strict=True)):
        mine = by_user.get((user,), shown.head(0)).filter(pl.col("received_at") < at)
        item = np.array([truth.item_index[i] for i in mine["item_id"].to_list()], np.int64)
        viewed, opened = (
            ((mine[label] > 0) & (mine[f"{label}_received_at"].fill_null(at) < at)).to_numpy().astype(np.uint8)
            for label in ("long_view", "click")
        )
        when = mine["occurred_at"].to_numpy()
        age = np.maximum(when - world.item_published_at[item], 0) / DAY_MS
        evening = 0.2 * np.cos(((when % DAY_MS) / HOUR_MS - 21) / 24 * 2 * np.pi)
        offset = simulated.FRESH_BONUS * 0.5**age + evening
        offset = offset - simulated.SLOT_BIAS * np.log2(1.0 + mine["slot"].to_numpy())
        outcomes = Outcomes(item, opened | viewed, viewed, viewed * 0, offset, np.zeros(len(item)))
        taste = np.zeros((1, d + 1))
        solve(outcomes, tables, np.zeros_like(taste), np.array([0, len(item)]), STEPS, taste)
        match = world.item_vectors[rows] @ taste[0, :d]
        new = simulated.FRESH_BONUS * 0.5 ** (np.maximum(at - world.item_published_at[rows], 0) / DAY_MS)
        odds = click[rows] + new + simulated.AFFINITY_WEIGHT * match + taste[0, d]
        score = simulated.sigmoid(odds) * simulated.sigmoid(view[rows] + 2.2 * match)
        slates[place] = top(score, made.allowed[place], K)
    return slates


def peers(
    parts: Mapping[str, pl.DataFrame],
    log: EventLog,
    items: Items,
    requests: Requests,
    made: Rehearsed,
    come_back: bool,
) -> dict[str, np.ndarray]:
    """Slates of EASE, item-kNN and SASRec, their parameters chosen on the validation days; none without the extra."""
    try:
        import implicit  # noqa: F401
    except ImportError:
        print("the peers are not installed (`make bench-models` does): slates stand beside our own lists alone")
        return {}
    from benchmarks.models_retrievers import PEERS, World

    validation = report.retrieval_task(parts["validation"])
    nothing, q = np.zeros(0, np.int64), len(requests.at)
    asked = report.RetrievalTask(
        requests.user_id, requests.user_key, requests.at, [""] * q, np.zeros(q, np.int64), [None] * q, nothing, nothing
    )
    first = [int(parts[part]["occurred_at"].to_numpy().min()) for part in ("validation", "test")]
    judged = World.of(log, items, validation, first[0], come_back)
    test = World.of(log, items, asked, first[1], come_back)
    row_of = {key: row for row, key in enumerate(made.item_keys.tolist())}
    slates = {}
    for name in ("EASE", "item-kNN (implicit)", "SASRec"):
        retrieve, grid = PEERS[name]
        qualities = [judged.quality(retrieve(judged, **params)) for params in grid]
        lists = retrieve(test, **grid[int(np.argmax(qualities))])
        rows = np.vectorize(lambda key: row_of.get(key, -1))(lists)
        slates[name] = np.full((q, K), -1)
        for place, listed in enumerate(rows):
            kept = listed[np.isin(listed, made.allowed[place])][:K]
            slates[name][place, : len(kept)] = kept
    return slates


def _show(told: Mapping[str, Any]) -> None:
    metric = told["metric"]
    print(
        f"{told['users']:,} users, {told['users_with_next_items']:,} with next items; paired 95 % intervals of {metric}"
    )
    for name, figures in sorted(told["slates"].items(), key=lambda pair: -pair[1][metric]):
        cells = [f"{figures[m]:.4f}" for m in ("p_click", TRUE_METRIC, f"ndcg@{K}", f"recall@{K}") if m in figures]
        by = [f"{part['mean']:.3f} ({part['users']})" for part in figures.get("by_impressions_before", {}).values()]
        cells += [
            *by,
            f"{figures['distinct_items']}",
            f"{figures['share_of_first_place']:.2f}",
            f"{figures['items_two_share']:.1f}",
        ]
        low, high = told["intervals"].get(name, {}).get(metric, (float("nan"),) * 2)
        print(f"{name:24s} {' | '.join(cells)} | {low:+.4f} to {high:+.4f}")
    if "lost" in told:
        print("P(long view) lost: " + ", ".join(f"{stage} {lost:.4f}" for stage, lost in told["lost"].items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
