"""Does a day's delivery look like the ones before: as many rows, arriving until the day's end, of as many people?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from recsys.events import DAY_MS, HOUR_MS

HISTORY: Final = 14  # days before that tell what is usual
LEAST_HISTORY: Final = 3
USUAL: Final = 2.0  # times as many, or as few: a quiet Sunday of KuaiRand has 0.8 of its Saturday
DEVIATIONS: Final = 6.0  # of the log volume; days that scatter more may scatter further
SILENCE_MS: Final = 8 * HOUR_MS  # before it is known what is usual: a small service sleeps at night
DOMINANT: Final = 0.05  # share of a day's events: below it a single user moves no model
WINDOWS: Final = (1, 3, 6)  # hours in a row
# A window has too few people when it has less than half (USUAL) of the fewest that it ever had, and a Poisson of that
# mean would bring so few with a chance below this. The chance alone would alarm on every Sunday of 50,000 people.
CHANCE: Final = 1e-6


@dataclass(frozen=True)
class Anomaly:
    """One claim about a delivery: does it hold, in which words, and was there enough to tell."""

    holds: bool
    words: str
    tells: bool = True


def too_few(words: str, days: int) -> Anomaly:
    """Nothing can be said yet of a figure that is judged by the days before."""
    return Anomaly(True, f"{words}; {days} days before are too few to say what is usual", tells=False)


def volume(rows: int, before: Sequence[int]) -> Anomaly:
    """Rows of a day against those of the days before it, newest last."""
    usual = np.asarray(before[-HISTORY:], np.float64)
    if len(usual) < LEAST_HISTORY:
        return too_few(f"{rows:,} rows", len(usual))
    logs = np.log1p(usual)
    middle = float(np.median(logs))
    scatter = 1.4826 * float(np.median(np.abs(logs - middle)))
    away = float(np.log1p(rows)) - middle
    holds = abs(away) <= max(np.log(USUAL), DEVIATIONS * scatter)
    words = f"{rows:,} rows, {np.exp(away):.2f} times the usual {np.expm1(middle):,.0f}"
    return Anomaly(holds, words if holds else f"{words}: was it delivered once, and whole?")


@dataclass(frozen=True)
class Arrivals:
    """When the rows of a day arrived."""

    silence: int  # longest time in which nothing arrived, its ends included, ms
    hours: np.ndarray  # int64 [24], people by hour of the local day; rows come by the session, and say less

    @staticmethod
    def of(received_at: np.ndarray, user: np.ndarray, day_starts_at: int) -> Arrivals:
        """`received_at`: int64 [n], UTC ms, any order, what lies outside of the day counts for its silence only;
        `user`: int64 [n], any number of each user's own.
        """
        ends = (day_starts_at, day_starts_at + DAY_MS)
        clipped = np.clip(np.sort(received_at), *ends)
        silence = int(np.diff(np.concatenate([[ends[0]], clipped, [ends[1]]])).max())
        within = (received_at >= ends[0]) & (received_at < ends[1])
        hour = (received_at[within] - day_starts_at) // HOUR_MS
        met = np.unique(np.stack([hour, user[within]]), axis=1)
        return Arrivals(silence, np.bincount(met[0], minlength=24))


def freshness(today: Arrivals, before: Sequence[Arrivals]) -> Anomaly:
    """No silence over twice the longest of the days before it, newest last, and no hours with far fewer people."""
    usual = before[-HISTORY:]
    floor = HOUR_MS if len(usual) >= LEAST_HISTORY else SILENCE_MS
    bound = max(floor, 2 * max((day.silence for day in usual), default=0))
    words = f"nothing arrived for {today.silence / HOUR_MS:.1f} hours"
    if today.silence > bound:
        return Anomaly(False, f"{words} (usual: at most {bound / HOUR_MS:.1f}): is the day complete?")
    if len(usual) >= LEAST_HISTORY:
        for width in WINDOWS:
            each = np.ones(width, np.int64)
            least = np.min([np.convolve(day.hours, each, "valid") for day in usual], axis=0)
            counts = np.convolve(today.hours, each, "valid")
            few = np.flatnonzero((counts * USUAL < least) & (special.pdtr(counts, least) < CHANCE))
            if len(few):
                start = int(few[np.argmin(counts[few] / least[few])])
                people = f"{counts[start]:,} people from {start}:00 to {start + width}:00"
                return Anomaly(False, f"{people}, never fewer than {least[start]:,} before: is the day complete?")
    return Anomaly(True, words)


def dominance(share: float, before: Sequence[float]) -> Anomaly:
    """The largest share of a day's events that one user has, against that of the days before, newest last."""
    usual = before[-HISTORY:]
    words = f"the busiest user has {share:.1%} of the events"
    if len(usual) < LEAST_HISTORY:
        return too_few(words, len(usual))
    bound = max(DOMINANT, USUAL * max(usual))
    holds = share <= bound
    return Anomaly(holds, words if holds else f"{words} (usual: at most {max(usual):.1%}): a bot, or a shared account?")
