"""Whether a new champion loses clicks against the bundle before it: looked at every hour of its first two days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from scipy import special

from recsys.events import DAY_MS, HOUR_MS
from recsys.experiments.effect import Moments, paired
from recsys.experiments.sequential import planned_bounds, pocock

# A bundle is worse than the one before when it loses this share of the clicks, and chance would say so of one sound
# bundle in 1,000 over all the hours together.
LARGEST_LOSS: Final = 0.10
FALSE_ALARMS: Final = 0.001
# What the bounds are made for: clicks of a few hundred users are not normal so far out. Made for .001 they alarmed in
# 15 and 20 of 10,000 sound worlds of 200 and 500 users (`python -m benchmarks.experiments rollback`).
SPENT: Final = FALSE_ALARMS / 2
LEAST_USERS: Final = 50  # of each bundle
# A bundle is judged by its first days: later the world may have moved, and the bundle before is no witness any more.
PROBATION_MS: Final = 2 * DAY_MS
LOOKS: Final = PROBATION_MS // HOUR_MS


@dataclass(frozen=True)
class Looks:
    """What each hour showed; arrays have [..., looks]."""

    ctr: np.ndarray
    before: np.ndarray
    error: np.ndarray  # standard error of the difference, users drawn whole
    freedom: np.ndarray  # of that error: users that the impressions of the bundle with fewer are worth, less one
    enough: np.ndarray  # whether both bundles had LEAST_USERS

    @property
    def z(self) -> np.ndarray:
        """The loss in standard errors, made comparable with a normal bound by Student's t.

        Few users do not tell the error itself: t of 65 users is beyond 3.7 twice as often as a normal value.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            t = (self.before - self.ctr) / self.error
            return np.nan_to_num(-special.ndtri(special.stdtr(self.freedom, -t)), posinf=0.0, neginf=0.0)

    @property
    def bounds(self) -> np.ndarray:
        """Standard errors that a loss has to pass at each look, so that all of them alarm in FALSE_ALARMS."""
        times = np.arange(1, self.error.shape[-1] + 1) / LOOKS
        with np.errstate(divide="ignore"):
            information = np.where(self.enough & (self.error > 0), 1 / self.error**2, 0.0)
        return planned_bounds(times, information, 2 * SPENT, pocock)  # two sides, of which one is asked

    @property
    def lost(self) -> np.ndarray:
        """bool: a loss that is large and certain, at a look that counts."""
        loss = self.before - self.ctr
        return np.asarray((loss > LARGEST_LOSS * self.before) & (self.z > self.bounds))


def look(columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """One look: ctr, ctr before, standard error of the difference, its freedom, enough; [...] each.

    Args:
        columns: float64[..., users, 4], clicks and impressions of the bundle so far, and of the one before.
    """
    clicks, shown, clicks_before, shown_before = np.moveaxis(columns.sum(axis=-2), -1, 0)
    of_user = columns[..., [1, 3]]
    enough = ((of_user > 0).sum(axis=-2) >= LEAST_USERS).all(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        _, error = paired(Moments.of(columns))
        worth = (of_user.sum(axis=-2) ** 2 / (of_user**2).sum(axis=-2)).min(axis=-1)  # Kish: a few may ask for most
        freedom = np.maximum(np.nan_to_num(worth) - 1, 1.0)
        return clicks / shown, clicks_before / shown_before, np.nan_to_num(error), freedom, enough


@dataclass(frozen=True)
class Comparison:
    """Clicks per impression of a bundle in service and of the one before it, at the look that decides: the first that
    shows a loss, or else the last.
    """

    ctr: float
    before: float
    error: float
    bound: float  # standard errors that a loss has to pass at this look
    users: int
    users_before: int
    looks: int
    holds: bool  # False only for a loss that is large and certain

    @property
    def enough(self) -> bool:
        return self.looks > 0 and min(self.users, self.users_before) >= LEAST_USERS

    def __str__(self) -> str:
        if not self.enough:
            return f"{self.users} and {self.users_before} users so far, {LEAST_USERS} of each are needed"
        return (
            f"{self.ctr:.4f} clicks an impression against {self.before:.4f} of the bundle before "
            f"(difference {self.ctr - self.before:+.4f}, standard error {self.error:.4f}, "
            f"of which a loss of {self.bound:.1f} counts)"
        )


def compare(feedback: pl.DataFrame, bundle: str, before: str) -> Comparison:
    """The first days of a bundle, by full hours, against the last days of the one before it.

    Args:
        feedback: seen rows (feedback.joined): user_id, bundle, served_at, click.
    """
    its, theirs = (feedback.filter(pl.col("bundle") == name) for name in (bundle, before))
    theirs = theirs.filter(pl.col("served_at") >= pl.col("served_at").max() - PROBATION_MS)
    users = pl.concat([its["user_id"], theirs["user_id"]]).unique().sort()
    served_at = its["served_at"].to_numpy()
    hour = (served_at - served_at.min()) // HOUR_MS if len(served_at) else served_at
    full = min(LOOKS, int(hour.max())) if len(users) > 1 and len(hour) else 0
    columns = np.zeros((len(users), 4))
    columns[:, 2:] = _by_user(theirs, users)
    seen = []
    for now in range(full):
        columns[:, :2] += _by_user(its.filter(pl.Series(hour == now)), users)
        seen.append(look(columns))
    counts = {"users": its["user_id"].n_unique(), "users_before": theirs["user_id"].n_unique(), "looks": full}
    if not seen:
        nothing = float("nan")
        return Comparison(ctr=nothing, before=nothing, error=nothing, bound=nothing, holds=True, **counts)
    looks = Looks(*(np.array(column) for column in zip(*seen, strict=True)))
    lost = looks.lost
    at = int(lost.argmax()) if lost.any() else full - 1
    return Comparison(
        ctr=float(looks.ctr[at]),
        before=float(looks.before[at]),
        error=float(looks.error[at]),
        bound=float(looks.bounds[at]),
        holds=not lost.any(),
        **counts,
    )


def _by_user(rows: pl.DataFrame, users: pl.Series) -> np.ndarray:
    """Clicks and impressions of each user, float64[users, 2]."""
    place = users.search_sorted(rows["user_id"]).to_numpy()
    return np.stack([np.bincount(place, weights, len(users)) for weights in (rows["click"].to_numpy(), None)], axis=1)
