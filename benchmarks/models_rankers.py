"""Ranking peer: LightGBM on the same rows, by the same recipe as our trees (stop on validation, then fit to both)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import lightgbm as lgb
import numpy as np

from recsys.ranking import calibration
from recsys.ranking.calibration import Calibration
from recsys.ranking.ranker import Predictions
from recsys.training_sets.examples import Examples, concat
from recsys.training_sets.inputs import Inputs

ROUNDS: Final = 500
SHARED: Final[dict[str, Any]] = {
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "num_threads": 1,
    "seed": 7,
    "verbosity": -1,
}
OBJECTIVES: Final[dict[str, dict[str, Any]]] = {
    "click": {"objective": "binary", "metric": "auc"},
    "long_view": {"objective": "binary", "metric": "auc"},
    "watch_seconds": {"objective": "tweedie", "tweedie_variance_power": 1.5, "metric": "tweedie"},
    "order": {"objective": "lambdarank", "metric": "ndcg", "eval_at": [5], "label_gain": [0, 1, 2, 3]},
}


@dataclass(frozen=True)
class LightGBM:
    """Boosters of the four heads; `score` adds the order head to the long-view margin, as our ranker does."""

    boosters: dict[str, lgb.Booster]
    calibrations: dict[str, Calibration]

    def predict(self, inputs: Inputs) -> Predictions:
        raw = {name: booster.predict(inputs.features, raw_score=True) for name, booster in self.boosters.items()}
        return Predictions(
            p_click=self.calibrations["click"](raw["click"]),
            p_long_view=self.calibrations["long_view"](raw["long_view"]),
            watch_seconds=np.exp(raw["watch_seconds"]),
            score=raw["long_view"] + raw["order"],
        )


def train(rows: Examples, validation: Examples) -> LightGBM:
    """Heads stopped and calibrated on validation, then fitted to both parts."""
    both = concat(rows, validation)
    fitted, final = dict[str, lgb.Booster](), dict[str, lgb.Booster]()
    for name, objective in OBJECTIVES.items():
        params = {**SHARED, **objective}
        learned, judged = (_dataset(part, name, fitted) for part in (rows, validation))
        stop = lgb.early_stopping(25, verbose=False)
        fitted[name] = lgb.train(params, learned, ROUNDS, valid_sets=[judged], callbacks=[stop])
        final[name] = lgb.train(params, _dataset(both, name, final), fitted[name].best_iteration or ROUNDS)
    calibrations = {
        label: calibration.fit(fitted[label].predict(validation.features, raw_score=True), getattr(validation, label))
        for label in ("click", "long_view")
    }
    return LightGBM(final, calibrations)


def _dataset(rows: Examples, name: str, boosters: dict[str, lgb.Booster]) -> lgb.Dataset:
    if name != "order":
        target = rows.watch_ms / 1000.0 if name == "watch_seconds" else getattr(rows, name)
        return lgb.Dataset(rows.features, target)
    order = np.argsort(rows.user, kind="stable")  # groups must lie together
    features = rows.features[order]
    sizes = np.unique(rows.user[order], return_counts=True)[1]
    start = boosters["long_view"].predict(features, raw_score=True)
    return lgb.Dataset(features, rows.relevance[order], group=sizes, init_score=start)
