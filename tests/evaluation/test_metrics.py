"""Each metric against scikit-learn, a slow loop or a case worked by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import mean_tweedie_deviance, ndcg_score, roc_auc_score

from recsys.evaluation import metrics


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Groups of uneven size, labels, and scores with many ties."""
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 60, 700)
    labels = rng.integers(0, 2, 700)
    scores = np.round(rng.random(700) + 0.3 * labels, 1)
    return groups, labels, scores


def test_auc_equals_sklearn_with_ties_and_weights(rows: tuple[np.ndarray, ...]) -> None:
    _, labels, scores = rows
    weights = np.random.default_rng(5).integers(0, 4, len(labels)).astype(float)
    assert metrics.auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    expected = roc_auc_score(labels, scores, sample_weight=weights)
    assert metrics.auc(labels, scores, weights) == pytest.approx(expected, abs=1e-12)


def test_auc_of_one_class_or_no_row_is_nan() -> None:
    assert np.isnan(metrics.auc(np.ones(4), np.arange(4.0)))
    assert np.isnan(metrics.auc(np.zeros(0), np.zeros(0)))


@pytest.mark.parametrize("longer", [0, 1, 2])
@pytest.mark.parametrize(
    "metric",
    [
        lambda g, y, s: metrics.auc(y, s, g),
        metrics.gauc,
        lambda g, y, s: metrics.ndcg_at_k(g, y, s, 5),
        lambda g, y, s: metrics.precision_at_k(g, y, s, 5),
        lambda g, y, s: metrics.map_at_k(g, y, s, 5),
        lambda g, y, s: metrics.log_loss(y, s) + metrics.log_loss(g, y),
        lambda g, y, s: metrics.row_tweedie_deviance(y, s) + metrics.row_tweedie_deviance(g, y),
        lambda g, y, s: metrics.calibration_error(y, s) + metrics.calibration_error(g, y),
        lambda g, y, s: metrics.mean_absolute_error(y, s) + metrics.mean_absolute_error(g, y),
        lambda g, y, s: metrics.xauc(y, s) + metrics.xauc(g, y),
    ],
)
def test_arrays_of_unequal_rows_are_refused(metric: Callable[..., object], longer: int) -> None:
    given = [np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 1.0]), np.array([0.4, 0.2, 0.1, 0.9])]
    metric(*given)
    given[longer] = np.r_[given[longer], 1.0]
    with pytest.raises(ValueError, match="one value a row is needed"):
        metric(*given)


def test_gauc_is_the_impression_weighted_mean_over_users_with_both_classes(rows: tuple[np.ndarray, ...]) -> None:
    groups, labels, scores = rows
    total = weight = 0.0
    for group in np.unique(groups):
        mine = groups == group
        if 0 < labels[mine].sum() < mine.sum():
            total += mine.sum() * roc_auc_score(labels[mine], scores[mine])
            weight += mine.sum()
    assert metrics.gauc(groups, labels, scores) == pytest.approx(total / weight, abs=1e-12)


def test_gauc_by_hand() -> None:
    # user 1: 3 rows, AUC 1; user 2: 2 rows, AUC 0; user 3 has one class and does not count
    groups = np.array([1, 1, 1, 2, 2, 3, 3])
    labels = np.array([1, 0, 0, 1, 0, 1, 1])
    scores = np.array([9, 2, 1, 1, 5, 1, 0.0])
    assert metrics.gauc(groups, labels, scores) == pytest.approx(3 / 5)
    assert np.isnan(metrics.gauc(groups[-2:], labels[-2:], scores[-2:]))


@pytest.mark.parametrize("k", [1, 3, 5, 10])
def test_ndcg_equals_sklearn_per_group_with_ties_in_expectation(rows: tuple[np.ndarray, ...], k: int) -> None:
    groups, labels, scores = rows
    graded = labels * np.random.default_rng(8).integers(1, 4, len(labels))
    by_group = metrics.ndcg_by_group(groups, graded, scores, k)
    checked = 0
    for group, value in zip(by_group.group, by_group.value, strict=True):
        mine = groups == group
        if graded[mine].sum() == 0:
            assert np.isnan(value)
        elif mine.sum() > 1:
            assert value == pytest.approx(ndcg_score(graded[mine][None], scores[mine][None], k=k), abs=1e-9)
            checked += 1
    assert checked > 40


def test_a_user_without_positives_counts_zero_or_not_at_all() -> None:
    groups, labels, scores = np.array([1, 1, 2, 2]), np.array([1, 0, 0, 0]), np.array([2.0, 1.0, 2.0, 1.0])
    assert metrics.ndcg_at_k(groups, labels, scores, 5, "zero") == pytest.approx(0.5)
    assert metrics.ndcg_at_k(groups, labels, scores, 5, "skip") == pytest.approx(1.0)


