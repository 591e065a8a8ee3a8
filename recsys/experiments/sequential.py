"""Looking more than once: bounds in standard errors that hold over all looks together.

Planned looks spend the error as time passes (Lan and DeMets 1983, two time scales: when it is spent is a matter of the
plan's calendar, how looks depend on each other of the information that they had, 1 / error^2). The always-valid
sequence (Waudby-Smith et al., arXiv 2103.06476, eq. 9) holds at any number of looks at any time, and is wider.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from scipy import special

NODES: Final = 64  # of the integration between 0 and a bound: bounds of 5 looks are right to 4 digits
WIDEST: Final = 9.0  # standard errors; chance reaches it once in 10^18
# A look is taken to bring at least half a per cent more information than the one before: finer steps are narrower than
# the nodes lie apart, and a coarser one errs to the safe side.
NEWS: Final = 1.005

Spending = Callable[[np.ndarray, float], np.ndarray]


def obrien_fleming(time: np.ndarray, alpha: float) -> np.ndarray:
    """Two-sided error spent by a share of the planned time: next to nothing early, most at the end."""
    with np.errstate(divide="ignore"):
        return np.asarray(4 * special.ndtr(-special.ndtri(1 - alpha / 4) / np.sqrt(time)))


def pocock(time: np.ndarray, alpha: float) -> np.ndarray:
    """Two-sided error spent by a share of the planned time: about evenly."""
    return np.asarray(alpha * np.log1p((np.e - 1) * time))


def planned_bounds(
    time: np.ndarray, information: np.ndarray, alpha: float, spending: Spending = obrien_fleming
) -> np.ndarray:
    """Standard errors that each look has to pass, two-sided, so that all together alarm in `alpha` of the cases.

    Args:
        time: float64[looks], share of the planned time at each look, rising to at most 1.
        information: float64[..., looks], 1 / error^2 at each look.

    Returns:
        float64[..., looks]; inf at a look without information, whose error is left for the next.
    """
    weights, nodes = _rule()
    spent = np.zeros(information.shape[:-1])
    bounds = np.full(information.shape, np.inf)
    held = np.zeros(information.shape[:-1])  # information at the last look that counted
    place = np.zeros((*information.shape[:-1], NODES))  # of the path's size |z| * sqrt(information) ...
    mass = np.zeros_like(place)  # ... and how much of it lies there and was never stopped
    mass[..., 0] = 1.0
    for look, share in enumerate(time):
        counts = information[..., look] > 0
        now = np.where(counts, np.maximum(information[..., look], held * NEWS), 1.0)
        step = np.sqrt(np.where(counts, now - held, 1.0))[..., None]
        budget = np.minimum(spending(np.asarray(share), alpha), alpha) - spent
        low, high = np.zeros(now.shape), np.full(now.shape, WIDEST)
        for _ in range(28):  # to 9 / 2^28 of a standard error
            middle = (low + high) / 2
            edge = (middle * np.sqrt(now))[..., None]
            beyond = (mass * (special.ndtr((place - edge) / step) + special.ndtr(-(place + edge) / step))).sum(axis=-1)
            low, high = np.where(beyond > budget, middle, low), np.where(beyond > budget, high, middle)
        bounds[..., look] = np.where(counts, high, np.inf)
        edge = (high * np.sqrt(now))[..., None]
        fresh = edge * nodes
        apart = (fresh[..., :, None] - place[..., None, :]) / step[..., None]
        across = (fresh[..., :, None] + place[..., None, :]) / step[..., None]
        density = ((np.exp(-(apart**2) / 2) + np.exp(-(across**2) / 2)) * mass[..., None, :]).sum(axis=-1)
        after = density / (step * np.sqrt(2 * np.pi)) * weights * edge
        mass = np.where(counts[..., None], after, mass)
        place = np.where(counts[..., None], fresh, place)
        held, spent = np.where(counts, now, held), np.where(counts, spent + budget, spent)
    return bounds


def _rule() -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre weights and nodes on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return weights / 2, (nodes + 1) / 2


def always_valid(fraction: np.ndarray, alpha: float) -> np.ndarray:
    """Standard errors on each side of a confidence sequence, two-sided.

    Args:
        fraction: units so far as a share of the number at which the sequence is to be narrowest.
    """
    drift = -2 * np.log(alpha) + np.log1p(-2 * np.log(alpha))
    grown = 1 + drift * np.asarray(fraction)
    return np.asarray(np.sqrt(grown / (grown - 1) * np.log(grown / alpha**2)))
