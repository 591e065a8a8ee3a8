"""What the ranker learns, as data: one head an objective. Chosen on validation days of KuaiRand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    is_calibrated: bool = False
    is_grouped: bool = False  # learns the order inside users and slates, not a value of each row
    params: Mapping[str, Any] = field(default_factory=dict)


# Shallow, heavily regularised trees: the signal is a few strong rates, and 36 k validation rows tell 0.002 AUC apart.
SHARED: Final[Mapping[str, Any]] = {
    "tree_method": "hist",
    "max_depth": 5,
    "eta": 0.06,
    "min_child_weight": 20,
    "subsample": 0.8,
    "colsample_bytree": 0.3,
    "reg_lambda": 5.0,
    "max_bin": 64,
}
ROUNDS: Final = 500
PATIENCE: Final = 25  # rounds without a better validation metric

HEADS: Final[Mapping[str, Head]] = {
    "click": Head("binary:logistic", "auc", lambda e: e.click, is_calibrated=True),
    "long_view": Head("binary:logistic", "auc", lambda e: e.long_view, is_calibrated=True),
    # Tweedie: mostly zeros and a long tail, and the mean stays right (bias 0.98, where log1p and absolute error keep
    # 0.4 of the watch time); a value is added up over slates, so its mean matters more than its median.
    "watch_seconds": Head(
        "reg:tweedie",
        "tweedie-nloglik@1.5",
        lambda e: e.watch_ms / 1000.0,
        params={"tweedie_variance_power": 1.5, "max_depth": 4},
    ),
    "order": Head("rank:ndcg", "ndcg", lambda e: e.relevance, is_grouped=True, params={"min_child_weight": 10}),
}
