"""Experiments, judged by worlds whose truth is known: `python -m benchmarks.experiments [part ...]`.

    intervals   coverage of intervals of one look, of CUPED and of relative changes; how much shorter CUPED makes them
    looks       coverage and false alarms over 30 daily looks: planned, always-valid, and a plain z test
    ratio       sample-ratio mismatch: false alarms, and a split that is half a point off
    rollback    false alarms of `rollback_on_regression` over 48 hourly looks
    draws       logged propensity against frequency, 10^5 draws of each exploring policy
    estimates   off-policy estimates of logs whose truth is known, and of the open bandit data, both ways

10,000 worlds each, without and with an effect; every figure has its binomial standard error.
"""

from __future__ import annotations

import sys
import time
from typing import Final

import numpy as np

from benchmarks.experiments_logs import BANDIT, exploring_draws, open_bandit, true_logs
from benchmarks.experiments_worlds import AT_ONCE, BASE, Users, daily_looks, moments
from recsys.experiments.assignment import place_of
from recsys.experiments.effect import Effect, effect
from recsys.experiments.sample_ratio import MISMATCH, by_total
from recsys.experiments.sequential import always_valid, planned_bounds
from recsys.monitoring import regression

WORLDS: Final = 10_000
ALPHA: Final = 0.05
LIFT: Final = 0.1
DAYS: Final = 30
BEFORE: Final = 14  # days of the covariate, and of the experiment


def share(hits: np.ndarray) -> str:
    """A share of worlds with its standard error, in per cent."""
    rate = float(hits.mean())
    return f"{rate:7.2%} +- {np.sqrt(rate * (1 - rate) / hits.size):.2%}"


