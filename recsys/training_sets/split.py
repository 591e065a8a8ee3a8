"""Train, validation and test by local calendar day, or by the last hours of the last day: the past is learned from, the
future is judged on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from recsys.events import HOUR_MS

Part = Literal["train", "validation", "test"]
PARTS: Final[tuple[Part, ...]] = ("train", "validation", "test")


class SplitError(ValueError):
    """The data has too few days for the split that the settings ask for."""


@dataclass(frozen=True)
class Split:
    """Days (YYYY-MM-DD, in order) of each part. Every row of the data is in exactly one part.

    `hours` cuts the last day: its last hours are test, as many before them validation, and the day is in all three.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    hours: int | None = None

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


def split_by_date(dates: Iterable[str], validation_days: int, test_days: int) -> Split:
    """The last `test_days` distinct dates are test, the `validation_days` before them validation, the rest train.

    Raises:
        SplitError: when not even one day is left to train on.
    """
    days = sorted(set(dates))
    needed = validation_days + test_days + 1
    if len(days) < needed:
        span = f"{len(days)} days ({days[0]} to {days[-1]})" if days else "no day"
        raise SplitError(
            f"the data has {span}, but RECSYS_TEST_DAYS={test_days} and RECSYS_VALIDATION_DAYS={validation_days} need "
            f"at least {needed}: give more days, or lower the two"
        )
    test_from, validation_from = len(days) - test_days, len(days) - test_days - validation_days
    return Split(tuple(days[:validation_from]), tuple(days[validation_from:test_from]), tuple(days[test_from:]))


def split_by_hours(dates: Iterable[str], hours: int) -> Split:
    """The last `hours` of the last date are test, as many before them validation: for a model that has to know today.

    Raises:
        SplitError: when nothing of the last day would be left to train on.
    """
    days = sorted(set(dates))
    if not days or not 1 <= hours < 12:
        raise SplitError(f"{hours} hours of {len(days)} days cannot be held out: give a day of data, and 1 to 11 hours")
    return Split(tuple(days), (days[-1],), (days[-1],), hours)
