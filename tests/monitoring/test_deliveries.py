"""A day that comes half, twice or stops at noon is noticed; weekends and quiet nights are not."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.events import DAY_MS, HOUR_MS
from recsys.monitoring.deliveries import dominance, freshness, longest_silence, volume

USUAL = [1000, 1100, 900, 1050, 980, 700, 650, 1020]


@pytest.mark.parametrize("rows", [600, 1000, 1900])
def test_days_as_days_are(rows: int) -> None:
    assert volume(rows, USUAL).holds


@pytest.mark.parametrize(("rows", "words"), [(2100, "2.1"), (480, "0.4"), (0, "0.00 times")])
def test_half_a_day_two_days_and_none(rows: int, words: str) -> None:
    found = volume(rows, USUAL)
    assert not found.holds and words in found.words and "delivered once, and whole" in found.words


def test_where_days_differ_by_nature_they_may(recwarn: pytest.WarningsRecorder) -> None:
    assert volume(2500, [500, 2000, 400, 1900, 450, 2100]).holds


def test_too_short_a_history_says_so() -> None:
    found = volume(5, [1000, 1000])
    assert found.holds and "too few" in found.words


def test_a_delivery_that_stops_at_noon_is_noticed() -> None:
    start = 20_000 * DAY_MS
    whole = start + np.arange(0, 24, 0.1) * HOUR_MS
    assert freshness(whole.astype(np.int64), start, []).holds
    found = freshness(whole[:120].astype(np.int64), start, [HOUR_MS])
    assert not found.holds and "12.1 hours" in found.words and "is the day complete?" in found.words
    evening = freshness(whole[:180].astype(np.int64), start, [HOUR_MS] * 3)
    assert not evening.holds and "6.1 hours (usual: at most 2.0)" in evening.words
    assert longest_silence(np.zeros(0, np.int64), start) == DAY_MS


def test_quiet_nights_that_are_usual_stay_quiet() -> None:
    start = 20_000 * DAY_MS
    day_only = (start + np.arange(10, 23) * HOUR_MS).astype(np.int64)
    assert not freshness(day_only, start, []).holds
    assert freshness(day_only, start, [10 * HOUR_MS]).holds


@pytest.mark.parametrize(("share", "holds"), [(0.04, True), (0.07, True), (0.15, False)])
def test_a_bot_is_told_from_a_busy_person(share: float, holds: bool) -> None:
    found = dominance(share, [0.02, 0.04, 0.03])
    assert found.holds == holds and ("a bot" in found.words) != holds
    assert dominance(share, [0.02, 0.04]).holds
