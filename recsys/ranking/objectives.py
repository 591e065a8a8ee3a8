"""What the ranker learns, as data: one head an objective. Chosen on validation days of KuaiRand."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from recsys.training_sets.examples import Examples


@dataclass(frozen=True)
class Head:
    """One booster: its objective, the metric that stops it, its target, and parameters over the SHARED ones."""

    objective: str
    metric: str
    target: Callable[[Examples], np.ndarray]
    label: str | None = None  # what a log must have to teach it (`training_sets.labels`); None: an order of rows
    is_calibrated: bool = False
    is_grouped: bool = False  # learns the order inside users and slates, not a value of each row
    params: Mapping[str, Any] = field(default_factory=dict)


# Shallow, heavily regularised trees: the signal is a few strong rates, and 36 k validation rows tell 0.002 AUC apart.
SHARED: Final[Mapping[str, Any]] = {
    "tree_method": "hist",
    "max_depth": 4,
    "eta": 0.06,
    "min_child_weight": 20,
    "subsample": 0.8,
    "colsample_bytree": 0.3,
    "reg_lambda": 20.0,
    "max_bin": 64,
}
ROUNDS: Final = 500
PATIENCE: Final = 25  # rounds without a better validation metric

HEADS: Final[Mapping[str, Head]] = {
    "click": Head("binary:logistic", "auc", lambda e: e.click, "click", is_calibrated=True),
    "long_view": Head("binary:logistic", "auc", lambda e: e.long_view, "long_view", is_calibrated=True),
    # Tweedie: mostly zeros and a long tail, and the mean stays right (bias 0.98, where log1p and absolute error keep
    # 0.4 of the watch time); a value is added up over slates, so its mean matters more than its median.
    "watch_seconds": Head(
        "reg:tweedie",
        "tweedie-nloglik@1.5",
        lambda e: e.watch_ms / 1000.0,
        "watch_ms",
        params={"tweedie_variance_power": 1.5, "max_depth": 4},
    ),
    "order": Head("rank:ndcg", "ndcg", lambda e: e.relevance, is_grouped=True, params={"min_child_weight": 10}),
}


# Where more of a feature can only speak for the head, whatever else holds: a head's own rates. Counts, ages and the
# rates of other outcomes may turn either way, and the order head learns what is left over, so they are free.
RISING: Final[Mapping[str, str]] = {
    "click": r"(item|user|user_item|creator|category|user_category|user_creator)_ctr_(24h|7d|28d|all)",
    "long_view": r"(item|user|user_item|creator|category|user_category|user_creator)_long_view_rate_(24h|7d|28d|all)",
}


def monotone(feature_names: Sequence[str], head: str) -> str:
    """XGBoost's `monotone_constraints` of a head: 1 where the prediction may only rise with the feature, else 0."""
    pattern = RISING.get(head)
    signs = ["1" if pattern and re.fullmatch(pattern, name) else "0" for name in feature_names]
    return f"({','.join(signs)})"
