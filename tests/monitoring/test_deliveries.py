"""A day that comes half, twice or stops at noon is noticed; weekends and quiet nights are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.events import DAY_MS, HOUR_MS
from recsys.lake import Lake
from recsys.monitoring.deliveries import Arrivals, dominance, freshness, volume

USUAL = [1000, 1100, 900, 1050, 980, 700, 650, 1020]


@pytest.mark.parametrize("rows", [600, 1000, 1900])
def test_days_as_days_are(rows: int) -> None:
    assert volume(rows, USUAL).holds


@pytest.mark.parametrize(("rows", "words"), [(2100, "2.1"), (480, "0.4"), (0, "0.00 times")])
def test_half_a_day_two_days_and_none(rows: int, words: str) -> None:
    anomaly = volume(rows, USUAL)
    assert not anomaly.holds and words in anomaly.words and "delivered once, and whole" in anomaly.words


def test_where_days_differ_by_nature_they_may(recwarn: pytest.WarningsRecorder) -> None:
    assert volume(2500, [500, 2000, 400, 1900, 450, 2100]).holds


def test_too_short_a_history_says_so() -> None:
    anomaly = volume(5, [1000, 1000])
    assert anomaly.holds and "too few" in anomaly.words


START = 20_000 * DAY_MS


def arrivals(hours: np.ndarray, people: int = 1000) -> Arrivals:
    return Arrivals.of((START + hours * HOUR_MS).astype(np.int64), np.arange(len(hours)) % people, START)


def test_a_delivery_that_stops_at_noon_is_noticed() -> None:
    whole = np.arange(0, 24, 0.1)
    assert freshness(arrivals(whole), []).holds
    anomaly = freshness(arrivals(whole[:120]), [arrivals(whole)])
    assert not anomaly.holds and "12.1 hours" in anomaly.words and "is the day complete?" in anomaly.words
    evening = freshness(arrivals(whole[:180]), [arrivals(whole)] * 3)
    assert not evening.holds and "6.1 hours (usual: at most 1.0)" in evening.words
    assert arrivals(np.zeros(0)).silence == DAY_MS


def test_quiet_nights_that_are_usual_stay_quiet() -> None:
    day_only = arrivals(np.arange(10, 23))
    assert not freshness(day_only, []).holds
    assert freshness(day_only, [day_only]).holds


def test_an_evening_lost_is_noticed_though_nights_are_as_quiet_and_stragglers_came() -> None:
    usual = np.arange(6 * 20, 24 * 20) / 20  # twenty people an hour from six on
    before = [arrivals(usual)] * 3
    stragglers = np.concatenate([usual[usual < 18], [18.2, 19.1, 19.9]])
    anomaly = freshness(arrivals(stragglers), before)
    assert anomaly.words == "0 people from 20:00 to 21:00, never fewer than 20 before: is the day complete?"
    assert not anomaly.holds
    assert freshness(arrivals(stragglers), before[:2]).holds  # two days do not say what is usual


def test_fewer_people_than_ever_are_noticed_over_hours_where_one_hour_says_nothing() -> None:
    thin = np.arange(6 * 5, 24 * 5) / 5  # five an hour: one empty hour is chance, six are not
    assert freshness(arrivals(thin[(thin < 20) | (thin >= 21)]), [arrivals(thin)] * 3).holds
    assert not freshness(arrivals(thin[thin < 18]), [arrivals(thin)] * 3).holds
    two = [arrivals(np.arange(6 * 20, 24 * 20) / 20, people=2)] * 3  # as many rows, but of two people
    assert freshness(arrivals(np.arange(6 * 20, 18 * 20) / 20, people=2), two).holds


def test_rows_that_name_nobody_arrived_all_the_same(tmp_path: Path) -> None:
    from recsys_assets.defs.borders.deliveries import _arrivals

    lake = Lake(tmp_path)
    rows = pa.table({"received_at": [1, None, 3, 5], "user_id": ["a", "a", None, "b"]})
    lake.write(rows, lake.day("2026-01-05", "raw", "events"))
    received_at, user = _arrivals(lake, "2026-01-05")
    assert received_at.tolist() == [1, 3, 5] and user.tolist() == [0, -1, 1]


@pytest.mark.parametrize(("share", "holds"), [(0.04, True), (0.07, True), (0.15, False)])
def test_a_bot_is_told_from_a_busy_person(share: float, holds: bool) -> None:
    anomaly = dominance(share, [0.02, 0.04, 0.03])
    assert anomaly.holds == holds and ("a bot" in anomaly.words) != holds
    assert dominance(share, [0.02, 0.04]).holds
