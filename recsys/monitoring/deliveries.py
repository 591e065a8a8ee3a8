"""Does a day's delivery look like the ones before: as many rows, arriving until the day's end, of as many people?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.events import DAY_MS, HOUR_MS

HISTORY: Final = 14  # days before that tell what is usual
LEAST_HISTORY: Final = 3
USUAL: Final = 2.0  # times as many, or as few: a quiet Sunday of KuaiRand has 0.8 of its Saturday
DEVIATIONS: Final = 6.0  # of the log volume; days that scatter more may scatter further
SILENCE_MS: Final = 8 * HOUR_MS  # before it is known what is usual: a small service sleeps at night
DOMINANT: Final = 0.05  # share of a day's events: below it a single user moves no model


@dataclass(frozen=True)
class Anomaly:
    """One claim about a delivery: does it hold, and in which words."""

    holds: bool
    words: str


def volume(rows: int, before: Sequence[int]) -> Anomaly:
    """Rows of a day against those of the days before it, newest last."""
    usual = np.asarray(before[-HISTORY:], np.float64)
    if len(usual) < LEAST_HISTORY:
        return Anomaly(True, f"{rows:,} rows; {len(usual)} days before are too few to say what is usual")
    logs = np.log1p(usual)
    middle = float(np.median(logs))
    scatter = 1.4826 * float(np.median(np.abs(logs - middle)))
    away = float(np.log1p(rows)) - middle
    holds = abs(away) <= max(np.log(USUAL), DEVIATIONS * scatter)
    words = f"{rows:,} rows, {np.exp(away):.2f} times the usual {np.expm1(middle):,.0f}"
    return Anomaly(holds, words if holds else f"{words}: was it delivered once, and whole?")


def freshness(received_at: np.ndarray, day_starts_at: int, silence_before: Sequence[int]) -> Anomaly:
    """The longest silence of a day, its ends included, against the longest of the days before it.

    Args:
        received_at: int64 [n], UTC ms, any order.
        day_starts_at: first instant of the local day, UTC ms.
        silence_before: `longest_silence` of days before.
    """
    found = longest_silence(received_at, day_starts_at)
    floor = HOUR_MS if len(silence_before) >= LEAST_HISTORY else SILENCE_MS
    bound = max(floor, 2 * max(silence_before[-HISTORY:], default=0))
    holds = found <= bound
    words = f"nothing arrived for {found / HOUR_MS:.1f} hours"
    return Anomaly(holds, words if holds else f"{words} (usual: at most {bound / HOUR_MS:.1f}): is the day complete?")


def dominance(share: float, before: Sequence[float]) -> Anomaly:
    """The largest share of a day's events that one user has, against that of the days before, newest last."""
    usual = before[-HISTORY:]
    words = f"the busiest user has {share:.1%} of the events"
    if len(usual) < LEAST_HISTORY:
        return Anomaly(True, f"{words}; {len(usual)} days before are too few to say what is usual")
    bound = max(DOMINANT, USUAL * max(usual))
    holds = share <= bound
    return Anomaly(holds, words if holds else f"{words} (usual: at most {max(usual):.1%}): a bot, or a shared account?")


def longest_silence(received_at: np.ndarray, day_starts_at: int) -> int:
    """Longest time (ms) of a day in which nothing arrived."""
    ends = (day_starts_at, day_starts_at + DAY_MS)
    within = np.clip(np.sort(received_at), *ends)
    return int(np.diff(np.concatenate([[ends[0]], within, [ends[1]]])).max())
