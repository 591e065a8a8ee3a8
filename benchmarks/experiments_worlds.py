"""Worlds for `benchmarks.experiments`: outcome tables drawn from users' own rates, and the moments of their arms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.experiments.effect import Effect, Moments, effect

BASE: Final = 0.15  # clicks an impression
SPREAD: Final = 20.0  # a user's own rate is Beta(BASE * SPREAD, (1 - BASE) * SPREAD)
AT_ONCE: Final = 100  # worlds drawn together: 100 x 800 users x 30 days are 19 MB a column


@dataclass(frozen=True)
class Users:
    """The two arms' users of some worlds, float64[worlds, 2, users]: control first."""

    rate: np.ndarray  # a user's own clicks an impression
    active: np.ndarray  # their impressions a day

    @staticmethod
    def draw(rng: np.random.Generator, worlds: int, users: int) -> Users:
        shape = (worlds, 2, users)
        return Users(rng.beta(BASE * SPREAD, (1 - BASE) * SPREAD, shape), 2 * rng.gamma(1.5, 1 / 1.5, shape))

    def treated(self, lift: float) -> Users:
        """The same, with an effect on the second arm."""
        return Users(np.minimum(self.rate * np.array([1.0, 1 + lift])[:, None], 1.0), self.active)

    def days(self, rng: np.random.Generator, days: float) -> np.ndarray:
        """Clicks and impressions over so many days, float64[worlds, 2, users, 2]."""
        clicks = rng.poisson(self.active * self.rate * days)
        passed = rng.poisson(self.active * (1 - self.rate) * days)
        return np.stack([clicks, clicks + passed], axis=-1).astype(np.float64)


def moments(columns: np.ndarray) -> tuple[Moments, Moments]:
    """Of control and treatment, float64[worlds, 2, users, m]; a user who was never there is in neither."""
    there = columns[..., 1] > 0
    users = there.sum(axis=-1)
    kept = columns * there[..., None]
    mean = kept.sum(axis=-2) / users[..., None]
    products = np.swapaxes(kept, -1, -2) @ kept
    outer = mean[..., :, None] * mean[..., None, :] * users[..., None, None]
    covariance = (products - outer) / (users - 1)[..., None, None]
    arms = [Moments(users[:, arm], mean[:, arm], covariance[:, arm]) for arm in (0, 1)]
    return arms[0], arms[1]


def daily_looks(rng: np.random.Generator, worlds: int, users: int, days: int, lift: float) -> Iterator[Effect]:
    """Clicks an impression of users who come and come again, told each evening; some worlds at a time, [n, days]."""
    for start in range(0, worlds, AT_ONCE):
        drawn = Users.draw(rng, min(AT_ONCE, worlds - start), users).treated(lift)
        so_far, looks = np.zeros((*drawn.rate.shape, 2)), []
        for _ in range(days):
            so_far += drawn.days(rng, 1.0)
            looks.append(effect(*moments(so_far)))
        yield Effect(*(np.stack([getattr(look, name) for look in looks], axis=1) for name in Effect.__annotations__))
