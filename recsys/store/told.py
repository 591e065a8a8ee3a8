"""What a service took and was told: the events, and the words about items, as journal, state and lake hand them on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
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


def words_of(journal: Journal, until: int) -> pa.Table:
    """The words about items that the journal has up to a position (TOLD_SCHEMA), in order."""
    records, raws = journal.records(0, until), journal.raw(0, until, only=ITEM_RECORD)
    receipt = dict(zip(records.position.tolist(), records.fields[:, RECORD_RECEIVED].tolist(), strict=True))
    rows = [{**json.loads(raw), "valid_from": receipt[at], "position": at} for at, _, raw in raws if at in receipt]
    return pa.Table.from_pylist(rows, TOLD_SCHEMA)


def together(*words: pa.Table) -> pa.Table:
    """Words of several places (TOLD_SCHEMA), each once, in order."""
    both = pa.concat_tables(words).combine_chunks()
    _, first = np.unique(both["position"].to_numpy(), return_index=True)
    return both.take(first)


def latest(words: pa.Table) -> pa.Table:
    """The items of words (TOLD_SCHEMA, in order) as the last of them says (ITEM_SCHEMA), as they first came."""
    items = {row["item_id"]: row for row in words.select(ITEM_SCHEMA.names).to_pylist()}
    return pa.Table.from_pylist(list(items.values()), ITEM_SCHEMA)


def told_items(words: pa.Table, archived: Callable[[str], Mapping[str, Any] | None]) -> pa.Table:
    """Every word about an item that arrived live, in order (TOLD_SCHEMA).

    Ahead of an item's first one stands, at position 0 and instant 0, what the archive had said before it, if anything.

    Args:
        words: TOLD_SCHEMA, in order
        archived: what the archive said of an item when the store began
    """
    # what a bootstrap found changed in an archive is a record too, but nobody told it: it has no instant
    changed: dict[str, Mapping[str, Any]] = {}
    told: list[Mapping[str, Any]] = []
    heard: set[str] = set()
    for word in words.to_pylist():
        name = word["item_id"]
        if not word["valid_from"]:
            changed[name] = word
            continue
        before = None if name in heard else changed.get(name) or archived(name)
        told += [{**before, "valid_from": 0, "position": 0}] if before else []
        told.append(word)
        heard.add(name)
    return pa.Table.from_pylist(told, schema=TOLD_SCHEMA)


def unheard(items: pa.Table, heard: pa.Table, position: int) -> pa.Table:
    """Those items of which nothing was told after a position; `heard`: TOLD_SCHEMA."""
    later = heard["item_id"].filter(pc.greater(heard["position"], position)).combine_chunks()
    return items.filter(pc.invert(pc.is_in(items["item_id"], value_set=later)))
