"""The cleaned events of the lake as the log that features are computed from."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow.parquet as pq

from recsys.features.log import EventLog, empty, from_table, merged, searches
from recsys.lake import Lake

COLUMNS: Final = (*(name for name in EventLog._fields if name != "kind"), "kind_code")  # what `from_table` reads
_OF_SEARCHES: Final = ("position", "user_key", "query_key", "occurred_at", "received_at")


def read_log(lake: Lake, *, through: str | None = None, before: str | None = None) -> EventLog:
    """The log of all days, of those up to a day (YYYY-MM-DD, it included), or of those before one.

    Raises:
        LakeError: when there is no such day.
    """
    days = _days(lake, through, before)
    return merged(from_table(lake.read_days(days, "cleaned", "events", columns=COLUMNS)), _searches(lake, days))


def read_keyed_log(lake: Lake) -> tuple[EventLog, list[str]]:
    """The log of all days, and the event_keys of its events, in an order of their own."""
    days = _days(lake, None, None)
    table = lake.read_days(days, "cleaned", "events", columns=[*COLUMNS, "event_key"])
    keys = table["event_key"].to_pylist()
    for day in _searched(lake, days):
        keys += lake.read(lake.day(day, "cleaned", "searches"), ["event_key"])["event_key"].to_pylist()
    return merged(from_table(table), _searches(lake, days)), keys


def _searches(lake: Lake, days: list[str]) -> EventLog:
    """Searches of those days, as events whose item is what was asked for; without those that an earlier version of
    this code gave no place in the log.
    """
    searched = [
        day
        for day in _searched(lake, days)
        if "query_key" in pq.read_schema(lake.day(day, "cleaned", "searches")).names
    ]
    if not searched:
        return empty()
    table = lake.read_days(searched, "cleaned", "searches", columns=_OF_SEARCHES)
    columns = {name: np.asarray(table[name].to_numpy(), np.int64) for name in _OF_SEARCHES}
    return searches(**columns)


def _searched(lake: Lake, days: list[str]) -> list[str]:
    there = set(lake.days("cleaned", "searches"))
    return [day for day in days if day in there]


def _days(lake: Lake, through: str | None, before: str | None) -> list[str]:
    days = lake.days("cleaned", "events")
    return [day for day in days if (through is None or day <= through) and (before is None or day < before)]
