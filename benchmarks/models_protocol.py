"""The public KuaiRand protocol: rank each user's impressions by long view, train to 28 April, test from 29 April.

Its figure is the mean of gauc and ndcg@5, a user without positives counting 0 in ndcg@5. On the whole week (29 April
to 8 May) random scores 0.475, smoothed item rate 0.5715, the organisers' factorisation machine 0.5946 (trained on 20
days) and the oracle 0.8645. Here the same on the days that the slice holds, with the same control as the report: a rule
that knows nothing of the items.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from benchmarks.models_rankers import train as train_lightgbm
from recsys.evaluation import metrics
from recsys.evaluation.bootstrap import Resamples, interval
from recsys.features.catalog import FEATURES, FINGERPRINT
from recsys.lake import Lake
from recsys.ranking import xgboost_ranker
from recsys.ranking.heuristics import CONTROLS
from recsys.training_sets.assemble import assemble, with_propensity
from recsys.training_sets.examples import concat, examples
from recsys.training_sets.split import PARTS, Split

LAST_TRAIN_DAY: Final = "2022-04-28"
LAST_TEST_DAY: Final = "2022-05-08"


def split_of(days: list[str]) -> Split | None:
    """The protocol's split of these days: the last training day stops the models; None when the days do not fit."""
    train = [day for day in days if day <= LAST_TRAIN_DAY]
    test = [day for day in days if LAST_TRAIN_DAY < day <= LAST_TEST_DAY]
    return Split(tuple(train[:-1]), tuple(train[-1:]), tuple(test)) if len(train) > 1 and test else None


def run(lake: Lake, utc_offset_ms: int, threads: int, seed: int) -> dict[str, Any] | None:
    """Figures by model, or None where the lake does not hold these days."""
    impressions, features = (
        pl.scan_parquet([lake.day(day, stage, "impressions") for day in lake.days(stage, "impressions")])
        for stage in ("cleaned", "features")
    )
    split = split_of(sorted(impressions.select(pl.col("date").unique()).collect()["date"].to_list()))
    if split is None:
        return None
    impressions = with_propensity(impressions, [])
    parts = {part: assemble(impressions, features, FEATURES, split, part, utc_offset_ms).frame for part in PARTS}
    train, validation = (examples(parts[part], FEATURES) for part in ("train", "validation"))
    test = parts["test"]
    rows = examples(test, FEATURES)
    given: dict[str, Any] = {"threads": threads, "seed": seed}
    fitted = xgboost_ranker.train(train, validation, FEATURES, FINGERPRINT, **given)
    champion = xgboost_ranker.refit(fitted, concat(train, validation), **given)
    told = champion.predict(rows.inputs)
    scores = {
        "oracle": rows.long_view.astype(np.float64),
        "champion": told.score,
        "champion, P(long view) alone": told.p_long_view,
        "LightGBM": train_lightgbm(train, validation).predict(rows.inputs).score,
        "smoothed item rate": test["item_long_view_rate_all"].to_numpy(),
        "random": np.random.default_rng(seed).random(len(rows)),
        **{
            f"control: {name}": rule.signal({c: test[c].to_numpy() for c in rule.reads("long_view")}, "long_view")
            for name, rule in CONTROLS.items()
        },
    }
    return {
        "days": {part: [split.days(part)[0], split.days(part)[-1]] for part in PARTS},
        "impressions": {part: parts[part].height for part in PARTS},
        "models": judge(rows.user, rows.long_view, scores),
    }


def judge(users: np.ndarray, labels: np.ndarray, scores: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """gauc, ndcg@5, their mean with its interval, and the share of the gap from item rate to oracle that is closed."""
    drawn = Resamples.draw(users)
    figures: dict[str, dict[str, Any]] = {}
    for name, score in scores.items():
        gauc, ndcg = metrics.gauc(users, labels, score), metrics.ndcg_at_k(users, labels, score, 5)
        spread = interval((drawn.gauc(labels, score) + drawn.ndcg(labels, score, 5)) / 2)
        figures[name] = {"gauc": gauc, "ndcg@5": ndcg, "primary": (gauc + ndcg) / 2, "interval": list(spread)}
    low, high = figures["smoothed item rate"]["primary"], figures["oracle"]["primary"]
    for told in figures.values():
        told["gap_closed"] = (told["primary"] - low) / (high - low)
    return figures
