"""A sieve as the served log tells it: whose places of mixed slates people click on, and whether that is chance."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.events import DAY_MS
from recsys.experiments.interleaving import FIRST, SECOND, policy_of, preference
from recsys.experiments.record import Experiment
from recsys.experiments.sequential import always_valid, planned_bounds
from recsys.monitoring.trials import FOUND, LEAST_USERS, Decision, Look


def votes(experiment: Experiment, seen: pl.DataFrame, until: int) -> pl.DataFrame:
    """One row a user who saw a mixed slate of the experiment before `until` (UTC ms): `first` and `second`, clicks on
    the places of either team.

    Args:
        seen: `feedback.joined` of the served rows.
    """
    control, treatment = experiment.arms.values()
    within = (pl.col("served_at") >= experiment.begins) & (pl.col("occurred_at") < min(until, experiment.ends))
    mixed = (pl.col("bundle") == control) & (pl.col("policy") == policy_of(treatment)) & pl.col("team").is_not_null()
    clicks = {
        name: pl.col("click").filter(pl.col("team") == team).sum().cast(pl.Float64)
        for name, team in (("first", FIRST), ("second", SECOND))
    }
    return seen.filter(within & mixed & (pl.col("user_id") != "")).group_by("user_id").agg(**clicks).sort("user_id")


def users_at_most(experiment: Experiment) -> int:
    """Users in whom a preference of the smallest effect is found in 80 %, if each clicks on somebody's places more."""
    return int(np.ceil((FOUND / experiment.minimum_effect) ** 2))


def sieved(experiment: Experiment, seen: pl.DataFrame, now: int) -> Decision:
    """What the sieve says at an instant (UTC ms): a look at the end of each full day, the first that can tell decides.

    Who is preferred is told ("prefer") and promoted by nobody: an experiment tells what they are worth.
    """
    arm = list(experiment.arms)[1]
    days = min(experiment.days, experiment.day_of(now))
    if days < 1:
        return Decision("goes on", arm, ("its first look is at the end of its first day",))
    tables = [votes(experiment, seen, experiment.begins + day * DAY_MS) for day in range(1, days + 1)]
    told = [
        preference(users["first"].to_numpy(), users["second"].to_numpy())
        if users.height >= LEAST_USERS
        else (float("nan"), 0.0)
        for users in tables
    ]
    information = np.array([1 / error**2 if error > 0 else 0.0 for _, error in told])
    if experiment.method == "planned":
        bounds = planned_bounds(np.arange(1, days + 1) / experiment.days, information, experiment.alpha)
    else:
        wanted = (FOUND / experiment.minimum_effect) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            bounds = np.where(information > 0, always_valid(information / wanted, experiment.alpha), np.inf)
    looks = []
    for day, (users, (mean, error), bound) in enumerate(zip(tables, told, bounds.tolist(), strict=True), 1):
        if error > 0:
            more = (users["second"] - users["first"]).to_numpy()
            looks.append(
                Look(
                    day=day,
                    metric="preference",
                    arm=arm,
                    users=users.height,
                    users_control=users.height,  # each of them sees both
                    control=float((more < 0).mean()),
                    treatment=float((more > 0).mean()),
                    relative=mean,
                    low=mean - bound * error,
                    high=mean + bound * error,
                    z=mean / error,
                    bound=bound,
                )
            )
    certain = next((look for look in looks if abs(look.z) > look.bound), None)
    if certain is not None:
        return Decision("prefer" if certain.z > 0 else "refuse", arm, (_words(certain),), tuple(looks))
    words = _words(looks[-1]) if looks else f"fewer than {LEAST_USERS} users saw a mixed slate, or all are alike"
    if days >= experiment.days:
        return Decision("refuse", arm, (f"not shown to be preferred within its {days} days; {words}",), tuple(looks))
    return Decision("goes on", arm, (words,), tuple(looks))


def _words(look: Look) -> str:
    return (
        f"{look.treatment:.1%} of {look.users:,} users click on {look.arm}'s places more, {look.control:.1%} less "
        f"(preference {look.relative:+.3f}, {look.low:+.3f} to {look.high:+.3f}, day {look.day})"
    )
