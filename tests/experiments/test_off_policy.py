"""What another policy would have got, by a log whose truth is known, and the real two policies of one shop."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.experiments_logs import BANDIT, judged
from recsys.experiments.off_policy import (
    EstimateRefused,
    doubly_robust,
    ips,
    slate_weights,
    slates,
    snips,
    weights,
)

RNG = np.random.default_rng(4)


def drawn(rows: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Five arms in two contexts: reward, weight, a wrong model's words, and what the other policy really gets."""
    mine = np.array([[0.4, 0.3, 0.1, 0.1, 0.1], [0.1, 0.1, 0.2, 0.3, 0.3]])
    other = np.array([[0.1, 0.2, 0.2, 0.2, 0.3], [0.3, 0.3, 0.2, 0.1, 0.1]])
    truth = np.array([[0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.4, 0.3, 0.2, 0.1]])
    context = rng.integers(0, 2, rows)
    arm = (rng.random(rows)[:, None] > mine.cumsum(axis=1)[context]).sum(axis=1)
    reward = (rng.random(rows) < truth[context, arm]).astype(np.float64)
    model = truth * 0.6 + 0.1  # wrong everywhere
    value = float((other * truth).sum(axis=1).mean())
    return (
        reward,
        weights(mine[context, arm], other[context, arm]),
        model[context, arm],
        (other * model).sum(axis=1)[context],
        np.array(value),
    )


def test_estimates_are_right_where_the_truth_is_known() -> None:
    reward, weight, expected, of_target, truth = drawn(40_000, RNG)
    for estimated in (ips(reward, weight), snips(reward, weight), doubly_robust(reward, weight, expected, of_target)):
        assert estimated.value == pytest.approx(float(truth), abs=4 * estimated.error)
        assert 0.9 < estimated.overlap < 1.1 and 10_000 < estimated.effective < 40_000
    assert doubly_robust(reward, weight, expected, of_target).error < ips(reward, weight).error
    assert abs(float(of_target.mean()) - float(truth)) > 0.01  # the model alone is not


def test_rows_of_one_group_are_no_news_of_each_other() -> None:
    reward, weight, *_ = drawn(4_000, RNG)
    copies = np.repeat(np.arange(4_000), 3)
    grouped = snips(reward[copies], weight[copies], copies)
    assert grouped.error == pytest.approx(snips(reward, weight).error, rel=1e-3)
    assert snips(reward[copies], weight[copies]).error < 0.6 * grouped.error


@pytest.mark.parametrize("propensity", [0.0, -0.1, 1.5, np.nan])
def test_an_impossible_propensity_is_refused(propensity: float) -> None:
    with pytest.raises(EstimateRefused, match="1 of 200 propensities"):
        weights(np.r_[np.full(199, 0.5), propensity], np.full(200, 0.5))


def test_noise_with_a_decimal_point_is_refused() -> None:
    weight = weights(np.r_[np.full(1000, 0.99), 0.001], np.r_[np.full(1000, 0.01), 0.99])
    with pytest.raises(EstimateRefused, match="worth 1 rows"):
        ips(np.ones(1001), weight)
    with pytest.raises(EstimateRefused, match="worth 0 rows"):
        snips(np.ones(500), np.zeros(500))


def test_a_slates_weight_is_of_what_its_clicks_depend_on() -> None:
    weight = np.array([[2.0, 3.0, 0.5]])
    assert slate_weights(weight, "independent").tolist() == [[2, 3, 0.5]]
    assert slate_weights(weight, "cascade").tolist() == [[2, 6, 3]]
    assert slate_weights(weight, "standard").tolist() == [[3, 3, 3]]


def test_slates_of_another_policy_are_worth_what_each_form_says() -> None:
    """Two places of three items each, clicks by the place alone: every form is right, the bolder the narrower."""
    rng = np.random.default_rng(9)
    mine, other = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    shown = rng.choice(3, (60_000, 2), p=mine)
    truth = np.array([0.1, 0.2, 0.4])
    reward = (rng.random(shown.shape) < truth[shown]).astype(np.float64)
    weight = weights(mine[shown], other[shown])
    by_form = {form: slates(reward, weight, form) for form in ("independent", "cascade", "standard")}
    for estimate in (*by_form.values(), slates(reward, weight, "independent", normalised=False)):
        assert estimate.value == pytest.approx(2 * float(other @ truth), abs=4 * estimate.error)
    assert by_form["independent"].error < by_form["cascade"].error < by_form["standard"].error


@pytest.mark.skipif(not BANDIT.exists(), reason="no Open Bandit Dataset: set RECSYS_OPEN_BANDIT")
def test_two_real_policies_of_one_shop_by_each_others_logs() -> None:
    """Open Bandit Dataset: where the log of Thompson sampling hardly tries what the uniform policy does, that is said;
    every other estimate meets what the policy really got.
    """
    by_log = {(row.campaign, row.policy): row for campaign in ("men", "women") for row in judged(BANDIT, campaign)}
    refused = by_log.pop(("women", "random"))
    assert "worth 2 rows" in str(refused.estimate) and not refused.meets
    assert all(row.meets for row in by_log.values()), [str(row.estimate) for row in by_log.values()]
