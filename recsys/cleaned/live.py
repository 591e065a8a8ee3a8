"""The events that services were told of, as the lake holds them: what is here leaves the store's journal (ADR 11)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.cleaned.keyed import CLEANED_EVENT_SCHEMA, keyed_events
from recsys.cleaned.log import COLUMNS
from recsys.events import DAY_MS, RAW_EVENT_SCHEMA, SEARCH
from recsys.features.log import EventLog, from_table, no_items
from recsys.lake import Lake, LakeError

RAW = "raw", "events"


def given(lake: Lake, day: str) -> pa.Table:
    """The rows of a raw day that came from a service: those with a position (RAW_EVENT_SCHEMA).

    Raises:
        LakeError: its file cannot be read.
    """
    path = lake.day(day, *RAW)
    if not path.exists():
        return RAW_EVENT_SCHEMA.empty_table()
    try:
        rows = pq.read_table(path, filters=pc.field("position").is_valid())
    except (pa.ArrowInvalid, OSError) as error:
        raise LakeError(
            f"lake/raw/events/{day}.parquet is not readable Parquet ({error}), and may hold what the service was told: "
            "bring it back from a backup, or remove it, then run again"
        ) from None
    return pa.concat_tables([RAW_EVENT_SCHEMA.empty_table(), rows], promote_options="default")


def together(kept: pa.Table, live: pa.Table) -> pa.Table:
    """Rows of the lake and those of the journal, by position; where both have one, the journal's."""
    stays = pc.invert(pc.is_in(kept["position"], value_set=live["position"].combine_chunks()))
    both = pa.concat_tables([kept.filter(stays), live], promote_options="default")
    return both.sort_by("position") if kept.num_rows else live


def counts(lake: Lake) -> dict[str, int]:
    """Rows of each raw day that came from a service, without reading them."""
    return {day: n for day in lake.days(*RAW) if (n := _positions(lake.day(day, *RAW)))}


def set_aside(lake: Lake) -> pa.Table:
    """The rows that came from a service (RAW_EVENT_SCHEMA) and that lie in quarantine: the store counted them."""
    tables = [RAW_EVENT_SCHEMA.empty_table()]
    for day in lake.days("cleaned", "quarantine"):
        if _positions(lake.day(day, "cleaned", "quarantine")):
            aside = lake.read(lake.day(day, "cleaned", "quarantine"), ["position"])["position"].drop_null()
            rows = given(lake, day)
            tables.append(rows.filter(pc.is_in(rows["position"], value_set=aside.combine_chunks())))
    return pa.concat_tables(tables)


def counted(rows: pa.Table) -> EventLog:
    """The log of rows that came from a service (RAW_EVENT_SCHEMA), as the store counted them: without searches."""
    events = rows.filter(pc.not_equal(rows["kind"], SEARCH))
    schema = pa.schema([CLEANED_EVENT_SCHEMA.field(name) for name in COLUMNS])
    return from_table(keyed_events(events, no_items(), schema, events))


def keys_since(lake: Lake, instant: int, utc_offset_ms: int) -> Mapping[int, str]:
    """event_key of each row that came from a service, received on the local day of an instant (UTC ms) or later."""
    first = local_day(instant, utc_offset_ms)
    tables = [given(lake, day).select(["position", "event_key"]) for day in lake.days(*RAW) if day >= first]
    both = pa.concat_tables(tables) if tables else RAW_EVENT_SCHEMA.empty_table()
    return dict(zip(both["position"].to_pylist(), both["event_key"].to_pylist(), strict=True))


def holds(lake: Lake, positions: np.ndarray) -> np.ndarray:
    """Whether the lake was given the live events of those positions: bool[n] of int64[n]."""
    # an event is of a raw day no later than that of its position, and of an earlier one where the clock went back
    last = str(np.datetime64(int(positions.max()) >> 32, "D")) if len(positions) else ""
    held = np.zeros(len(positions), bool)
    for day in lake.days(*RAW):
        if day <= last and not held.all():
            held |= np.isin(positions, given(lake, day)["position"].to_numpy())
    return held


def local_day(instant: int, utc_offset_ms: int) -> str:
    """The day (YYYY-MM-DD) of an instant, UTC ms."""
    return str(np.datetime64((instant + utc_offset_ms) // DAY_MS, "D"))


def _positions(path: Path) -> int:
    """Rows with a position; of a file without statistics, or one that cannot be read, nothing is known."""
    try:
        about = pq.read_metadata(path)
    except (pa.ArrowInvalid, OSError):
        return 0
    place = about.schema.names.index("position") if "position" in about.schema.names else None
    if place is None:
        return 0
    groups = [about.row_group(number).column(place).statistics for number in range(about.num_row_groups)]
    return sum(group.num_values for group in groups if group is not None)
