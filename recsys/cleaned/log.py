"""The cleaned events of the lake as the log that features are computed from."""

from __future__ import annotations

from typing import Final

from recsys.features.log import EventLog, from_table
from recsys.lake import Lake

COLUMNS: Final = (*(name for name in EventLog._fields if name != "kind"), "kind_code")  # what `from_table` reads


def read_log(lake: Lake, *, through: str | None = None, before: str | None = None) -> EventLog:
    """The log of all days, of those up to a day (YYYY-MM-DD, it included), or of those before one.

    Raises:
        LakeError: when there is no such day.
    """
    return from_table(lake.read_days(_days(lake, through, before), "cleaned", "events", columns=COLUMNS))


def read_keys(lake: Lake, first: str = "") -> list[str]:
    """The event_key of each event and search received on a day (YYYY-MM-DD) or later."""
    found: list[str] = []
    for table in ("events", "searches"):
        if days := [day for day in lake.days("cleaned", table) if day >= first]:
            found += lake.read_days(days, "cleaned", table, columns=["event_key"])["event_key"].to_pylist()
    return found


def _days(lake: Lake, through: str | None, before: str | None) -> list[str]:
    days = lake.days("cleaned", "events")
    return [day for day in days if (through is None or day <= through) and (before is None or day < before)]
