"""Nights of a store: what it took comes into a lake, its state begins anew from that, and its journal is cut."""

from __future__ import annotations

import functools

import pyarrow as pa
import pyarrow.compute as pc

from recsys.cleaned import live
from recsys.cleaned.versions import appended, as_of, heard, timeline
from recsys.events import DAY_MS
from recsys.lake import Lake
from recsys.sources.source import day_name
from recsys.store import archived
from recsys.store.archived import Cut
from recsys.store.known import horizon
from recsys.store.online import OnlineStore
from recsys.store.told import TOLD_SCHEMA


def taken(store: OnlineStore, lake: Lake) -> pa.Table:
    """Every event that the store ever took."""
    rows = store.tail(0)
    for day in lake.days(*live.RAW):
        rows = live.together(live.given(lake, day), rows)
    return rows


def into(lake: Lake, rows: pa.Table) -> None:
    """What the journal has, beside what the lake has, by day."""
    days = pc.divide(rows["received_at"], DAY_MS)
    for number in pc.unique(days).to_pylist():
        day = day_name(number)
        lake.write(live.together(live.given(lake, day), rows.filter(pc.equal(days, number))), lake.day(day, *live.RAW))


def words_into(lake: Lake, store: OnlineStore, items: pa.Table) -> pa.Table:
    """What was told of items, beside a catalogue that says `items`; what they are by then."""
    path = lake.table("raw", "item_versions")
    versions = appended(lake.read(path) if path.exists() else None, items, store.told_items(), 0)
    lake.write(versions, path)
    return as_of(timeline(versions), archived.NO_END)


def night(store: OnlineStore, lake: Lake, items: pa.Table, days: int, known_days: int = 10_000) -> Cut:
    """As the asset `online_state` does it behind `raw_events`, `raw_items` and `cleaned_events`. The lake's log is the
    store's own: what dbt makes of it is in test_metadata_days.py."""
    into(lake, store.tail(0))
    items = words_into(lake, store, items)
    given = live.keys_since(lake, 0, 0)
    log = store.export()[0]
    log = log.until(max(given, default=log.head))
    begin(store, lake, items, log, known_days)
    return cut(store, lake, days)


def cut(store: OnlineStore, lake: Lake, days: int) -> Cut:
    """The records of the journal that a lake has, but for so many days."""
    words = heard(lake)
    heard_until = max(words["position"].to_pylist(), default=0) if words is not None else 0
    keys = functools.partial(live.keys_since, lake, utc_offset_ms=0)
    return archived.cut(store.journal, store.fingerprint, keys, store.knows, heard_until, days)


def begin(store: OnlineStore, lake: Lake, items: pa.Table, log: archived.EventLog, known_days: int = 10_000) -> None:
    """The state anew from a log of that lake."""
    since = horizon(log, store.journal, known_days, archived.NO_END)
    words = heard(lake)
    store.bootstrap(
        log,
        items,
        log.head,
        event_keys=list(live.keys_since(lake, since, 0).values()),
        known_since=since,
        heard=TOLD_SCHEMA.empty_table() if words is None else words,
        judged=functools.partial(live.holds, lake),
    )
