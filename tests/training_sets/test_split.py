"""The split by date: the future is judged on, never learned from."""

from __future__ import annotations

import pytest

from recsys.events import DAY_MS, HOUR_MS
from recsys.training_sets.split import PARTS, SplitError, split_by_date, split_by_hours


def days(n: int) -> dict[str, int]:
    return {f"2026-03-{day:02d}": 100 for day in range(1, n + 1)}


@pytest.mark.parametrize("n", [6, 7, 11, 31])
def test_every_day_is_in_one_part_and_parts_follow_in_time(n: int) -> None:
    split = split_by_date(days(n), validation_days=2, test_days=3)
    assert [*split.train, *split.validation, *split.test] == list(days(n))
    assert (len(split.validation), len(split.test)) == (2, 3)


def test_kuairand_is_split_as_the_reports_say() -> None:
    dates = [*(f"2022-04-{d}" for d in range(25, 31)), *(f"2022-05-0{d}" for d in range(1, 6))]
    split = split_by_date(dict.fromkeys(reversed(dates), 5), validation_days=2, test_days=3)
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


def test_stray_days_at_the_end_are_no_test_days() -> None:
    rows = {**days(8), "2026-03-05": 0, "2026-03-09": 0, "2026-07-01": 1, "2026-08-01": 1}
    rows = {day: n * 50 for day, n in rows.items()} | {"2026-08-02": 10}
    split = split_by_date(rows, validation_days=2, test_days=2)
    assert split.test == ("2026-07-01", "2026-08-01")  # of 50 rows beside a median of 5,000: small, and a day still
    assert split.validation == ("2026-03-07", "2026-03-08")
    assert split.left_out == ("2026-03-09", "2026-08-02")
    assert split.train[-1] == "2026-03-06" and "2026-03-05" in split.train  # a small day is learned from
    every = [*split.train, *split.validation, *split.test, *split.left_out]
    assert sorted(every) == sorted(rows)
    cut = split_by_hours(rows, 6)
    assert cut.test == ("2026-08-01",) and cut.left_out == ("2026-08-02",)


def test_days_with_hardly_a_row_do_not_make_a_split() -> None:
    with pytest.raises(
        SplitError, match=r"has 5 days .* beside 3 with hardly a row, but RECSYS_TEST_DAYS=3 .* least 6"
    ):
        split_by_date({**days(5), "2026-04-01": 0, "2026-04-02": 0, "2026-04-03": 0}, 2, 3)


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
