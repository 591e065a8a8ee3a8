"""Nights of a store: what it took comes into a lake, its state begins anew from that, and its journal is cut."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from recsys.cleaned import live
from recsys.events import DAY_MS
from recsys.lake import Lake
from recsys.sources.source import day_name
from recsys.store import archived
from recsys.store.archived import Cut
from recsys.store.online import OnlineStore


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


def night(store: OnlineStore, lake: Lake, items: pa.Table, days: int) -> Cut:
    """As the asset `online_state` does it behind `raw_events` and `cleaned_events`. The lake's log is the store's own:
    what dbt makes of it is in test_metadata_days.py."""
    into(lake, store.tail(0))
    given = live.keys_since(lake, 0, 0)
    log = store.export()[0]
    log = log.until(max(given, default=log.head))
    begin(store, lake, items, log)
    return archived.cut(
        store.journal, store.fingerprint, lambda since: live.keys_since(lake, since, 0), store.knows, days
    )


def begin(store: OnlineStore, lake: Lake, items: pa.Table, log: archived.EventLog) -> None:
    """The state anew from a log of that lake."""
    keys = live.keys_since(lake, 0, 0).values()
    store.bootstrap(
        log, items, log.head, event_keys=list(keys), told_until=0, judged=lambda positions: live.holds(lake, positions)
    )
