"""Trees scored here have XGBoost's own bits: any objective of the ranker, depth, missing values, count of rows."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost as xgb

from recsys.ranking import trees
from recsys.ranking.ranker import RankerError


def world(n: int = 3000, features: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(features)
    rows = rng.normal(size=(n, features)).astype(np.float32)
    rows[:, 3] = np.round(rows[:, 3])  # values that stand on a threshold
    rows[rng.random(rows.shape) < 0.15] = np.nan
    known = np.nan_to_num(rows)
    return rows, known[:, 0] * known[:, 1] + known[:, 2] ** 2 - np.isnan(rows[:, 0]) + rng.normal(size=n)


def trained(objective: str, depth: int, share: float) -> tuple[xgb.Booster, np.ndarray]:
    rows, signal = world()
    label = np.exp(signal / 2) if objective == "reg:tweedie" else (signal > np.quantile(signal, 1 - share))
    matrix = xgb.DMatrix(rows, label.astype(float))
    if objective == "rank:ndcg":
        matrix.set_group(np.full(100, 30))
    params = {"objective": objective, "max_depth": depth, "eta": 0.3, "nthread": 1, "seed": 1, "subsample": 0.7}
    return xgb.train(params, matrix, 25), rows


@pytest.mark.parametrize("depth", [1, 4, 8])
@pytest.mark.parametrize("objective", ["binary:logistic", "reg:tweedie", "rank:ndcg"])
def test_margins_are_the_librarys_bits(objective: str, depth: int) -> None:
    for share in (0.02, 0.37, 0.9):
        booster, rows = trained(objective, depth, share)
        read = trees.read(booster)
        rows = np.concatenate([rows, np.full((1, 9), np.nan, np.float32), np.full((1, 9), np.inf, np.float32)])
        for n in (0, 1, trees.FEW, trees.FEW + 1, 32, 129, len(rows)):
            part = np.ascontiguousarray(rows[-n:] if n else rows[:0])
            expected = booster.inplace_predict(part, predict_type="margin") if n else np.empty(0, np.float32)
            assert trees.margins(read, part).tobytes() == expected.tobytes(), (share, n)


@pytest.mark.parametrize("objective", ["binary:logistic", "reg:tweedie"])
def test_the_margin_of_a_base_score_is_the_librarys_for_all_of_them(objective: str) -> None:
    """Of 100 base scores of either objective 9 to 14 of Tweedie's were off by a bit: XGBoost takes the logarithm of a
    single, in single precision.
    """
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 2)).astype(np.float32)
    for _ in range(400):
        label = rng.exponential(rng.uniform(0.5, 60), 60) * (rng.random(60) < 0.5)
        if objective == "binary:logistic":
            label = (rng.random(60) < rng.uniform(0.05, 0.6)).astype(float)
        score = float(
            np.clip(label.mean() * rng.uniform(0.5, 1.5), 0.001, None if objective == "reg:tweedie" else 0.99)
        )
        params = {"objective": objective, "max_depth": 1, "nthread": 1, "base_score": score}
        booster = xgb.train(params, xgb.DMatrix(rows, label), 1)
        expected = booster.inplace_predict(rows, predict_type="margin")
        assert trees.margins(trees.read(booster), rows).tobytes() == expected.tobytes(), score


def test_a_value_on_the_threshold_goes_right_as_in_the_library() -> None:
    booster, rows = trained("binary:logistic", 4, 0.4)
    read = trees.read(booster)
    inner = read.nodes[read.nodes["left"] != trees.LEAF]
    on_it = np.repeat(rows[:1], len(inner), axis=0)
    on_it[np.arange(len(inner)), inner["feature"]] = inner["value"]
    expected = booster.inplace_predict(on_it, predict_type="margin")
    assert trees.margins(read, on_it).tobytes() == expected.tobytes()
    alone = np.concatenate([trees.margins(read, on_it[i : i + 1]) for i in range(len(on_it))])
    assert alone.tobytes() == expected.tobytes()


def test_what_would_be_read_wrongly_is_refused() -> None:
    booster, rows = trained("binary:logistic", 2, 0.4)
    read = trees.read(booster)
    for bad in (rows.astype(np.float64), rows[:, ::2], rows[0]):
        with pytest.raises(ValueError, match="C-contiguous float32"):
            trees.margins(read, bad)
    with pytest.raises(ValueError, match="rows have 1"):
        trees.margins(read, np.ascontiguousarray(rows[:, :1]))
    label = (np.arange(len(rows)) % 3).astype(float)
    several = xgb.train({"objective": "multi:softprob", "num_class": 3}, xgb.DMatrix(rows, label), 2)
    with pytest.raises(RankerError, match="multi:softprob"):
        trees.read(several)
    codes = xgb.DMatrix(
        np.abs(np.round(np.nan_to_num(rows))), label > 1, feature_types=["c"] * 9, enable_categorical=True
    )
    chosen = xgb.train({"objective": "binary:logistic", "max_cat_to_onehot": 1}, codes, 2)
    with pytest.raises(RankerError, match="categorical"):
        trees.read(chosen)
