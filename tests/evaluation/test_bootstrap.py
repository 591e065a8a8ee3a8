"""Intervals by resampled users."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.evaluation import bootstrap, metrics
from recsys.evaluation.bootstrap import Resamples, interval
from recsys.evaluation.gates import COMPARISONS


def sample(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    user = rng.integers(100, 160, 900)
    labels = rng.integers(0, 2, 900)
    return user, labels, rng.random(900) + 0.4 * labels


def test_a_replicate_is_the_metric_of_its_users_repeated() -> None:
    user, labels, scores = sample()
    drawn = Resamples.draw(user, replicates=3)
    for b, counts in enumerate(drawn.counts):
        rows = np.repeat(np.arange(len(user)), counts[drawn.user].astype(int))
        assert drawn.auc(labels, scores)[b] == pytest.approx(metrics.auc(labels[rows], scores[rows]), abs=1e-12)
        p = np.clip(scores / 2, 0.01, 0.99)
        assert drawn.log_loss(labels, p)[b] == pytest.approx(metrics.log_loss(labels[rows], p[rows]), abs=1e-12)


def test_gauc_replicate_weights_a_user_by_how_often_it_was_drawn() -> None:
    user, labels, scores = sample()
    drawn = Resamples.draw(user, replicates=1)
    by_user = metrics.auc_by_group(drawn.user, labels, scores)
    weights = drawn.counts[0][by_user.group] * by_user.rows
    assert drawn.gauc(labels, scores)[0] == pytest.approx(np.average(by_user.auc, weights=weights), abs=1e-12)


def test_the_paired_interval_of_a_model_with_itself_is_zero_and_of_a_worse_one_above_it() -> None:
    user, labels, scores = sample()
    drawn = Resamples.draw(user)
    best = drawn.auc(labels, scores)
    assert interval(best - drawn.auc(labels, scores)) == (0.0, 0.0)
    low, high = interval(best - drawn.auc(labels, np.random.default_rng(9).random(len(labels))))
    assert 0 < low < high


def test_the_interval_covers_what_it_says() -> None:
    low, high = interval(np.arange(1001.0))
    assert (low, high) == pytest.approx((25.0, 975.0))
    assert np.isnan(interval(np.full(3, np.nan))[0])


def test_ndcg_of_a_replicate_is_that_of_its_drawn_users() -> None:
    rng = np.random.default_rng(5)
    user, label, score = np.repeat(np.arange(6), 4), (rng.random(24) < 0.5).astype(float), rng.random(24)
    drawn = Resamples.draw(user, replicates=20)
    by_user = [metrics.ndcg_at_k(user[user == u], label[user == u], score[user == u], 3) for u in range(6)]
    by_hand = [np.average(by_user, weights=counts) for counts in drawn.counts]
    np.testing.assert_allclose(drawn.ndcg(label, score, 3), by_hand)


def test_the_auc_of_many_users_is_near_enough_to_that_of_their_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    user = rng.choice(400, 6000, p=rng.dirichlet(np.ones(400)))  # some have fifty rows, some one
    labels = (rng.random(6000) < 0.3).astype(float)
    scores = rng.normal(size=6000) + labels + 0.5 * rng.normal(size=400)[user]
    drawn = Resamples.draw(user, replicates=2000)
    low, high = interval(drawn.auc(labels, scores))
    monkeypatch.setattr(bootstrap, "MATRIX", 0)
    assert interval(drawn.auc(labels, scores)) == pytest.approx((low, high), abs=0.03 * (high - low))


def test_all_comparisons_of_the_gates_hold_the_truth_together_in_95_percent() -> None:
    """As many ways in which two models are equal, in two hundred worlds of sixty users."""
    assert COMPARISONS >= 40
    rng, lost = np.random.default_rng(11), {1: 0, COMPARISONS: 0}
    drawn = Resamples.draw(np.arange(60))
    for _ in range(200):
        differences = drawn.mean(rng.normal(size=(60, COMPARISONS)))
        for claims in lost:
            lost[claims] += any(interval(of_one, claims)[1] < 0 for of_one in differences.T)
    assert lost[COMPARISONS] <= 16, "an equal challenger is certainly behind somewhere: 2.5 % and chance"
    assert lost[1] > 100, "uncorrected it is on most days"
