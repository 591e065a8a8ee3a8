"""Scores into probabilities."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recsys.evaluation import metrics
from recsys.ranking import calibration
from recsys.ranking.calibration import Calibration, CalibrationError


def overconfident(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores that claim three times the logit that the outcomes have."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-1, 1, n)
    return 3 * logit, (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)


def test_calibrated_scores_are_right_on_rows_they_have_not_seen() -> None:
    fitted = calibration.fit(*overconfident(20_000, 1))
    scores, labels = overconfident(20_000, 2)
    raw = metrics.calibration_error(labels, 1 / (1 + np.exp(-scores)))
    assert raw > 0.1
    assert metrics.calibration_error(labels, fitted(scores)) < 0.015


def test_few_rows_are_enough_to_tell_scores_apart() -> None:
    """Under 200 rows all probabilities were near the rate of all."""
    scores, labels = overconfident(20_000, 6)
    best = metrics.log_loss(labels, 1 / (1 + np.exp(-scores / 3)))
    lost = [metrics.log_loss(labels, calibration.fit(*overconfident(150, seed))(scores)) - best for seed in range(10)]
    assert np.mean(lost) < 0.012, lost
    backwards = calibration.fit(*(lambda x, y: (-x, y))(*overconfident(150, 1)))
    assert (np.diff(backwards(np.linspace(-9, 9, 100))) > 0).all(), "the order stays"


def test_order_is_kept_so_auc_is_too() -> None:
    scores, labels = overconfident(5000, 3)
    fitted = calibration.fit(scores, labels)
    grid = np.linspace(scores.min(), scores.max(), 4000)
    assert (np.diff(fitted(grid)) > 0).all()
    assert metrics.auc(labels, fitted(scores)) == pytest.approx(metrics.auc(labels, scores), abs=1e-9)


def test_probabilities_stay_within_bounds_however_far_the_score() -> None:
    fitted = calibration.fit(*overconfident(1000, 4))
    far = fitted(np.array([-1e9, 1e9]))
    assert 0 < far[0] < 0.1 and 0.5 < far[1] < 1


def test_a_score_has_the_same_bits_alone_and_among_others_and_after_json() -> None:
    scores, labels = overconfident(3000, 5)
    fitted = calibration.fit(scores, labels)
    together = fitted(scores)
    assert np.concatenate([fitted(scores[i : i + 1]) for i in range(300)]).tobytes() == together[:300].tobytes()
    again = Calibration.from_json(json.loads(json.dumps(fitted.to_json())))
    assert again(scores).tobytes() == together.tobytes()


def test_constant_scores_become_the_base_rate() -> None:
    labels = np.array([1, 0, 0, 0] * 50)
    assert calibration.fit(np.zeros(200), labels)(np.zeros(3)) == pytest.approx([0.25] * 3, abs=0.13)


@pytest.mark.parametrize("labels", [np.zeros(5), np.ones(5), np.zeros(0)])
def test_one_class_or_no_row_cannot_be_calibrated(labels: np.ndarray) -> None:
    with pytest.raises(CalibrationError, match="both classes"):
        calibration.fit(np.arange(float(len(labels))), labels)


def test_a_score_that_is_not_finite_is_refused() -> None:
    with pytest.raises(CalibrationError, match="1 scores are not finite"):
        calibration.fit(np.array([0.0, np.nan]), np.array([0, 1]))
