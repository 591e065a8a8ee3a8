"""The statistics of experiments against published figures of other packages and against chance of known size."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.experiments import power
from recsys.experiments.effect import Effect, Moments, NoEffect, effect
from recsys.experiments.interleaving import preference, team_draft
from recsys.experiments.sample_ratio import MISMATCH, by_day, by_total
from recsys.experiments.sequential import always_valid, obrien_fleming, planned_bounds, pocock

FIFTHS = np.arange(1, 6) / 5


def summary(mean: float, variance: float, users: int) -> Moments:
    return Moments(np.array(users), np.array([mean, 1.0]), np.diag([variance, 0.0]))


def of_sums(total: float, squares: float, users: int) -> Moments:
    return summary(total / users, (squares - total**2 / users) / (users - 1), users)


def interval(measured: Effect, reach: float | np.ndarray) -> tuple[float, ...]:
    return tuple(float(measured.relative + side * reach * measured.relative_error) for side in (-1, 1))


def test_a_difference_of_means_is_that_of_growthbook() -> None:
    """gbstats, packages/stats/tests/frequentist/test_tests.py, absolute and relative."""
    measured = effect(summary(0.41, 3.9**2, 3407), summary(0.70, 6.2**2, 3461))
    reach = measured.reach(0.05)
    assert float(measured.difference - reach * measured.error) == pytest.approx(0.04538, abs=5e-6)
    assert float(measured.difference + reach * measured.error) == pytest.approx(0.53462, abs=5e-6)
    assert float(measured.p_value) == pytest.approx(0.02016, abs=5e-6)
    assert interval(measured, reach) == pytest.approx((-0.03526, 1.44989), abs=5e-6)


def test_an_always_valid_interval_is_that_of_growthbook() -> None:
    """gbstats' `test_sequential_test_runs`, and `_prop`: relative, narrowest at 1,000 and 5,000 users."""
    measured = effect(of_sums(1396.87, 52377.9767, 3000), of_sums(2422.7, 134698.29, 3461))
    assert interval(measured, always_valid(np.array(6461 / 1000), 0.05)) == pytest.approx((-0.55844, 1.56516), abs=5e-6)
    shares = [(1396 / 3000, 3000), (2422 / 3461, 3461)]
    measured = effect(*(summary(share, share * (1 - share), users) for share, users in shares))
    assert interval(measured, always_valid(np.array(6461 / 5000), 0.05)) == pytest.approx((0.40098, 0.60675), abs=5e-6)


def table() -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers by rule: clicks, impressions, and both before the experiment; and who is treated."""
    i = np.arange(400)
    shown, before, treated = 5 + i * 7 % 11, 3 + i * 5 % 9, i * 13 % 17 >= 8
    clicked = (i * i + 3 * i) % before
    clicks = np.minimum(shown, (clicked * 2 + i * 3 % 5 + treated) // 2)
    return np.stack([clicks, shown, clicked, before], axis=1).astype(np.float64), treated


@pytest.mark.parametrize(
    ("columns", "low", "high", "p_value"),
    [
        ((0, None), -0.3935349900179893, 0.7250879376846805, 0.560409649764314),
        ((0, 1), -0.03981616022508518, 0.07297145499175431, 0.56362877291835),
    ],
)
def test_means_and_ratios_are_those_of_tea_tasting(
    columns: tuple[int, int | None], low: float, high: float, p_value: float
) -> None:
    """tea-tasting 1.14: Mean and RatioOfMeans of this table, the control named."""
    rows, treated = table()
    above, below = (rows[:, at] if at is not None else np.ones(len(rows)) for at in columns)
    measured = effect(*(Moments.of(np.stack([above[arm], below[arm]], axis=1)) for arm in (~treated, treated)))
    reach = measured.reach(0.05)
    told = [float(measured.difference - reach * measured.error), float(measured.difference + reach * measured.error)]
    assert [*told, float(measured.p_value)] == pytest.approx([low, high, p_value], abs=1e-12)


def test_cuped_is_as_narrow_as_tea_tastings_and_the_correlation_says_so() -> None:
    """tea-tasting 1.14 takes the covariate's slope over both arms together (.01249 to .06550), we within arms."""
    rows, treated = table()
    measured = effect(Moments.of(rows[~treated]), Moments.of(rows[treated]))
    plain = effect(Moments.of(rows[~treated, :2]), Moments.of(rows[treated, :2]))
    reach = float(measured.reach(0.05) * measured.error)
    assert float(measured.difference) == pytest.approx(0.03900, abs=2e-4)
    assert reach == pytest.approx((0.06550 - 0.01249) / 2, abs=2e-5)
    assert float(measured.error / plain.error) == pytest.approx(float(np.sqrt(1 - measured.rho**2)), rel=1e-9)


def test_what_cannot_be_told_is_refused() -> None:
    rows, treated = table()
    same = np.ones((50, 2))
    with pytest.raises(NoEffect, match="without variance"):
        effect(Moments.of(same), Moments.of(same))
    with pytest.raises(NoEffect, match="1 users says nothing"):
        Moments.of(rows[:1])
    with pytest.raises(NoEffect, match="missing"):
        Moments.of(np.where(rows == rows[0], np.nan, rows))
    with pytest.raises(NoEffect, match="over nothing"):
        effect(Moments.of(rows[treated, :2] * [1, 0]), Moments.of(rows[~treated, :2]))


