"""Train, validation and test by local calendar day, or by the last hours of the last day: the past is learned from, the
future is judged on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Final, Literal

from recsys.events import HOUR_MS

Part = Literal["train", "validation", "test"]
LEAST_SHARE: Final = 0.01  # of the median date's rows: fewer are no day to judge on
PARTS: Final[tuple[Part, ...]] = ("train", "validation", "test")


class SplitError(ValueError):
    """The data has too few days for the split that the settings ask for."""


@dataclass(frozen=True)
class Split:
    """Days (YYYY-MM-DD, in order) of each part. Every row of the data is in exactly one part, or on a day `left_out`:
    one too small to be judged on, after the last training day.

    `hours` cuts the last day: its last hours are test, as many before them validation, and the day is in all three.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    hours: int | None = None
    left_out: tuple[str, ...] = ()

    def days(self, part: Part) -> tuple[str, ...]:
        days: tuple[str, ...] = getattr(self, part)
        return days

    def ends_at(self, part: Part, utc_offset_ms: int) -> int:
        """First instant (UTC ms) after the part: local midnight after its last day. Labels of the part stop here."""
        last = datetime.strptime(self.days(part)[-1], "%Y-%m-%d").replace(tzinfo=UTC)
        end = int((last + timedelta(days=1)).timestamp() * 1000) - utc_offset_ms
        left = {"test": 0, "validation": 1, "train": 2}[part] if self.hours else 0
        return end - left * (self.hours or 0) * HOUR_MS

    def describe(self) -> dict[str, dict[str, str | int]]:
        """First day, last day and number of days of each part."""
        return {
            part: {"first_day": days[0], "last_day": days[-1], "days": len(days)}
            for part in PARTS
            for days in (self.days(part),)
        }


def split_by_date(rows: Mapping[str, int], validation_days: int, test_days: int) -> Split:
    """The last `test_days` large dates are test, the `validation_days` large ones before them validation, what is
    before those train. A date is large with LEAST_SHARE of the median date's rows: the ten rows that came in after the
    end of a log judge nobody.

    Args:
        rows: of each date.

    Raises:
        SplitError: when not even one day is left to train on.
    """
    days, large = sorted(rows), _large(rows)
    needed = validation_days + test_days + 1
    if len(large) < needed:
        span = f"{len(large)} days ({large[0]} to {large[-1]})" if large else "no day"
        few = f", beside {len(days) - len(large)} with hardly a row" if len(days) > len(large) else ""
        raise SplitError(
            f"the data has {span}{few}, but RECSYS_TEST_DAYS={test_days} and RECSYS_VALIDATION_DAYS={validation_days} "
            f"need at least {needed}: give more days, or lower the two"
        )
    test, validation = tuple(large[-test_days:]), tuple(large[-test_days - validation_days : -test_days])
    train = tuple(day for day in days if day < validation[0])
    return Split(train, validation, test, left_out=tuple(d for d in days if d not in {*train, *validation, *test}))


def _large(rows: Mapping[str, int]) -> list[str]:
    """Dates that can be judged on, in order."""
    least = LEAST_SHARE * median(rows.values()) if rows else 0.0
    return sorted(day for day, n in rows.items() if n >= least)


def split_by_hours(rows: Mapping[str, int], hours: int) -> Split:
    """The last `hours` of the last large date are test, as many before them validation: for a model that has to know
    today.

    Raises:
        SplitError: when nothing of the last day would be left to train on.
    """
    large = _large(rows)
    days = [day for day in sorted(rows) if day <= large[-1]] if large else []
    if not days or not 1 <= hours < 12:
        raise SplitError(f"{hours} hours of {len(days)} days cannot be held out: give a day of data, and 1 to 11 hours")
    later = tuple(day for day in sorted(rows) if day > days[-1])
    return Split(tuple(days), (days[-1],), (days[-1],), hours, left_out=later)
