"""Key columns of cleaned tables: the int64 keys by which features, stores and indexes know users, items and kinds.

Written here and not in SQL, since no SQL engine has `events.key64`; on distinct ids it costs 0.1 s a million rows.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.events import (
    COUNTED_AS,
    EVENT_SCHEMA,
    ITEM_SCHEMA,
    ITEM_TYPES,
    KINDS,
    NOBODY,
    key64,
    query_key,
    whole_items,
)

_KEYS: Final = [(name, pa.int64()) for name in ("user_key", "item_key", "category_key", "creator_key", "shelf_key")]
_OF_ITEMS: Final = [field for field in EVENT_SCHEMA if field.name != "query"]  # searches are another table
CLEANED_EVENT_SCHEMA: Final = pa.schema([*_OF_ITEMS, *_KEYS, ("kind_code", pa.int8()), ("session_id", pa.string())])
IMPRESSION_SCHEMA: Final = pa.schema(
    [
        ("impression_id", pa.string()),  # event_key of the impression: an event_id may be there twice
        ("position", pa.int64()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        *_KEYS,
        ("occurred_at", pa.int64()),
        ("received_at", pa.int64()),
        ("request_id", pa.string()),
        ("shelf", pa.string()),
        ("device", pa.string()),
        ("slot", pa.int32()),
        ("date", pa.string()),
        ("session_id", pa.string()),
        ("click", pa.int8()),
        ("long_view", pa.int8()),
        ("like", pa.int8()),
        ("skip", pa.int8()),
        ("watch_ms", pa.int64()),
        ("outcome_received_at", pa.int64()),  # of the last outcome; null without any
        ("click_received_at", pa.int64()),
        ("long_view_received_at", pa.int64()),
        # null: the log says that it was shown; 1: an engagement implies it; below: drawn, at that rate (negatives.py)
        ("sampling_rate", pa.float64()),
    ]
)
SESSION_SCHEMA: Final = pa.schema(
    [
        ("session_id", pa.string()),
        ("user_id", pa.string()),
        ("user_key", pa.int64()),
        *((name, pa.int64()) for name in ("started_at", "ended_at", "events", "impressions", "clicks", "long_views")),
        ("watch_ms", pa.int64()),
        ("first_position", pa.int64()),
    ]
)
SEARCH_SCHEMA: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("event_id", "user_id")),
        ("user_key", pa.int64()),
        ("query", pa.string()),
        *((name, pa.int64()) for name in ("query_words", "position", "occurred_at", "received_at")),
        *((name, pa.string()) for name in ("request_id", "shelf", "device", "date", "event_key")),
    ]
)
QUARANTINE_SCHEMA: Final = pa.schema([*EVENT_SCHEMA, ("reason", pa.string())])
DUPLICATE_SCHEMA: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("event_id", "kind", "user_id", "item_id")),
        ("received_at", pa.int64()),
    ]
)
CLEANED_ITEM_SCHEMA: Final = pa.schema(
    [*ITEM_SCHEMA, *(key for key in _KEYS if key[0] not in ("user_key", "shelf_key")), ("item_type_code", pa.int64())]
)


class Attributes(Protocol):
    """Category and creator of items, int64 [n] each, 0 where unknown."""

    @property
    def category_key(self) -> np.ndarray: ...

    @property
    def creator_key(self) -> np.ndarray: ...


class Catalogue(Protocol):
    """What items were at an instant (recsys.features.log)."""

    def lookup(self, item_keys: np.ndarray, as_of: np.ndarray) -> Attributes:
        """Attributes of each key at its instant, UTC ms."""
        ...


def keys_of(ids: pa.ChunkedArray) -> np.ndarray:
    """key64 of each id, int64 [n]; 0 for null."""
    codes, dictionary = _dictionary(ids)
    return np.append(key64(dictionary), np.int64(0))[codes]


def keyed_items(items: pa.Table) -> pa.Table:
    """CLEANED_ITEM_SCHEMA of items, sorted by id; a category or creator that is not known has the key 0."""
    items = whole_items(items).sort_by("item_id")
    types = [ITEM_TYPES.get(name, 0) for name in items["item_type"].to_pylist()]
    columns = {
        "item_key": keys_of(items["item_id"]),
        "category_key": keys_of(items["category"]),
        "creator_key": keys_of(items["creator_id"]),
        "item_type_code": np.array(types, np.int64),
    }
    return _with(items, columns, CLEANED_ITEM_SCHEMA)


def keyed_events(rows: pa.Table, items: Catalogue, schema: pa.Schema, live: pa.Table | None = None) -> pa.Table:
    """Rows in that schema, whose key columns (of the user; of item and kind where it has them) are filled in.

    NOBODY has the key 0, for which no state is kept.

    Args:
        items: an event counts for the category and creator that its item had when it was received
        live: position and COUNTED_AS of events that an online store took: those count as it counted
    """
    somebody = pc.not_equal(rows["user_id"], NOBODY)
    columns = {"user_key": keys_of(pc.if_else(somebody, rows["user_id"], pa.scalar(None, pa.string())))}
    if "item_key" in schema.names:
        codes, dictionary = _dictionary(rows["item_id"])
        columns["item_key"] = np.append(key64(dictionary), np.int64(0))[codes]
        attributes = items.lookup(columns["item_key"], rows["received_at"].to_numpy())
        at = pc.index_in(rows["position"], live["position"].combine_chunks()) if live is not None else None
        for name in COUNTED_AS:
            columns[name] = getattr(attributes, name)
            if live is not None:
                counted = pc.take(live[name], at)
                columns[name] = pc.coalesce(counted, pa.array(columns[name])).to_numpy()
    if "shelf_key" in schema.names:
        columns["shelf_key"] = keys_of(rows["shelf"])
    if "query_words" in schema.names:
        columns["query_words"] = np.array([query_key(query) for query in rows["query"].to_pylist()], np.int64)
    if "kind_code" in schema.names:
        codes, dictionary = _dictionary(rows["kind"])
        columns["kind_code"] = np.array([KINDS[k] for k in dictionary] or [0], np.int8)[codes]
    return _with(rows, columns, schema)


def _dictionary(ids: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """Index of each value in the list of distinct ones, -1 for null."""
    encoded = pc.dictionary_encode(ids.cast(pa.string())).combine_chunks()
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return codes, encoded.dictionary.to_pylist()


def _with(table: pa.Table, columns: dict[str, np.ndarray], schema: pa.Schema) -> pa.Table:
    arrays = [pa.array(columns[f.name], f.type) if f.name in columns else table[f.name].cast(f.type) for f in schema]
    return pa.table(arrays, schema=schema)
