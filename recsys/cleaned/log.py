"""The cleaned events of the lake as the log that features are computed from."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.events import is_live
from recsys.features.log import EventLog, empty, from_table, merged, searches
from recsys.lake import Lake

COLUMNS: Final = (*(name for name in EventLog._fields if name != "kind"), "kind_code")  # what `from_table` reads
_OF_SEARCHES: Final = ("position", "user_key", "query_words", "occurred_at", "received_at")


def read_log(lake: Lake, *, through: str | None = None, before: str | None = None) -> EventLog:
    """The log of all days, of those up to a day (YYYY-MM-DD, it included), or of those before one.

    Raises:
        LakeError: when there is no such day.
    """
    days = _days(lake, through, before)
    return merged(from_table(lake.read_days(days, "cleaned", "events", columns=COLUMNS)), _searches(lake, days))


def read_keys(lake: Lake, first: str = "") -> list[str]:
    """The event_key of each event and search received on a day (YYYY-MM-DD) or later, and of those live ones of before
    that may have said no instant: of these nobody could tell by their age whether they are repeats (ADR 4).
    """
    found: list[str] = []
    for table in ("events", "searches"):
        if days := [day for day in lake.days("cleaned", table) if day >= first]:
            found += lake.read_days(days, "cleaned", table, columns=["event_key"])["event_key"].to_pylist()
        before = [day for day in lake.days("cleaned", table) if day < first]
        for day in before if table == "events" else _searched(lake, before):  # one by one: of most rows no key is kept
            if not _has_live(lake.day(day, "cleaned", table)):
                continue
            columns = ["position", "occurred_at", "received_at"]
            position, occurred, received = (c.to_numpy() for c in lake.read(lake.day(day, "cleaned", table), columns))
            unsaid = is_live(position) & (occurred == received)
            if unsaid.any():
                keys = lake.read(lake.day(day, "cleaned", table), ["event_key"])["event_key"]
                found += keys.filter(pa.array(unsaid)).to_pylist()
    return found


def _has_live(path: Path) -> bool:
    """Whether a day's file has a live event. Those have its greatest positions, so the file's statistics tell it: in
    1 ms, however many events the day has.
    """
    about = pq.read_metadata(path)
    place = about.schema.names.index("position")
    told = [about.row_group(number).column(place).statistics for number in range(about.num_row_groups)]
    return any(one is None or not one.has_min_max or is_live(np.array([one.max])).all() for one in told)


def _searched(lake: Lake, days: list[str]) -> list[str]:
    """Those of some days whose searches have a place in the log: an earlier version of this code gave them none."""
    there = set(lake.days("cleaned", "searches"))
    return [
        day
        for day in days
        if day in there and "query_words" in pq.read_schema(lake.day(day, "cleaned", "searches")).names
    ]


def _searches(lake: Lake, days: list[str]) -> EventLog:
    """Searches of those days, as events whose item is what was asked for."""
    searched = _searched(lake, days)
    if not searched:
        return empty()
    table = lake.read_days(searched, "cleaned", "searches", columns=_OF_SEARCHES)
    return searches(**{name: np.asarray(table[name].to_numpy(), np.int64) for name in _OF_SEARCHES})


def _days(lake: Lake, through: str | None, before: str | None) -> list[str]:
    days = lake.days("cleaned", "events")
    return [day for day in days if (through is None or day <= through) and (before is None or day < before)]
