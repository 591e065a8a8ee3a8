"""The tables that retrieval learns from and is replayed on."""

import pyarrow as pa

from recsys.features.log import EventLog, from_table
from recsys.lake import Lake
from recsys.training_sets.split import PARTS

COLUMNS = [
    "user_id",
    "user_key",
    "item_key",
    "position",
    "occurred_at",
    "date",
    "shelf",
    "device",
    "click",
    "long_view",
]


def split_tables(lake: Lake) -> tuple[pa.Table, ...]:
    """Train, validation and test impressions with their labels, without the features."""
    return tuple(lake.read(lake.table("training_sets", part), COLUMNS) for part in PARTS)


def events_before(lake: Lake, day: str | None = None) -> EventLog:
    """The log of all days, or of those before one."""
    days = [d for d in lake.days("cleaned", "events") if day is None or d < day]
    columns = [*(name for name in EventLog._fields if name != "kind"), "kind_code"]
    return from_table(lake.read_days(days, "cleaned", "events", columns=columns))
