"""An experiment as the served log tells it: who was exposed to which arm, what came of it, and what to do now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from recsys.evaluation import attention
from recsys.events import DAY_MS, MINUTE_MS
from recsys.experiments.effect import Effect, Moments, NoEffect, effect
from recsys.experiments.power import Needs, days_needed, users_needed
from recsys.experiments.record import DEVICE, METRICS, PEOPLE, Experiment, parsed
from recsys.experiments.sample_ratio import MISMATCH, by_day, by_total
from recsys.experiments.sequential import always_valid, planned_bounds

BEFORE_DAYS: Final = 14  # of the covariate; they end before the experiment begins, so before anybody's first exposure
SESSION_MS: Final = 30 * MINUTE_MS
BACK: Final = (1, 7, 30)  # days
LEAST_USERS: Final = 50  # of each arm, before a look counts
ALWAYS: Final = ("answered", "filled")  # guardrails of every experiment
MOST_DEVICES: Final = 5  # that the report tells apart
FOUND: Final = 1.96 + 0.84  # standard errors: an effect of so many is found in 80 %
ROUNDED: Final = 10  # digits of what is kept
Verdict = Literal["goes on", "promote", "refuse"]


@dataclass(frozen=True)
class Look:
    """One metric of one arm against the control at the end of a day."""

    day: int
    metric: str
    arm: str
    users: int
    users_control: int
    control: float
    treatment: float
    relative: float
    low: float  # of the relative change, by a bound that holds over all looks
    high: float
    z: float
    bound: float


@dataclass(frozen=True)
class Decision:
    """What to do, and why; `arm` is the one to promote, or the one that is refused."""

    verdict: Verdict
    arm: str
    reasons: tuple[str, ...]
    looks: tuple[Look, ...] = ()
    people: tuple[Look, ...] = ()  # the metric of each group of people at the last look

    def report(self) -> dict[str, Any]:
        """The figures as they are kept, rounded: libraries differ in the last digits."""
        looks, people = (
            [
                {name: round(v, ROUNDED) if isinstance(v, float) else v for name, v in asdict(look).items()}
                for look in told
            ]
            for told in (self.looks, self.people)
        )
        told = {"verdict": self.verdict, "arm": self.arm, "reasons": list(self.reasons)}
        return {**told, "looks": looks, "people": people}


def exposures(experiment: Experiment, served: pl.DataFrame) -> pl.DataFrame:
    """Slates that users of the experiment asked for, with `arm`, and `exposed`: answered in full by that arm's bundle.

    Args:
        served: rows of `served_log.SCHEMA`; features are not needed.
    """
    within = (pl.col("served_at") >= experiment.begins) & (pl.col("served_at") < experiment.ends)
    named = (pl.col("rung") != "features") & (pl.col("user_id") != "")  # who did not consent has no name to count by
    kept = served.filter(within & named).with_columns(places=pl.len().over("request_id"))
    slates = kept.unique("request_id", keep="first", maintain_order=True)
    slates = slates.with_columns(day=(pl.col("served_at") - experiment.begins) // DAY_MS)
    asked = slates.select("user_id", "day").unique(maintain_order=True)
    arms = [experiment.arm_of(user, experiment.begins + day * DAY_MS) for user, day in asked.iter_rows()]
    of = asked.with_columns(arm=pl.Series(arms, dtype=pl.String))
    bundle_of = pl.col("arm").replace_strict(dict(experiment.arms), default=None, return_dtype=pl.String)
    return (
        slates.join(of, on=["user_id", "day"], how="left", maintain_order="left")
        .filter(pl.col("arm").is_not_null())
        .with_columns(exposed=(pl.col("rung") == "full") & (pl.col("bundle") == bundle_of))
    )


def answered_as_champion(bundle_id: str, served: pl.DataFrame, experiments: Iterable[Experiment]) -> bool:
    """Whether a bundle answered anybody of some served rows for whom no experiment tried it.

    Args:
        served: user_id, served_at and bundle.
        experiments: every one that there was; the control of one is what serves anyhow.
    """
    trials = [
        (experiment, arms)
        for experiment in experiments
        if (arms := {arm for arm, of in experiment.arms.items() if of == bundle_id and arm != experiment.control})
    ]
    answered = served.filter(pl.col("bundle") == bundle_id).select("user_id", "served_at").unique()
    return any(
        all(experiment.arm_of(user, at) not in arms for experiment, arms in trials) for user, at in answered.iter_rows()
    )


def _sums(slates: pl.DataFrame, seen: pl.DataFrame) -> pl.DataFrame:
    """Of each user: what they did with the slates, and how often they came."""
    acted = (
        seen.join(slates.select("request_id"), on="request_id", how="semi")
        .group_by("user_id")
        .agg(
            click=pl.col("click").sum().cast(pl.Float64),
            long_view=pl.col("long_view").sum().cast(pl.Float64),
            minutes=pl.col("watch_ms").sum() / MINUTE_MS,
            impressions=pl.len().cast(pl.Float64),
            fresh=pl.col("fresh").sum().cast(pl.Float64),
            small=pl.col("small").sum().cast(pl.Float64),
            attention=pl.col("attention").sum(),
            fresh_attention=pl.col("attention").filter("fresh").sum(),
            small_attention=pl.col("attention").filter("small").sum(),
        )
    )
    apart = pl.col("served_at").diff().over("user_id", order_by="served_at")
    came = (
        slates.with_columns(begins=(apart > SESSION_MS).fill_null(True))
        .group_by("user_id")
        .agg(
            sessions=pl.col("begins").sum().cast(pl.Float64),
            slates=pl.len().cast(pl.Float64),
            places=pl.col("places").sum().cast(pl.Float64),
            wanted=pl.col("k").fill_null(pl.col("places")).sum().cast(pl.Float64),  # of before it was kept: all there
            took_ms=pl.col("took_ms").sum(),
            timed=pl.col("took_ms").count().cast(pl.Float64),
        )
    )
    return came.join(acted, on="user_id", how="left").fill_null(0.0)


def table(experiment: Experiment, served: pl.DataFrame, seen: pl.DataFrame, until: int) -> pl.DataFrame:
    """One row a user who was exposed before `until` (UTC ms): arm, first_day, device of the first slate, the columns of
    METRICS, and those of the 14 days before the experiment with `_before`. What is not known of somebody is 0: they
    count.

    Args:
        seen: `feedback.joined` of the served rows, of `grouped`.
    """
    slates = exposures(experiment, served.filter(pl.col("served_at") < until))
    exposed = slates.filter("exposed")
    seen = seen.filter(pl.col("occurred_at") < min(until, experiment.ends))
    first = pl.col("served_at").min()
    users = exposed.group_by("user_id").agg(
        pl.col("arm").first(), pl.col("device").sort_by("served_at").first(), first=first
    )
    users = users.join(_sums(exposed, seen), on="user_id", how="left")
    users = users.join(slates.group_by("user_id").agg(asked=pl.len().cast(pl.Float64)), on="user_id", how="left")
    later = slates.join(users.select("user_id", "first"), on="user_id").with_columns(
        days=pl.col("served_at") // DAY_MS - pl.col("first") // DAY_MS, after=pl.col("served_at") - pl.col("first")
    )
    for n in BACK:
        back = later.filter((pl.col("days") > 0) & (pl.col("after") <= n * DAY_MS))["user_id"].unique()
        known = (pl.col("first") + n * DAY_MS <= until).cast(pl.Float64)
        came = pl.col("user_id").is_in(back.to_list()).cast(pl.Float64)
        users = users.with_columns((came * known).alias(f"back_within_{n}"), known.alias(f"known_{n}"))
    begins = experiment.begins
    window = (pl.col("served_at") >= begins - BEFORE_DAYS * DAY_MS) & (pl.col("served_at") < begins)
    earlier = served.filter(window & (pl.col("rung") != "features")).with_columns(places=pl.len().over("request_id"))
    earlier = earlier.unique("request_id", keep="first")
    before = _sums(earlier, seen.filter(pl.col("occurred_at") < begins))
    before = before.rename({name: f"{name}_before" for name in before.columns if name != "user_id"})
    return (
        users.join(before, on="user_id", how="left")
        .with_columns(pl.col(pl.Float64).fill_null(0.0), first_day=(pl.col("first") - begins) // DAY_MS)
        .with_columns(users=pl.lit(1.0), users_before=pl.lit(1.0))
        .sort("user_id")  # sums of floats in one order, whoever asks
    )


def grouped(seen: pl.DataFrame, items: pl.DataFrame, curve: Mapping[str, float] = {}) -> pl.DataFrame:
    """Seen rows with what the item is: `fresh`, of the last week when it was served; `small`, of a creator of fewer
    items than the middle one of all creators; and `attention`, what its place gets of the first one's.

    Args:
        items: a catalogue: item_id, creator_key (0 unknown), published_at (UTC ms, 0 or null unknown).
        curve: log odds that each place costs (`evaluation.position.position_curve`); `attention.of_places` says how.
    """
    small = attention.of_small_creators(items["creator_key"].fill_null(0).to_numpy())
    about = items.select("item_id", pl.col("published_at").fill_null(0)).with_columns(small=pl.Series(small))
    joined = seen.join(about, on="item_id", how="left", maintain_order="left")
    published, at = (joined[name].fill_null(0).to_numpy() for name in ("published_at", "served_at"))
    places = joined["slot"].fill_null(0).to_numpy()
    return joined.with_columns(
        fresh=pl.Series(attention.is_fresh(published, at), dtype=pl.Boolean),
        small=pl.col("small").fill_null(False),
        attention=pl.Series(attention.of_places(curve, places), dtype=pl.Float64),
    ).drop("published_at")


def of_group(users: pl.DataFrame, group: str) -> pl.DataFrame:
    """The users of a `table` who are in a group of people: one of PEOPLE, or of a device; "" stands for all."""
    before = pl.col("slates_before")
    middle = pl.when(before > 0).then(before).median()  # of those who asked for any
    known = {"newcomers": before == 0, "seldom": (before > 0) & (before <= middle), "often": before > middle}
    return users if not group else users.filter(known.get(group, pl.col("device") == group.removeprefix(DEVICE)))


def _groups(users: pl.DataFrame) -> list[str]:
    """Of whom the report tells: PEOPLE, and the devices that most have."""
    devices = users.drop_nulls("device").group_by("device").len().sort("len", "device", descending=[True, False])
    return [*PEOPLE, *(f"{DEVICE}{name}" for name in devices["device"].head(MOST_DEVICES))]


def compared(users: pl.DataFrame, metric: str, control: str, arm: str) -> Effect | None:
    """A metric of an arm against the control; None while an arm has too few users, or nothing to divide by."""
    asked = METRICS[metric]
    columns = [asked.above, asked.below]
    before = [f"{name}_before" for name in columns]
    if all(name in users.columns for name in before) and (users[before].sum().row(0)[1] or 0) > 0:
        columns += before
    rows = [users.filter(pl.col("arm") == name).select(columns).to_numpy() for name in (control, arm)]
    if min(len(part) for part in rows) < LEAST_USERS:
        return None
    if len(columns) == 4 and any(part[:, 3].sum() == 0 for part in rows):
        rows = [part[:, :2] for part in rows]
    try:
        return effect(*(Moments.of(part) for part in rows))
    except NoEffect:
        return None


def analysed(experiment: Experiment, served: pl.DataFrame, seen: pl.DataFrame, now: int) -> Decision:
    """What the experiment says at an instant (UTC ms): at the end of each full day it looks, the first look that can
    tell decides, and its last day ends it.
    """
    days = min(experiment.days, experiment.day_of(now))
    arms = [arm for arm in experiment.arms if arm != experiment.control]
    if days < 1:
        return Decision("goes on", arms[0], ("its first look is at the end of its first day",))
    tables = [table(experiment, served, seen, experiment.begins + day * DAY_MS) for day in range(1, days + 1)]
    wrong = mismatch(experiment, tables[-1])
    if wrong:
        return Decision("refuse", arms[0], (wrong,))
    guards = tuple(dict.fromkeys((*experiment.guardrails, *ALWAYS)))
    looks, people = list[Look](), list[Look]()
    ended: list[Decision] = []
    for arm in arms:
        mine = {name: _looks(experiment, tables, name, arm, len(arms)) for name in (experiment.metric, *guards)}
        looks += [look for told in mine.values() for look in told]
        asked = [f"{experiment.metric}@{group}" for group in _groups(tables[-1])]
        # a family of their own: their intervals hold together
        people += [
            look for name in asked for look in _looks(experiment, tables, name, arm, len(arms) * len(asked))[-1:]
        ]
        ended.append(_decision(experiment, arm, mine, guards, days))
    better = [decided for decided in ended if decided.verdict == "promote"]
    if better:
        sign = METRICS[experiment.metric].better
        best = max(better, key=lambda decided: sign * _last(looks, experiment.metric, decided.arm))
        return Decision("promote", best.arm, best.reasons, tuple(looks), tuple(people))
    verdict: Verdict = "refuse" if all(decided.verdict == "refuse" for decided in ended) else "goes on"
    why = tuple(why for decided in ended for why in decided.reasons)
    return Decision(verdict, arms[0], why, tuple(looks), tuple(people))


def _last(looks: list[Look], metric: str, arm: str) -> float:
    return [look.relative for look in looks if (look.metric, look.arm) == (metric, arm)][-1]


def _looks(experiment: Experiment, tables: list[pl.DataFrame], name: str, arm: str, claims: int) -> list[Look]:
    """Every look so far that could tell anything of one metric, of all or of a group of people."""
    metric, group = parsed(name)
    tables = [of_group(users, group) for users in tables]
    by_day = [compared(users, metric, experiment.control, arm) for users in tables]
    information = np.array([0.0 if told is None else 1 / float(told.error) ** 2 for told in by_day])
    alpha = experiment.alpha / claims
    if experiment.method == "planned":
        bounds = planned_bounds(np.arange(1, len(tables) + 1) / experiment.days, information, alpha)
    else:
        wanted = [1.0 if e is None else (FOUND / (experiment.minimum_effect * float(e.control))) ** 2 for e in by_day]
        with np.errstate(divide="ignore", invalid="ignore"):
            bounds = np.where(information > 0, always_valid(information / np.array(wanted), alpha), np.inf)
    looks = []
    for day, (told, bound, users) in enumerate(zip(by_day, bounds.tolist(), tables, strict=True), 1):
        if told is None:
            continue
        counts = dict(users.group_by("arm").len().iter_rows())
        looks.append(
            Look(
                day=day,
                metric=name,
                arm=arm,
                users=counts[arm],
                users_control=counts[experiment.control],
                control=float(told.control),
                treatment=float(told.treatment),
                relative=float(told.relative),
                low=float(told.relative - bound * told.relative_error),
                high=float(told.relative + bound * told.relative_error),
                z=float(told.z),
                bound=bound,
            )
        )
    return looks


def _decision(
    experiment: Experiment, arm: str, looks: Mapping[str, list[Look]], guards: tuple[str, ...], days: int
) -> Decision:
    for name in guards:
        better = METRICS[parsed(name)[0]].better
        fallen = next((look for look in looks[name] if look.z * better < -look.bound), None)
        if fallen is not None:
            return Decision("refuse", arm, (f"guardrail: {_words(fallen)}",))
    told = next((look for look in looks[experiment.metric] if abs(look.z) > look.bound), None)
    if told is not None:
        is_better = told.z * METRICS[experiment.metric].better > 0
        return Decision("promote" if is_better else "refuse", arm, (_words(told),))
    last = looks[experiment.metric][-1] if looks[experiment.metric] else None
    words = _words(last) if last is not None else (
        f"{arm} and {experiment.control}: {METRICS[experiment.metric].words} cannot be compared: fewer than "
        f"{LEAST_USERS} users of an arm, or the same value of all"
    )  # fmt: skip
    if days >= experiment.days:
        return Decision("refuse", arm, (f"not shown to be better within its {experiment.days} days; {words}",))
    return Decision("goes on", arm, (words,))


def _words(look: Look) -> str:
    metric, group = parsed(look.metric)
    what = METRICS[metric].words + (f" of {group}" if group else "")
    return (
        f"{look.arm}: {what} {look.treatment:.4f} against {look.control:.4f} "
        f"({look.relative:+.1%}, {look.low:+.1%} to {look.high:+.1%}; {look.users:,} and {look.users_control:,} users, "
        f"day {look.day})"
    )


def mismatch(experiment: Experiment, users: pl.DataFrame) -> str | None:
    """In words that the arms do not hold the users that the record promised; None where they do."""
    arms, days = list(experiment.arms), int(users["first_day"].max() or 0) + 1  # type: ignore[arg-type]
    counts = np.zeros((days, len(arms)))
    for day, arm, n in users.group_by("first_day", "arm").len().iter_rows():
        counts[day, arms.index(arm)] = n
    shares = np.tile(list(experiment.shares.values()), (days, 1))
    p_value = float(by_total(counts, shares))
    if p_value >= MISMATCH:
        return None
    worst = int(by_day(counts, shares).argmin())
    told = ", ".join(f"{arm} {int(n):,}" for arm, n in zip(arms, counts.sum(axis=0), strict=True))
    return (
        f"the arms do not hold the shares of the users that the record says (p {p_value:.1e}; {told}), day {worst} "
        "most: answers of one arm are lost or refused, and no figure of it counts"
    )


def needs(experiment: Experiment, impressions: pl.DataFrame) -> Needs:
    """Users and days that the smallest effect of interest needs, by the log of as many days.

    Args:
        impressions: cleaned impressions: user_id, occurred_at, click, long_view, watch_ms.

    Raises:
        ValueError: a metric that impressions alone do not tell, or nothing that varies.
    """
    asked = METRICS[experiment.metric]
    users = impressions.group_by("user_id").agg(
        click=pl.col("click").sum().cast(pl.Float64),
        long_view=pl.col("long_view").sum().cast(pl.Float64),
        minutes=pl.col("watch_ms").sum() / MINUTE_MS,
        impressions=pl.len().cast(pl.Float64),
        users=pl.lit(1.0),
    )
    missing = {asked.above, asked.below} - set(users.columns)
    if missing:
        raise ValueError(f"a log of impressions does not tell {asked.words}")
    first = impressions.group_by("user_id").agg(pl.col("occurred_at").min() // DAY_MS)["occurred_at"]
    seen = np.bincount((first - first.min()).to_numpy()).cumsum().tolist()
    shares = list(experiment.shares.values())[:2]
    looks = experiment.days if experiment.method == "planned" else None
    wanted = users_needed(
        Moments.of(users.select(asked.above, asked.below).to_numpy()),
        shares,
        experiment.minimum_effect,
        experiment.alpha / (len(experiment.arms) - 1),
        looks,
    )
    return Needs(wanted, days_needed(wanted, seen, experiment.stages[-1][1] * sum(shares)))
