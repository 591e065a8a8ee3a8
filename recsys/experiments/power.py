"""What an experiment can find, before it starts: users and days that its smallest effect of interest needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

from recsys.experiments.effect import Moments, quadratic, ratio_of
from recsys.experiments.sequential import Spending, always_valid, obrien_fleming, planned_bounds

POWER: Final = 0.8


@dataclass(frozen=True)
class Needs:
    """Users of all arms together, and days until so many were seen; None where the log's users never suffice."""

    users: int
    days: int | None

    def __str__(self) -> str:
        if self.days is None:
            return f"{self.users:,} users are needed, more than the log has: a larger effect, or no experiment"
        return f"{self.users:,} users, {self.days} days"


def users_needed(
    past: Moments,
    shares: Sequence[float],
    effect: float,
    alpha: float,
    looks: int | None,
    power: float = POWER,
    spending: Spending = obrien_fleming,
) -> int:
    """Users of a control and a treatment together that find a relative change of the metric.

    Args:
        past: of the metric, as users had it in as many days before.
        shares: of control and treatment.
        effect: the smallest relative change of interest, over 0.
        looks: planned looks; None for the always-valid sequence.

    Raises:
        ValueError: an effect of 0, or a metric that nobody has.
    """
    value, gradient = ratio_of(past, 0)
    variance = float(quadratic(gradient, past.covariance, gradient))
    change = abs(float(value) * effect)
    if not change > 0 or not variance > 0:
        raise ValueError("a minimum effect over 0, of a metric that varies over users, is needed")
    if looks is None:
        bound = float(always_valid(np.asarray(1.0), alpha))
    else:  # at the last look: what earlier ones find comes on top
        times = np.arange(1, looks + 1) / looks
        bound = float(planned_bounds(times, times, alpha, spending)[-1])
    reach = bound + NormalDist().inv_cdf(power)
    whole = sum(shares)
    return math.ceil((reach / change) ** 2 * variance * sum(whole / share for share in shares))


def days_needed(users: int, seen: Sequence[int], share: float) -> int | None:
    """Days until an experiment on a share of the users has so many, from the number of different users that the log saw
    within its first 1, 2, ... days; beyond the log it grows as over its last day. None where it does not grow enough.
    """
    if not seen:
        return None
    for day, count in enumerate(seen, 1):
        if count * share >= users:
            return day
    growth = (seen[-1] - seen[-2] if len(seen) > 1 else 0) * share
    missing = users - seen[-1] * share
    return len(seen) + math.ceil(missing / growth) if growth >= 0.001 * users else None
