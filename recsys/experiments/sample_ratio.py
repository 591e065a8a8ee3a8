"""Whether the arms hold the users that they should: where they do not, no figure of the experiment counts."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import special

MISMATCH: Final = 0.0005  # of a sound experiment one in 2,000 is suspected


def by_total(users: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """p-value of one chi-square test: were the users of the arms drawn with these shares?

    Args:
        users: [..., days, arms], users by the day of their first exposure.
        shares: float64[days, arms], what the experiment's record promised on each day; each row adds up to 1.
    """
    expected = (users.sum(axis=-1, keepdims=True) * shares).sum(axis=-2)
    seen = users.sum(axis=-2)
    return _chi_square(seen, expected, seen.shape[-1] - 1)


def by_day(users: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """p-value of each day, [..., days]; arguments as of `by_total`. It tells where to look, not whether."""
    expected = users.sum(axis=-1, keepdims=True) * shares
    return _chi_square(users, expected, users.shape[-1] - 1)


def _chi_square(seen: np.ndarray, expected: np.ndarray, freedom: int) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.where(expected > 0, (seen - expected) ** 2 / expected, np.where(seen > 0, np.inf, 0.0))
    return np.asarray(special.chdtrc(freedom, off.sum(axis=-1)))
