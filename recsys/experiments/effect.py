"""What an arm did to a metric: a difference of means or of ratios over users, less what their past explains (CUPED).

Every metric is a ratio of two sums over users (`above` / `below`; `below` is 1 for a value a user). A ratio is linear
in its users to the first order (the delta method, Deng et al. 2018), so one formula serves both. A covariate is such a
ratio too, of the same users before the experiment (Deng et al. 2013).

Arrays may have leading axes (worlds, looks); every function works along the last ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special


class NoEffect(ValueError):
    """A difference cannot be told: too few users, or a metric without variance; the message says which."""


@dataclass(frozen=True)
class Moments:
    """Sums of an arm's users, all that an analysis needs of them.

    Columns are above, below and, with a covariate, above and below before the experiment: m is 2 or 4.
    """

    users: np.ndarray  # [...]
    mean: np.ndarray  # float64[..., m]
    covariance: np.ndarray  # float64[..., m, m], with users - 1 below

    @staticmethod
    def of(columns: np.ndarray) -> Moments:
        """Of values by user, float64[..., users, m].

        Raises:
            NoEffect: fewer than two users, or a value that is not finite (fill or drop it before).
        """
        users = columns.shape[-2]
        if users < 2:
            raise NoEffect(f"an arm with {users} users says nothing: at least two are needed")
        if not np.isfinite(columns).all():
            raise NoEffect("a user's value is missing: fill it with what it stands for, or leave the user out")
        mean = columns.mean(axis=-2)
        centred = columns - mean[..., None, :]
        covariance = np.swapaxes(centred, -1, -2) @ centred / (users - 1)
        return Moments(np.full(mean.shape[:-1], users), mean, covariance)


@dataclass(frozen=True)
class Effect:
    """Treatment against control; float64[...] each."""

    control: np.ndarray  # the metric, after adjustment
    treatment: np.ndarray
    difference: np.ndarray
    error: np.ndarray  # standard error of the difference
    freedom: np.ndarray  # degrees of freedom (Welch, Satterthwaite)
    relative: np.ndarray  # treatment / control - 1
    relative_error: np.ndarray  # with the baseline's own error
    rho: np.ndarray  # correlation with the covariate over users, 0 without one

    @property
    def z(self) -> np.ndarray:
        """Standard errors from zero."""
        return self.difference / self.error

    @property
    def p_value(self) -> np.ndarray:
        """Two-sided, of one look at the end."""
        return np.asarray(2 * special.stdtr(self.freedom, -np.abs(self.z)))

    def reach(self, alpha: float) -> np.ndarray:
        """Standard errors on each side of an interval that is looked at once."""
        return np.asarray(special.stdtrit(self.freedom, 1 - alpha / 2))


def ratio_of(arm: Moments, pair: int) -> tuple[np.ndarray, np.ndarray]:
    """A ratio, and its gradient by the m means: [...] and [..., m]."""
    above, below = arm.mean[..., 2 * pair], arm.mean[..., 2 * pair + 1]
    ratio = above / below
    gradient = np.zeros_like(arm.mean)
    gradient[..., 2 * pair], gradient[..., 2 * pair + 1] = 1 / below, -ratio / below
    return ratio, gradient


def quadratic(left: np.ndarray, middle: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Left times middle times right, [...]: the variance of a linear form of columns."""
    return np.asarray(np.einsum("...i,...ij,...j->...", left, middle, right))


def effect(control: Moments, treatment: Moments) -> Effect:
    """The difference that the treatment made.

    Raises:
        NoEffect: a metric is the same for every user of both arms, or nobody has anything below the line.
    """
    arms = (control, treatment)
    if any((arm.mean[..., 1::2] == 0).any() for arm in arms):
        raise NoEffect("a ratio over nothing: no user of an arm has anything to divide by")
    values, gradients = zip(*(ratio_of(arm, 0) for arm in arms), strict=True)
    variances = [quadratic(g, arm.covariance, g) for g, arm in zip(gradients, arms, strict=True)]
    rho = np.zeros_like(variances[0])
    if control.mean.shape[-1] == 4:
        before, slopes = zip(*(ratio_of(arm, 1) for arm in arms), strict=True)
        own = [quadratic(s, arm.covariance, s) for s, arm in zip(slopes, arms, strict=True)]
        both = [quadratic(g, arm.covariance, s) for g, s, arm in zip(gradients, slopes, arms, strict=True)]
        weights = [1 / arm.users for arm in arms]
        spread = sum(w * v for w, v in zip(weights, own, strict=True))
        shared = sum(w * v for w, v in zip(weights, both, strict=True))
        plain = sum(w * v for w, v in zip(weights, variances, strict=True))
        with np.errstate(invalid="ignore", divide="ignore"):
            theta = np.where(spread > 0, shared / spread, 0.0)  # the least variance of the difference
            rho = np.where((spread > 0) & (plain > 0), shared / np.sqrt(spread * plain), 0.0)
        users = control.users + treatment.users
        level = (before[0] * control.users + before[1] * treatment.users) / users
        values = tuple(value - theta * (x - level) for value, x in zip(values, before, strict=True))
        # never below 0: a covariate that is the metric itself leaves rounding alone
        variances = [
            np.maximum(v - 2 * theta * c + theta**2 * o, 0.0) for v, c, o in zip(variances, both, own, strict=True)
        ]
    of_mean = [v / arm.users for v, arm in zip(variances, arms, strict=True)]
    total = of_mean[0] + of_mean[1]
    if (total <= 1e-24 * (values[0] ** 2 + values[1] ** 2)).any():
        raise NoEffect("a metric without variance: every user has the same value")
    with np.errstate(invalid="ignore", divide="ignore"):
        relative_error = np.sqrt(of_mean[1] / values[0] ** 2 + values[1] ** 2 * of_mean[0] / values[0] ** 4)
        relative = values[1] / values[0] - 1
    freedom = total**2 / sum(v**2 / (arm.users - 1) for v, arm in zip(of_mean, arms, strict=True))
    return Effect(
        control=values[0],
        treatment=values[1],
        difference=values[1] - values[0],
        error=np.sqrt(total),
        freedom=freedom,
        relative=relative,
        relative_error=relative_error,
        rho=rho,
    )


def paired(users: Moments) -> tuple[np.ndarray, np.ndarray]:
    """How much higher a ratio is than another of the same users, and its standard error: [...] each.

    Args:
        users: of above, below, and the other ratio's; who is in one of them alone has zeros in the other.
    """
    (value, gradient), (other, slope) = (ratio_of(users, pair) for pair in (0, 1))
    away = gradient - slope
    return value - other, np.sqrt(quadratic(away, users.covariance, away) / users.users)
