"""Which days are strays: groups that stand apart with next to no rows, and what lies after tomorrow."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from recsys.sources.days import stray_days
from recsys.sources.source import SourceError

TODAY = "2026-11-29"


def log(first: str, days: int, rows: int) -> dict[str, int]:
    return {(date.fromisoformat(first) + timedelta(days=n)).isoformat(): rows for n in range(days)}


def test_a_clock_of_another_year_strays_to_the_nearest_day() -> None:
    rows = log("2026-11-02", 8, 700)
    assert stray_days(rows | {"2001-01-01": 1}, TODAY) == {"2001-01-01": "2026-11-02"}
    assert stray_days(rows | {"2038-01-01": 1}, TODAY) == {"2038-01-01": "2026-11-09"}
    assert stray_days(rows, TODAY) == {}


def test_several_groups_on_both_sides_stray_each_by_itself() -> None:
    odd = {"1971-01-01": 2, "1980-01-06": 3, "1980-01-07": 1, "2001-01-01": 1, "2024-05-05": 4}
    assert set(stray_days(log("2026-11-02", 8, 700) | odd, TODAY)) == set(odd)
    assert set(stray_days(log("1997-09-20", 30, 700) | {"2012-01-01": 2}, TODAY)) == {"2012-01-01"}  # old is no fault


@pytest.mark.parametrize(("away", "strays"), [(365, False), (366, True)])
def test_a_year_and_a_day_is_the_bound_of_away(away: int, strays: bool) -> None:
    odd = (date(2025, 1, 1) - timedelta(days=away)).isoformat()
    assert bool(stray_days(log("2025-01-01", 8, 700) | {odd: 1}, TODAY)) is strays


@pytest.mark.parametrize(("rest", "strays"), [(999, False), (1000, True)])
def test_under_one_row_in_a_thousand_is_the_bound_of_few(rest: int, strays: bool) -> None:
    assert bool(stray_days({"2026-11-02": rest, "2001-01-01": 1}, TODAY)) is strays


def test_a_tiny_log_and_a_log_of_two_ages_keep_all_their_days() -> None:
    assert stray_days({"2001-01-01": 1}, TODAY) == {}
    assert stray_days({"2001-01-01": 3, "2026-11-02": 200}, TODAY) == {}
    assert stray_days(log("2001-01-01", 30, 500) | log("2026-11-02", 8, 500), TODAY) == {}


def test_tomorrow_is_a_day_and_the_day_after_it_is_none() -> None:
    rows = log("2026-11-25", 5, 100)
    assert stray_days(rows | {"2026-11-30": 50}, TODAY) == {}
    assert stray_days(rows | {"2026-12-01": 50}, TODAY) == {"2026-12-01": "2026-11-29"}
    assert stray_days(rows | {"2026-12-01": 50}) == {}  # a world of its own time
    with pytest.raises(SourceError, match="every row lies after tomorrow, the first on 2027-01-01"):
        stray_days(log("2027-01-01", 3, 10), TODAY)
