"""What another policy would have got, from the log of one that drew: IPS, SNIPS, doubly robust, and forms for slates.

Every estimate has an interval, its overlap and its effective sample, and is refused where it would be noise with a
decimal point. Rows are independent, or come in groups (a user, a request) that are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

LEAST_EFFECTIVE: Final = 100.0  # rows' worth: below it intervals that are said to hold 95 % do not
LEVEL_REACH: Final = 1.959963984540054
Form = Literal["standard", "independent", "cascade"]


class EstimateRefused(ValueError):
    """A log cannot say what a policy would have got; the message says why."""


@dataclass(frozen=True)
class Estimate:
    """The value of a policy by the log of another."""

    value: float
    error: float  # standard error, groups drawn whole
    effective: float  # (sum of weights)^2 / sum of squares: rows that the estimate is worth
    overlap: float  # mean weight: near 1 where the log's policy tries whatever the other does
    rows: int

    @property
    def interval(self) -> tuple[float, float]:
        """Of 95 %."""
        return self.value - LEVEL_REACH * self.error, self.value + LEVEL_REACH * self.error

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.5f} ({low:.5f} to {high:.5f}), {self.effective:,.0f} effective rows of {self.rows:,}"


def weights(propensity: np.ndarray, target: np.ndarray) -> np.ndarray:
    """How much more often the other policy does what was done, float64[...].

    Args:
        propensity: the chance with which the log's policy did it.
        target: the chance with which the other does.

    Raises:
        EstimateRefused: a propensity that is not over 0 and at most 1: what was done cannot have had no chance.
    """
    bad = ~((propensity > 0) & (propensity <= 1))
    if bad.any():
        raise EstimateRefused(
            f"{int(bad.sum()):,} of {propensity.size:,} propensities are not over 0 and at most 1: "
            "the log's policy is not the one that answered"
        )
    if not ((target >= 0) & (target <= 1)).all():
        raise EstimateRefused("a chance of the other policy is not between 0 and 1")
    return np.asarray(target / propensity)


def ips(reward: np.ndarray, weight: np.ndarray, group: np.ndarray | None = None) -> Estimate:
    """Inverse propensity: without bias where propensities are true, and wide.

    Args:
        reward, weight: float64[rows], the latter of `weights`.
        group: int[rows], rows that belong together; None: none do.

    Raises:
        EstimateRefused: fewer than LEAST_EFFECTIVE effective rows.
    """
    return _mean(weight * reward, weight, group)


def snips(reward: np.ndarray, weight: np.ndarray, group: np.ndarray | None = None) -> Estimate:
    """Self-normalised (Swaminathan and Joachims 2015): a ratio of sums, narrower, its bias is of order 1 / rows."""
    effective = _effective(weight)
    value = float((weight * reward).sum() / weight.sum())
    error = _error(weight * (reward - value), group) * len(weight) / float(weight.sum())
    return Estimate(value, error, effective, float(weight.mean()), len(weight))


def doubly_robust(
    reward: np.ndarray,
    weight: np.ndarray,
    expected: np.ndarray,
    of_target: np.ndarray,
    group: np.ndarray | None = None,
) -> Estimate:
    """A model's word, corrected by what it got wrong (Dudik et al. 2011): right where either of the two is.

    Args:
        expected: float64[rows], the reward that a model expects of what was done; it learned from other rows.
        of_target: float64[rows], what it expects where the other policy chooses.
    """
    return _mean(of_target + weight * (reward - expected), weight, group)


def slate_weights(weight: np.ndarray, form: Form) -> np.ndarray:
    """Weights of each place of slates, float64[slates, places], by what a click at a place depends on.

    standard: all of the slate; independent: that place alone (Li et al. 2018); cascade: it and those above it
    (McInerney et al. 2020). The more, the wider.
    """
    if form == "independent":
        return weight
    so_far = np.cumprod(weight, axis=1)
    return so_far if form == "cascade" else np.repeat(so_far[:, -1:], weight.shape[1], axis=1)


def slates(reward: np.ndarray, weight: np.ndarray, form: Form, *, normalised: bool = True) -> Estimate:
    """Clicks a slate: rewards and weights by place, float64[slates, places] each."""
    placed = slate_weights(weight, form)
    effective = min(_effective(column) for column in placed.T)
    if normalised:
        scale = placed.mean(axis=0)
        by_place = (placed * reward).mean(axis=0) / scale
        left = (placed * (reward - by_place) / scale).sum(axis=1)
        return Estimate(float(by_place.sum()), _error(left, None), effective, float(placed.mean()), len(reward))
    total = (placed * reward).sum(axis=1)
    value = float(total.mean())
    return Estimate(value, _error(total - value, None), effective, float(placed.mean()), len(reward))


def _mean(terms: np.ndarray, weight: np.ndarray, group: np.ndarray | None) -> Estimate:
    effective = _effective(weight)
    value = float(terms.mean())
    return Estimate(value, _error(terms - value, group), effective, float(weight.mean()), len(weight))


def _effective(weight: np.ndarray) -> float:
    """Rows' worth of a log.

    Raises:
        EstimateRefused: too few.
    """
    squares = float((weight**2).sum())
    effective = float(weight.sum()) ** 2 / squares if squares else 0.0
    if effective < LEAST_EFFECTIVE:
        raise EstimateRefused(
            f"the log is worth {effective:,.0f} rows of the other policy, {LEAST_EFFECTIVE:,.0f} are needed: "
            "they choose too differently, or the log is too short"
        )
    return effective


def _error(left: np.ndarray, group: np.ndarray | None) -> float:
    """Standard error of a mean whose terms, less their mean, are given."""
    if group is not None:
        _, places = np.unique(group, return_inverse=True)
        sums = np.bincount(places, left)
    else:
        sums = left
    return float(np.sqrt(len(sums) / max(1, len(sums) - 1) * (sums**2).sum()) / len(left))