def test_precision_and_map_by_hand() -> None:
    groups = np.array([1, 1, 1, 1, 2])
    labels = np.array([0, 1, 1, 0, 1])
    scores = np.array([4.0, 3.0, 2.0, 1.0, 7.0])
    assert metrics.precision_at_k(groups, labels, scores, 2) == pytest.approx((0.5 + 1.0) / 2)
    first = (1 / 2 + 2 / 3) / 2
    assert metrics.map_at_k(groups, labels, scores, 3) == pytest.approx((first + 1.0) / 2)
    assert metrics.map_at_k(groups, labels, scores, 2) == pytest.approx((1 / 2 / 2 + 1.0) / 2)


def test_tied_rows_share_the_places_they_take() -> None:
    groups, labels, scores = np.zeros(4, int), np.array([1, 0, 0, 0]), np.zeros(4)
    assert metrics.precision_at_k(groups, labels, scores, 2) == pytest.approx(0.25)
    reversed_rows = slice(None, None, -1)
    assert metrics.ndcg_at_k(groups, labels, scores, 2) == pytest.approx(
        metrics.ndcg_at_k(groups, labels[reversed_rows], scores, 2)
    )


def test_log_loss_equals_sklearn_and_survives_certainty() -> None:
    rng = np.random.default_rng(1)
    labels, p = rng.integers(0, 2, 200), rng.random(200)
    assert metrics.log_loss(labels, p) == pytest.approx(sklearn_log_loss(labels, p), abs=1e-12)
    assert metrics.log_loss(np.array([1.0]), np.array([0.0])) == pytest.approx(-np.log(1e-15))


def test_calibration_error_by_hand() -> None:
    # bin [0.2, 0.267): predicted 0.25, observed 0.5 (4 rows); bin [0.867, 0.933): predicted 0.9, observed 1 (1 row)
    labels, p = np.array([1, 0, 1, 0, 1]), np.array([0.25, 0.25, 0.25, 0.25, 0.9])
    assert metrics.calibration_error(labels, p) == pytest.approx((4 * 0.25 + 1 * 0.1) / 5)
    assert metrics.calibration_error(np.array([0, 1]), np.array([0.0, 1.0])) == pytest.approx(0.0)


def test_retrieval_by_hand() -> None:
    candidates = np.array([[5, 6, 7, 0], [8, 8, 5, 9], [1, 2, 3, 4]])
    query, item = np.array([0, 0, 0, 1, 1, 0]), np.array([6, 11, 7, 8, 9, 6])  # (0, 6) twice: one target
    hit = metrics.hits(candidates, query, item)
    assert hit.tolist() == [[False, True, True, False], [True, False, False, True], [False] * 4]
    targets = np.array([3, 2, 0])
    assert metrics.recall_at_k(hit, targets, 2) == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert metrics.recall_at_k(hit, targets, 4) == pytest.approx((2 / 3 + 1) / 2)
    d = 1 / np.log2(np.arange(4) + 2)
    first, second = (d[1] + d[2]) / d[:3].sum(), (d[0] + d[3]) / d[:2].sum()
    assert metrics.retrieval_ndcg_at_k(hit, targets, 4) == pytest.approx((first + second) / 2)


def test_padding_is_never_a_hit_and_no_target_is_nan() -> None:
    hit = metrics.hits(np.zeros((1, 3), np.int64), np.array([0]), np.array([0]))
    assert not hit.any()
    assert np.isnan(metrics.recall_at_k(hit, np.array([0]), 3))


def test_xauc_counts_ordered_pairs_and_a_tied_prediction_as_half_of_one() -> None:
    watched, told = np.array([0.0, 0.0, 5.0, 9.0, 9.0]), np.array([1.0, 2.0, 2.0, 0.0, 3.0])
    right = total = 0.0
    for i in range(5):
        for j in range(5):
            if watched[i] > watched[j]:
                total += 1
                right += 1.0 if told[i] > told[j] else 0.5 if told[i] == told[j] else 0.0
    assert metrics.xauc(watched, told) == pytest.approx(right / total)
    assert metrics.xauc(watched, np.ones(5)) == 0.5
    assert np.isnan(metrics.xauc(np.ones(5), told))
    label = (watched > 5).astype(float)
    assert metrics.xauc(label, told) == pytest.approx(metrics.auc(label, told))


def test_tweedie_deviance_equals_sklearn_and_survives_a_prediction_of_nothing() -> None:
    rng = np.random.default_rng(4)
    observed, predicted = np.maximum(rng.normal(0, 30, 500), 0), rng.gamma(2, 10, 500)
    rows = metrics.row_tweedie_deviance(observed, predicted)
    assert rows.mean() == pytest.approx(mean_tweedie_deviance(observed, predicted, power=1.5))
    assert np.isfinite(metrics.row_tweedie_deviance(np.array([0.0, 5.0]), np.zeros(2))).all()