def intervals() -> None:
    print("| interval | effect | coverage | false alarms or power | length, of that without CUPED |")
    print("| --- | --- | --- | --- | --- |")
    rng = np.random.default_rng(1)
    for lift in (0.0, LIFT):
        within: dict[str, list[np.ndarray]] = {}
        lengths: list[np.ndarray] = []
        for _ in range(WORLDS // AT_ONCE):
            users = Users.draw(rng, AT_ONCE, 300)
            past, now = users.days(rng, BEFORE), users.treated(lift).days(rng, BEFORE)
            one = np.ones_like(now[..., :1])
            a_user = effect(*moments(np.concatenate([now[..., :1], one, past[..., :1], one], axis=-1)))
            plain = effect(*moments(np.concatenate([now[..., :1], one], axis=-1)))
            ratio = effect(*moments(now))
            adjusted = effect(*moments(np.concatenate([now, np.maximum(past, [0, 1])], axis=-1)))
            a_day = 2 * BEFORE * BASE
            for name, told, truth in (
                ("clicks a user", plain, a_day * lift),
                ("clicks a user, CUPED", a_user, a_day * lift),
                ("clicks an impression", ratio, BASE * lift),
                ("clicks an impression, CUPED", adjusted, BASE * lift),
            ):
                within.setdefault(name, []).append(_within(told.difference, told.error, told.reach(ALPHA), truth))
                within.setdefault(f"{name}, alarm", []).append(told.p_value < ALPHA)
            relative = _within(plain.relative, plain.relative_error, plain.reach(ALPHA), lift)
            within.setdefault("clicks a user, relative", []).append(relative)
            exact = plain.error / plain.control
            within.setdefault("relative, baseline taken for exact", []).append(
                _within(plain.relative, exact, plain.reach(ALPHA), lift)
            )
            lengths.append(np.stack([a_user.error / plain.error, a_user.rho]))
        shorter, rho = np.concatenate(lengths, axis=1).mean(axis=1)
        for name, hits in within.items():
            if name.endswith("alarm"):
                continue
            alarms = share(np.concatenate(within[f"{name}, alarm"])) if f"{name}, alarm" in within else ""
            length = f"{shorter:.3f}, sqrt(1 - rho^2) {np.sqrt(1 - rho**2):.3f} (rho {rho:.3f})"
            print(
                f"| {name} | {lift:.0%} | {share(np.concatenate(hits))} | {alarms} | "
                f"{length if name == 'clicks a user, CUPED' else ''} |"
            )


def _within(value: np.ndarray, error: np.ndarray, reach: np.ndarray, truth: float) -> np.ndarray:
    return np.abs(value - truth) <= reach * error


def looks() -> None:
    print("| bound | effect | all looks cover | at the decision | alarms | mean day of decision |")
    print("| --- | --- | --- | --- | --- | --- |")
    rng = np.random.default_rng(2)
    times = np.arange(1, DAYS + 1) / DAYS
    for lift in (0.0, LIFT):
        kept: dict[str, list[tuple[np.ndarray, ...]]] = {"planned": [], "always valid": [], "z of 1.96": []}
        for told in daily_looks(rng, WORLDS, 250, DAYS, lift):
            information = 1 / told.error**2
            wanted = (2.8 / (BASE * LIFT)) ** 2  # information that finds this effect in 80 %
            bounds = {
                "planned": planned_bounds(times, information, ALPHA),
                "always valid": always_valid(information / wanted, ALPHA),
                "z of 1.96": np.full(told.error.shape, 1.96),
            }
            for name, bound in bounds.items():
                kept[name].append(_decided(told, bound, BASE * lift))
        for name, parts in kept.items():
            covered, at_decision, alarm, day = (np.concatenate(column) for column in zip(*parts, strict=True))
            print(
                f"| {name} | {lift:.0%} | {share(covered)} | {share(at_decision)} | {share(alarm)} "
                f"| {float(day.mean()):.1f} |"
            )


def _decided(told: Effect, bound: np.ndarray, truth: float) -> tuple[np.ndarray, ...]:
    inside = np.abs(told.difference - truth) <= bound * told.error
    alarms = np.abs(told.difference) > bound * told.error
    day = np.where(alarms.any(axis=1), alarms.argmax(axis=1), DAYS - 1)
    return inside.all(axis=1), np.take_along_axis(inside, day[:, None], axis=1)[:, 0], alarms.any(axis=1), day + 1


def ratio() -> None:
    rng = np.random.default_rng(3)
    users, halves = 250_000, np.array([[0.5, 0.5]])
    first = rng.binomial(users, 0.5, WORLDS)
    alarms = by_total(np.stack([first, users - first], axis=-1)[:, None, :], halves) < MISMATCH
    print(f"no mismatch, {WORLDS:,} worlds of {users:,} users: {int(alarms.sum())} alarms (p < {MISMATCH})")
    days = rng.multinomial(users, np.full(14, 1 / 14), WORLDS)
    open_to = np.array([0.1, 0.1, *[0.5] * 12])
    first = rng.binomial(days, open_to)
    staged = by_total(np.stack([first, days - first], axis=-1), np.stack([open_to, 1 - open_to], axis=1)) < MISMATCH
    print(f"shares of 10 % for two days and 50 % for twelve, no mismatch: {int(staged.sum())} alarms")
    places = [_first_arm(world, users, (0.5, 0.505)) for world in range(100)]
    for wanted, counts in zip((0.5, 0.505), zip(*places, strict=True), strict=True):
        first = np.array(counts)
        hashed = by_total(np.stack([first, users - first], axis=-1)[:, None, :], halves) < MISMATCH
        print(f"{wanted:.1%} of {users:,} hashed ids, 100 salts: {int(hashed.sum())} alarms")


def _first_arm(world: int, users: int, shares: tuple[float, ...]) -> list[int]:
    places = np.array([place_of(f"world {world}", f"u{n:06d}") for n in range(users)])
    return [int((places < part).sum()) for part in shares]


def rollback() -> None:
    print("| users | worlds | alarms at p .001 over 48 looks | at the same looks, 3.09 standard errors each |")
    print("| --- | --- | --- | --- |")
    rng = np.random.default_rng(4)
    for users in (200, 500, 1500):
        alarms, plain = [], []
        for _ in range(WORLDS // AT_ONCE):
            told, kept = _hours(rng, users)
            alarms.append(told.lost.any(axis=1))
            plain.append(kept.any(axis=1))
        print(
            f"| {users:,} | {WORLDS:,} | {int(np.concatenate(alarms).sum())} ({share(np.concatenate(alarms))}) "
            f"| {int(np.concatenate(plain).sum())} ({share(np.concatenate(plain))}) |"
        )


def _hours(rng: np.random.Generator, users: int) -> tuple[regression.Looks, np.ndarray]:
    """48 hourly looks at a bundle that is as good as the one before: slates of ten, to users who differ."""
    rate = rng.beta(BASE * SPREAD_OF_HOURS, (1 - BASE) * SPREAD_OF_HOURS, (AT_ONCE, users))
    asks = rng.gamma(0.7, 1.5 / 0.7, (AT_ONCE, users))  # slates a day; a quarter of the users make most of them
    columns = np.zeros((AT_ONCE, users, 4))
    columns[..., 3] = 10 * rng.poisson(2 * asks)
    columns[..., 2] = rng.binomial(columns[..., 3].astype(np.int64), rate)
    seen = []
    for _ in range(regression.LOOKS):
        shown = 10 * rng.poisson(asks / 24)
        columns[..., 1] += shown
        columns[..., 0] += rng.binomial(shown, rate)
        seen.append(regression.look(columns))
    told = regression.Looks(*(np.stack(column, axis=1) for column in zip(*seen, strict=True)))
    loss = told.before - told.ctr
    today = (loss > regression.LARGEST_LOSS * told.before) & (loss > 3.09 * told.error) & told.enough
    return told, today


SPREAD_OF_HOURS: Final = 8.0  # rates of users differ more than in the other worlds


def draws() -> None:
    exploring_draws()


def estimates() -> None:
    true_logs()
    open_bandit(BANDIT)


def main(names: list[str]) -> int:
    parts = {part.__name__: part for part in (intervals, looks, ratio, rollback, draws, estimates)}
    unknown = [name for name in names if name not in parts]
    if unknown:
        print(f"no part {', '.join(unknown)}: there are {', '.join(parts)}", file=sys.stderr)
        return 2
    for name in names or parts:
        began = time.process_time()
        print(f"\n== {name}", flush=True)
        parts[name]()
        print(f"({time.process_time() - began:.0f} CPU s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
