"""The split by date: the future is judged on, never learned from."""

from __future__ import annotations

import pytest

from recsys.events import DAY_MS, HOUR_MS
from recsys.training_sets.split import PARTS, SplitError, split_by_date, split_by_hours


def days(n: int) -> list[str]:
    return [f"2026-03-{day:02d}" for day in range(1, n + 1)]


@pytest.mark.parametrize("n", [6, 7, 11, 31])
def test_every_day_is_in_one_part_and_parts_follow_in_time(n: int) -> None:
    split = split_by_date(days(n), validation_days=2, test_days=3)
    assert [*split.train, *split.validation, *split.test] == days(n)
    assert (len(split.validation), len(split.test)) == (2, 3)


def test_kuairand_is_split_as_the_reports_say() -> None:
    dates = [*(f"2022-04-{d}" for d in range(25, 31)), *(f"2022-05-0{d}" for d in range(1, 6))]
    split = split_by_date(reversed([*dates, *dates]), validation_days=2, test_days=3)
    assert split.validation == ("2022-05-01", "2022-05-02")
    assert split.test == ("2022-05-03", "2022-05-04", "2022-05-05")
    assert split.train[0] == "2022-04-25" and split.train[-1] == "2022-04-30"


@pytest.mark.parametrize("n", [0, 1, 5])
def test_too_few_days_is_one_line_that_names_the_settings(n: int) -> None:
    with pytest.raises(SplitError) as error:
        split_by_date(days(n), validation_days=2, test_days=3)
    message = str(error.value)
    assert "RECSYS_TEST_DAYS=3" in message and "RECSYS_VALIDATION_DAYS=2" in message and "at least 6" in message
    assert "\n" not in message


def test_a_part_ends_at_the_local_midnight_after_its_last_day() -> None:
    split = split_by_date(days(6), validation_days=2, test_days=3)
    utc = split.ends_at("train", utc_offset_ms=0)
    assert utc == 1_772_409_600_000  # 2026-03-02T00:00:00Z
    assert split.ends_at("train", utc_offset_ms=8 * HOUR_MS) == utc - 8 * HOUR_MS
    assert [split.ends_at(part, 0) - utc for part in PARTS] == [0, 2 * DAY_MS, 5 * DAY_MS]


def test_the_last_hours_of_the_last_day_can_be_held_out_alone() -> None:
    split = split_by_hours(days(5), 6)
    midnight = split.ends_at("test", 0)
    assert midnight == split_by_date(days(5), 1, 1).ends_at("test", 0)
    assert [midnight - split.ends_at(part, 0) for part in PARTS] == [12 * HOUR_MS, 6 * HOUR_MS, 0]
    assert split.train == tuple(days(5)) and split.validation == split.test == ("2026-03-05",)
    for hours in (0, 12):
        with pytest.raises(SplitError, match="1 to 11 hours"):
            split_by_hours(days(5), hours)
