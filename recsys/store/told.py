"""What the online log gives back to the lake: the events that a service took, and what it was told of items."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from recsys.events import COUNTED_AS, ITEM_SCHEMA, RAW_EVENT_SCHEMA
from recsys.store.journal import ITEM_RECORD, RECORD_RECEIVED, Journal, events_of

# A word about an item: its receipt and the position of its record.
TOLD_SCHEMA: Final = pa.schema([*ITEM_SCHEMA, ("valid_from", pa.int64()), ("position", pa.int64())])


def events_after(journal: Journal, position: int) -> pa.Table:
    """Events accepted live after a position, RAW_EVENT_SCHEMA, in order; without those that have left the journal."""
    cut = None
    while cut != (cut := journal.cut_at()):  # what leaves between the two readings would lack what it counted for
        raws = [record for record in journal.raw(position) if record[1] != ITEM_RECORD]
        if not raws:
            return RAW_EVENT_SCHEMA.empty_table()
        events = events_of(journal.records(position, raws[-1][0]))
    counted = zip(events.category_key.tolist(), events.creator_key.tolist(), strict=True)
    keys = dict(zip(events.position.tolist(), counted, strict=True))
    none = (None, None)  # a search counts for no item
    rows = [
        {**json.loads(raw), "position": at, **dict(zip(COUNTED_AS, keys.get(at, none), strict=True))}
        for at, _, raw in raws
    ]
    return pa.Table.from_pylist(rows, schema=RAW_EVENT_SCHEMA)


def told_items(
    journal: Journal, first: int, last: int, archived: Callable[[str], Mapping[str, Any] | None]
) -> pa.Table:
    """Every word about an item that arrived live, in order (TOLD_SCHEMA).

    Ahead of an item's first one stands, at position 0 and instant 0, what the archive had said before it, if anything.

    Args:
        first, last: positions of the first and last record of an item
        archived: what the archive said of an item when the store began
    """
    records = journal.records(first - 1, last)
    chosen = records.fields[:, 0] == ITEM_RECORD
    receipts = dict(
        zip(records.position[chosen].tolist(), records.fields[chosen, RECORD_RECEIVED].tolist(), strict=True)
    )
    # what a bootstrap found changed in an archive is a record too, but nobody told it: it has no instant
    changed: dict[str, Mapping[str, Any]] = {}
    told: list[dict[str, Any]] = []
    heard: set[str] = set()
    for position, _, raw in journal.raw(first - 1, last, only=ITEM_RECORD):
        item = json.loads(raw)
        name = item["item_id"]
        if not receipts[position]:
            changed[name] = item
            continue
        before = None if name in heard else changed.get(name) or archived(name)
        told += [{**before, "valid_from": 0, "position": 0}] if before else []
        told.append({**item, "valid_from": receipts[position], "position": position})
        heard.add(name)
    return pa.Table.from_pylist(told, schema=TOLD_SCHEMA)


def unheard(items: pa.Table, heard: pa.Table, position: int) -> pa.Table:
    """Those items of which nothing was told after a position; `heard`: TOLD_SCHEMA."""
    later = heard["item_id"].filter(pc.greater(heard["position"], position)).combine_chunks()
    return items.filter(pc.invert(pc.is_in(items["item_id"], value_set=later)))
