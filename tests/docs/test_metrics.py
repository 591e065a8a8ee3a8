"""docs/metrics.md tells what our metrics give for its small input."""

from __future__ import annotations

import numpy as np

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


def _short(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")
