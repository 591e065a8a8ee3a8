"""What an online store takes as an event, the words with which it refuses one, and what became of a batch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import xxhash

from recsys.events import DAY_MS, EVENT_SCHEMA, KINDS, SEARCH, event_key, key64, query_key, whole_items
from recsys.features.log import items_from_table
from recsys.sources.derived import Rules, implied_by
from recsys.store.hot import Hot
from recsys.store.item_rows import DURATION
from recsys.store.journal import ITEM_RECORD, RECORD, Entry, digest_of, key_of
from recsys.store.known import too_late
from recsys.vocabulary import INTEGERS, TEXTS, wrong

NO_RULES: Final = Rules()
Event = Mapping[str, Any]  # columns of EVENT_SCHEMA, without what the store gives
# What a caller may say, and its type; object where that is not asked.
_TYPES: Final[Mapping[str, type]] = {
    **dict.fromkeys(EVENT_SCHEMA.names, object),
    **dict.fromkeys(("kind", "query", *TEXTS), str),
    **dict.fromkeys(INTEGERS, int),
}


class Appended(NamedTuple):
    """What became of a batch."""

    accepted: int
    duplicates: int
    rejected: list[tuple[int, str]]  # index in the batch, reason
    position: int  # the log's head after it


def entries_of(
    hot: Hot, events: Sequence[Event], received_at: int, rules: Rules
) -> tuple[list[Entry], list[Entry], list[tuple[int, str]]]:
    """The records of the events that are taken, those of what they imply, and the others: place in `events`, reason."""
    told: list[Entry] = []
    implied: list[Entry] = []
    rejected: list[tuple[int, str]] = []
    for place, event in enumerate(events):
        entry = entry_of(hot, event, received_at)
        if isinstance(entry, str):
            rejected.append((place, entry))
            continue
        told.append(entry)
        if any(rules) and event["kind"] != SEARCH:
            duration_ms = int(hot.item_rows.matrix[hot.item_rows.of_id(event["item_id"]), DURATION])
            made = (entry_of(hot, more, received_at) for more in implied_by(event, duration_ms, rules))
            implied += [one for one in made if not isinstance(one, str)]
    return told, implied, rejected


def entry_of(hot: Hot, event: Event, received_at: int) -> Entry | str:
    """The record of an event, or why it is refused."""
    known = {}
    for name, value in event.items():
        if value is None:
            continue
        kind = _TYPES.get(name, type(None))
        if type(value) is not kind and kind is not object:  # a bool is an int to isinstance
            if kind is type(None):
                continue
            if kind is int:
                return f"{name} is not an integer"
            if not isinstance(value, str):
                return f"{name} is not text"
        known[name] = value
    said_at = known.get("occurred_at")
    known["occurred_at"] = occurred_at = received_at if said_at is None else said_at
    known["received_at"] = received_at
    broken = wrong(known)
    if broken is not None:
        return f"{broken.words} ({broken.reason})"
    if late := too_late(said_at, hot.known_since):
        return late
    row = 0 if event["kind"] == SEARCH else hot.item_rows.of_id(event["item_id"])
    if not row and event["kind"] != SEARCH:
        return "unknown item"
    known["occurred_at"] = occurred_at = min(occurred_at, received_at)
    key = event_key(event["event_id"], event["user_id"], event["kind"], event.get("item_id"), said_at)
    known["event_key"] = key
    if "date" not in known:
        known["date"] = _day((occurred_at + hot.utc_offset_ms) // DAY_MS)
    try:
        raw = orjson.dumps(known)  # a tenth of the time of json, which was a third of an append
    except TypeError as error:
        return f"not a plain record: {error}"
    item = hot.item_rows.matrix[row].tolist() if row else [query_key(event["query"]), 0, 0]
    shelf = event.get("shelf")
    fields = RECORD.pack(
        KINDS[event["kind"]],
        key_of(event["user_id"]),
        *item[:3],
        key_of(shelf) if shelf else 0,
        occurred_at,
        received_at,
        event.get("watch_ms") or 0,
    )
    return Entry(digest_of(key), fields + raw)


def item_entries(hot: Hot, table: pa.Table, received_at: int) -> list[Entry]:
    """The records of those items (ITEM_SCHEMA) of which something is new."""
    items, known = items_from_table(table), hot.known(table["item_id"].to_pylist())
    entries: list[Entry] = []
    for item in whole_items(table).to_pylist():
        # the whole row: a title, say, is no column of the state, but what the tower reads and users see
        if known.get(item["item_id"]) == item:
            continue
        known[item["item_id"]] = item
        key = key64([item["item_id"]])
        category, creator, kind, duration, published = (int(column[0]) for column in items.lookup(key))
        raw = json.dumps(item).encode()
        head = f"{hot.position} {len(entries)}".encode()  # an item may return to attributes it had, in a body too
        digest = xxhash.xxh3_128_digest(b"item\0" + head + b"\0" + raw)
        item_key = int(key[0])
        fields = RECORD.pack(ITEM_RECORD, kind, item_key, category, creator, 0, duration, received_at, published)
        entries.append(Entry(digest, fields + raw))
    return entries


@lru_cache(maxsize=64)
def _day(number: int) -> str:
    return str(np.datetime64(number, "D"))
