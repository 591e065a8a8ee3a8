"""docs/metrics.md tells what our metrics, and those of the packages that are installed, give for its small input."""

from __future__ import annotations

import warnings
from importlib.metadata import version

import numpy as np
import pandas as pd
import torch
import xgboost
from evidently.legacy.calculations.stattests import psi_stat_test
from evidently.legacy.core import ColumnType
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score
from torchmetrics.functional import auroc
from torchmetrics.retrieval import RetrievalMAP, RetrievalNormalizedDCG, RetrievalRecall

from recsys.evaluation import metrics
from recsys.features.parity import distances
from tests.conftest import ROOT

USER = np.array([1, 1, 1, 1, 2, 2, 3])
CLICKED = np.array([1, 0, 1, 0, 0, 0, 1.0])
SCORE = np.array([0.9, 0.8, 0.8, 0.1, 0.7, 0.6, 0.4])


def test_the_page_tells_our_figures() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    ours = (
        metrics.ndcg_at_k(USER, CLICKED, SCORE, 2),
        metrics.map_at_k(USER, CLICKED, SCORE, 2),
        metrics.auc(CLICKED, SCORE),
    )
    assert "| **ours** (`recsys/evaluation/metrics.py`) | {} | {} | {} |".format(*map(_short, ours)) in page
    before, some, all_ones = np.repeat([0.0, 1.0], 50), np.repeat([0.0, 1.0], [30, 70]), np.ones(100)
    psi = [distances(before, after)["psi"] for after in (some, all_ones)]
    assert f"| **ours** (`recsys/features/parity.py`) | {_short(psi[0])} | {_short(psi[1])} |" in page


def test_the_page_tells_what_the_installed_packages_give() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    of = {user: (CLICKED[user == USER], SCORE[user == USER]) for user in (1, 2, 3)}
    ndcg = [_short(ndcg_score(*([part] for part in of[user]), k=2)) for user in (1, 2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the user without a positive
        precision = [_short(average_precision_score(*of[user])) for user in (1, 2, 3)]
    assert (
        f"| scikit-learn {version('scikit-learn')} | user 1 {ndcg[0]}, user 2 {ndcg[1]}, refuses user 3 | "
        f"{', '.join(precision)} by user, without a cut | {_short(roc_auc_score(CLICKED, SCORE))} |" in page
    )
    score, clicked, user = (torch.tensor(column) for column in (SCORE, CLICKED.astype(int), USER))
    told = []
    for metric in (RetrievalNormalizedDCG, RetrievalMAP, RetrievalRecall):
        values = [metric(empty, top_k=2)(score, clicked, indexes=user) for empty in ("neg", "skip", "pos")]
        told.append(" / ".join(_short(float(value)) for value in values))
    name = f"torchmetrics {version('torchmetrics')} (`neg`, its default / `skip` / `pos`)"
    area = _short(float(auroc(score, clicked, task="binary")))
    assert f"| {name} | {told[0]} | {told[1]} | {area} | {told[2]} |" in page
    metrics_of = {name: _boosted(name) for name in ("ndcg@2", "ndcg@2-", "map@2", "map@2-", "auc")}
    areas = f"{_boosted('auc', 'binary:logistic')}, of ranking {metrics_of['auc']}"
    ranked = " | ".join(f"{metrics_of[name]} / {metrics_of[f'{name}-']}" for name in ("ndcg@2", "map@2"))
    assert f"| XGBoost {version('xgboost')} (plain / with a minus) | {ranked} | {areas} | none |" in page
    before, some, all_ones = (np.repeat([0.0, 1.0], counts) for counts in ([50, 50], [30, 70], [0, 100]))
    psi = [
        psi_stat_test.func(pd.Series(before), pd.Series(after), ColumnType.Numerical, 0.1)[0]
        for after in (some, all_ones)
    ]
    assert f"| Evidently {version('evidently')} | {_short(psi[0])} | {_short(psi[1])} |" in page


def _boosted(metric: str, objective: str = "rank:ndcg") -> str:
    """What XGBoost's own evaluation says of the scores, as the margins of a booster that learned nothing."""
    rows = xgboost.DMatrix(SCORE[:, None], CLICKED)
    if objective == "rank:ndcg":
        rows.set_group([4, 2, 1])
    rows.set_base_margin(SCORE)
    params = {"objective": objective, "eval_metric": metric, "eta": 0, "base_score": 0.5}
    said = xgboost.train(params, rows, 1).eval(rows)
    return _short(float(said.rpartition(":")[2]))


def _short(value: float) -> str:
    text = f"{value:g}" if value == round(value, 2) else f"{value:.4f}"
    return text.removeprefix("0") or "0"
