"""Which days a source has, and which of them are strays of a wrong clock: one rule, whatever the source.

A day is known by the local day of `received_at`. A stray day is no day of the log: its rows come with the nearest real
day, in whose quarantine they stand as `stray_day`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import pyarrow as pa

from recsys.sources.source import DayOfEvents, Source, SourceError, day_name, day_number

AWAY_DAYS: Final = 365  # a group of days further away than this from its neighbours stands apart
FEW: Final = 0.001  # share of the rows below which a group that stands apart is a wrong clock's


def stray_days(rows: Mapping[str, int], today: str | None = None) -> dict[str, str]:
    """Stray days and the real day that each of them goes with: the nearest, of two as near the earlier.

    Days over AWAY_DAYS apart are of different groups; a group with under FEW of the rows is stray, never the largest.
    So is what lies after tomorrow. The calendar year says nothing: times before 2000 are as good as any.

    Args:
        rows: rows by day
        today: local day of the clock; None where the source lives in its own time, as the simulator does

    Raises:
        SourceError: when nothing is left, since every row lies after tomorrow.
    """
    numbers = {day_number(day): n for day, n in rows.items() if n}
    ahead = {n for n in numbers if today is not None and n > day_number(today) + 1}
    here = sorted(numbers.keys() - ahead)
    if ahead and not here:
        raise SourceError(
            f"every row lies after tomorrow, the first on {day_name(min(ahead))}: correct the clock, or the unit of"
            " occurred_at and received_at (UTC milliseconds)"
        )
    groups: list[list[int]] = [here[:1]]
    for before, number in pairwise(here):
        if number - before > AWAY_DAYS:
            groups.append([])
        groups[-1].append(number)
    total = sum(numbers[n] for n in here)
    weight = [sum(numbers[n] for n in group) for group in groups]
    apart = [g for g, w in zip(groups, weight, strict=True) if w < FEW * total and w < max(weight)]
    strays = ahead.union(*apart)
    real = [n for n in here if n not in strays]
    return {day_name(n): day_name(min(real, key=lambda r: (abs(r - n), r))) for n in sorted(strays)}


def read_day(source: Source, day: str, strays: Mapping[str, str]) -> DayOfEvents:
    """The rows of a day, and after them those of the stray days that go with it."""
    parts = [source.read_day(d) for d in (day, *(stray for stray, home in strays.items() if home == day))]
    return DayOfEvents(
        events=pa.concat_tables([part.events for part in parts]),
        rejected=pa.concat_tables([part.rejected for part in parts]),
        rows_read=sum(part.rows_read for part in parts),
        rows_kept=sum(part.rows_kept for part in parts),
    )
