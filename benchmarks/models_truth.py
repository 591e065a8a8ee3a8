"""Known truth: what a click model learns of relevance under five ways of meeting position bias (simulator only).

Slates of the test days are ordered as the service would (every candidate in the first place) and judged by the true
probability of a click there: NDCG with it as gain, and the share of the attainable clicks that is lost.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import xgboost as xgb

from recsys.evaluation import report
from recsys.evaluation.report import Rows
from recsys.features.catalog import FEATURES
from recsys.lake import Lake
from recsys.privacy.border import Border
from recsys.ranking.objectives import PATIENCE, ROUNDS, SHARED
from recsys.sources.simulator import Simulator
from recsys.sources.world import SLOT_BIAS
from recsys.training_sets.examples import Examples, examples
from recsys_assets.defs.evaluation.contenders import tables

SLOT: Final = FEATURES.index("slot")
MAX_WEIGHT: Final = 5.0  # of an inverse propensity: rarer ones add more variance than they remove bias


def run(lake: Lake, source: Simulator, border: Border, seed: int) -> dict[str, Any]:
    """Figures by method, and the recovered position curve beside the true one (log odds lost against the first)."""
    parts = tables(lake, ("train", "validation", "test"))
    train, validation, test = (examples(frame, FEATURES) for frame in parts.values())
    shown = parts["test"]
    given = {border.user(user): user for user in source.users()["user_id"].to_pylist()}
    users = [given.get(user, user) for user in shown["user_id"].to_list()]
    truth = source.truth.outcome(users, shown["item_id"].to_list(), shown["occurred_at"].to_numpy()).click
    with_slot = _logistic(train, validation, seed)
    curve = _curve(with_slot, validation)
    scores = {
        "slot as feature, first place in serving": _score(with_slot, test),
        "slot left out (no debiasing)": _score(_logistic(_blind(train), _blind(validation), seed), test),
        "inverse propensities of the recovered curve": _score(
            _logistic(_blind(train), _blind(validation), seed, _propensities(curve, train)), test
        ),
        "rank:ndcg, slot left out": _score(_ranked(_blind(train), _blind(validation), train, validation, seed), test),
        "rank:ndcg with lambdarank_unbiased": _score(
            _ranked(_blind(train), _blind(validation), train, validation, seed, lambdarank_unbiased=True), test
        ),
        "random": np.random.default_rng(seed).random(len(test)),
    }
    return {
        "methods": report.regret(Rows.of(parts["test"]), truth, scores),
        "position_curve": {
            str(place): {"recovered": float(lost), "true": float(-SLOT_BIAS * np.log2(1.0 + place))}
            for place, lost in enumerate(curve)
        },
    }


def _params(seed: int, **more: Any) -> dict[str, Any]:
    return {**SHARED, "objective": "binary:logistic", "eval_metric": "auc", "nthread": 1, "seed": seed, **more}


def _train(params: dict[str, Any], learned: xgb.DMatrix, judged: xgb.DMatrix) -> xgb.Booster:
    stop = xgb.callback.EarlyStopping(rounds=PATIENCE, save_best=True)
    return xgb.train(params, learned, ROUNDS, evals=[(judged, "validation")], callbacks=[stop], verbose_eval=False)


def _logistic(rows: Examples, judged: Examples, seed: int, weight: np.ndarray | None = None) -> xgb.Booster:
    learned = xgb.QuantileDMatrix(rows.features, rows.click, weight=weight, max_bin=SHARED["max_bin"], nthread=1)
    held = xgb.QuantileDMatrix(judged.features, judged.click, ref=learned, max_bin=SHARED["max_bin"], nthread=1)
    return _train(_params(seed), learned, held)


def _ranked(
    rows: Examples, judged: Examples, shown: Examples, shown_judged: Examples, seed: int, **more: Any
) -> xgb.Booster:
    """Within slates, rows in the order of their place, as the unbiased option takes them."""
    matrices: list[xgb.QuantileDMatrix] = []
    for part, placed in ((rows, shown), (judged, shown_judged)):
        order = np.lexsort((placed.features[:, SLOT], part.slate))
        matrices.append(
            xgb.QuantileDMatrix(
                part.features[order],
                part.click[order],
                qid=part.slate[order],
                ref=matrices[0] if matrices else None,
                max_bin=SHARED["max_bin"],
                nthread=1,
            )
        )
    params = _params(seed, objective="rank:ndcg", eval_metric="ndcg@5", lambdarank_pair_method="topk", **more)
    return _train(params, *matrices)


def _blind(rows: Examples) -> Examples:
    features = rows.features.copy()
    features[:, SLOT] = 0.0
    return replace(rows, inputs=rows.inputs.with_features(features))


def _score(booster: xgb.Booster, rows: Examples) -> np.ndarray:
    return np.asarray(booster.inplace_predict(_blind(rows).features, predict_type="margin"), np.float64)


def _curve(booster: xgb.Booster, rows: Examples) -> np.ndarray:
    """Mean log odds at each place less that at the first, all else equal."""
    features = rows.features[:: max(1, len(rows) // 5_000)].copy()
    margins = []
    for place in range(int(rows.features[:, SLOT].max()) + 1):
        features[:, SLOT] = place
        margins.append(float(booster.inplace_predict(features, predict_type="margin").mean()))
    return np.asarray(margins) - margins[0]


def _propensities(curve: np.ndarray, rows: Examples) -> np.ndarray:
    """Weight of each row: a click at a later place counts by how much less often it is clicked there."""
    seen = np.exp(curve)[np.maximum(rows.features[:, SLOT], 0).astype(np.int64)]
    return np.where(rows.click > 0, np.minimum(1.0 / seen, MAX_WEIGHT), 1.0)