def test_bounds_of_planned_looks_are_the_published_ones() -> None:
    """ldbounds and gsDesign (sfLDOF, sfLDPocock): five equal looks, two-sided .05; two looks."""
    assert planned_bounds(FIFTHS, FIFTHS, 0.05) == pytest.approx([4.8769, 3.3569, 2.6803, 2.2898, 2.0310], abs=2e-4)
    told = [2.4380, 2.4268, 2.4101, 2.3966, 2.3859]
    assert planned_bounds(FIFTHS, FIFTHS, 0.05, pocock) == pytest.approx(told, abs=2e-4)
    halves = np.array([0.5, 1.0])
    assert planned_bounds(halves, halves, 0.05) == pytest.approx([2.9626, 1.9686], abs=2e-4)
    assert obrien_fleming(np.array(1.0), 0.05) == pytest.approx(0.05)


def test_a_look_without_information_is_none_and_one_without_news_hardly_costs() -> None:
    once = planned_bounds(np.array([0.5, 1.0]), np.array([50.0, 100.0]), 0.05)
    none = planned_bounds(np.array([0.5, 0.6, 1.0]), np.array([50.0, 0.0, 100.0]), 0.05)
    assert np.isinf(none[1]) and none[[0, 2]] == pytest.approx(once, abs=1e-6)
    again = planned_bounds(np.array([0.5, 0.6, 1.0]), np.array([50.0, 49.0, 100.0]), 0.05)
    assert once[0] > again[1] > once[1] and again[[0, 2]] == pytest.approx(once, abs=0.03)


def test_thirty_looks_alarm_as_often_as_they_say() -> None:
    """20,000 paths of a Brownian motion: standard error .0015 at .05, .0007 at .01."""
    time = np.arange(1, 31) / 30
    path = np.cumsum(np.random.default_rng(5).standard_normal((20_000, 30)), axis=1)
    z = np.abs(path) / np.sqrt(np.arange(1, 31))
    assert (z > planned_bounds(time, time, 0.05)).any(axis=1).mean() == pytest.approx(0.05, abs=0.005)
    assert (z > always_valid(time, 0.05)).any(axis=1).mean() < 0.015
    assert (z > 1.96).any(axis=1).mean() > 0.25


def test_arms_that_hold_other_users_than_the_record_says_are_told_and_the_day_is_named() -> None:
    shares = np.array([[0.5, 0.5], [0.9, 0.1]])  # ten to one from the second day on
    sound, wrong = np.array([[5010, 4990], [9020, 980]]), np.array([[5010, 4990], [8700, 1300]])
    assert by_total(sound, shares) > 0.1 and by_total(wrong, shares) < MISMATCH
    assert by_day(wrong, shares)[0] > 0.1 and by_day(wrong, shares)[1] < MISMATCH
    not_open = by_day(np.array([[5, 5], [1, 1]]), np.array([[0.5, 0.5], [1.0, 0.0]]))
    assert not_open[0] > 0.1 and not_open[1] == 0


def test_power_is_what_simulation_finds() -> None:
    rng = np.random.default_rng(2)
    rates = rng.beta(3, 12, 4000)
    shown = 1 + rng.poisson(10, 4000)
    past = Moments.of(np.stack([rng.binomial(shown, rates), shown], axis=1).astype(np.float64))
    users = power.users_needed(past, (0.5, 0.5), 0.05, 0.05, looks=1)
    change = 0.05 * past.mean[0] / past.mean[1]
    spread = (
        past.covariance[0, 0] - 2 * rates.mean() * past.covariance[0, 1] + rates.mean() ** 2 * past.covariance[1, 1]
    )
    error = np.sqrt(4 * spread / past.mean[1] ** 2 / users)
    draws = change + error * rng.standard_normal(20_000)
    assert (np.abs(draws) > 1.96 * error).mean() == pytest.approx(0.8, abs=0.01)
    assert users < power.users_needed(past, (0.5, 0.5), 0.05, 0.05, looks=5)
    assert power.users_needed(past, (0.5, 0.5), 0.05, 0.05, looks=5) < power.users_needed(
        past, (0.5, 0.5), 0.05, 0.05, looks=None
    )
    with pytest.raises(ValueError, match="minimum effect"):
        power.users_needed(past, (0.5, 0.5), 0.0, 0.05, looks=5)


@pytest.mark.parametrize(("users", "days"), [(50, 1), (190, 2), (260, 5), (100_000, None)])
def test_days_follow_from_how_many_users_the_log_sees(users: int, days: int | None) -> None:
    assert power.days_needed(users, [100, 200, 220], share=1.0) == days


def test_a_team_draft_is_fair_replays_and_tells_the_better_ranking() -> None:
    first, second = list("abcdefgh"), list("hgfedcba")
    slate, team = team_draft(first, second, 6, "request-1")
    assert (slate, team.tolist()) == (team_draft(first, second, 6, "request-1")[0], team.tolist())
    assert len(set(slate)) == 6 and team.sum() == 3
    opened = np.mean([team_draft(first, second, 6, f"request-{n}")[1][0] for n in range(4000)])
    assert opened == pytest.approx(0.5, abs=0.03)
    assert team_draft(["a"], ["a", "b"], 5, "x")[0] == ["a", "b"]  # both have no more
    rng = np.random.default_rng(1)
    value, error = preference(rng.poisson(1.0, 2000), rng.poisson(1.3, 2000))
    assert value > 3 * error
