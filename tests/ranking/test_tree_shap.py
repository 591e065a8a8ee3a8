"""The fast Shapley values are the library's own, row by row, with missing values and features asked twice on a path."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost as xgb

from recsys.ranking import tree_shap, trees


def trained(depth: int, features: int, rounds: int = 12) -> tuple[xgb.Booster, np.ndarray]:
    rng = np.random.default_rng(depth)
    rows = rng.normal(size=(3000, features)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    known = np.nan_to_num(rows)
    label = (known[:, 0] * known[:, 1] + known[:, 2] ** 2 - np.isnan(rows[:, 0]) + rng.normal(size=3000) > 0).astype(
        int
    )
    params = {"objective": "binary:logistic", "max_depth": depth, "eta": 0.3, "nthread": 1, "seed": 1}
    return xgb.train(params, xgb.DMatrix(rows, label), rounds), rows


@pytest.mark.parametrize(("depth", "features"), [(1, 4), (2, 3), (4, 3), (5, 12), (8, 3)])
def test_values_are_those_of_the_library(depth: int, features: int) -> None:
    booster, rows = trained(depth, features)
    expected = booster.predict(xgb.DMatrix(rows[:400]), pred_contribs=True)[:, :-1]
    values = tree_shap.contributions(tree_shap.forest(trees.read(booster)), rows[:400])
    assert np.abs(expected).max() > 0.3 and values.shape == (400, features)
    np.testing.assert_allclose(values, expected, atol=2e-5)


def test_a_row_has_the_same_bits_alone() -> None:
    booster, rows = trained(5, 6)
    forest = tree_shap.forest(trees.read(booster))
    together = tree_shap.contributions(forest, rows[:40])
    alone = np.concatenate([tree_shap.contributions(forest, rows[i : i + 1]) for i in range(40)])
    assert alone.tobytes() == together.tobytes()


def test_a_tree_without_a_split_contributes_nothing() -> None:
    rows = np.zeros((10, 2), np.float32)
    booster = xgb.train({"objective": "rank:ndcg", "max_depth": 2}, xgb.DMatrix(rows, np.ones(10), qid=np.zeros(10)), 2)
    assert not tree_shap.contributions(tree_shap.forest(trees.read(booster)), rows).any()
