"""Key columns of cleaned tables: the int64 keys by which features, stores and indexes know users, items and kinds.

Written here and not in SQL, since no SQL engine has `events.key64`; on distinct ids it costs 0.1 s a million rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.events import EVENT_SCHEMA, ITEM_SCHEMA, ITEM_TYPES, KINDS, NOBODY, key64

_KEYS: Final = [(name, pa.int64()) for name in ("user_key", "item_key", "category_key", "creator_key", "shelf_key")]
CLEANED_EVENT_SCHEMA: Final = pa.schema([*EVENT_SCHEMA, *_KEYS, ("kind_code", pa.int8()), ("session_id", pa.string())])
IMPRESSION_SCHEMA: Final = pa.schema(
    [
        ("impression_id", pa.string()),  # event_id of the impression
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


@dataclass(frozen=True)
class ItemKeys:
    """Category and creator of each item, as keys."""

    by_item: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, items: pa.Table) -> ItemKeys:
        """From the cleaned items."""
        ids, categories, creators = (items[name].to_pylist() for name in ("item_id", "category_key", "creator_key"))
        return cls(dict(zip(ids, zip(categories, creators, strict=True), strict=True)))


def keys_of(ids: pa.ChunkedArray) -> np.ndarray:
    """key64 of each id, int64 [n]; 0 for null."""
    codes, dictionary = _dictionary(ids)
    return np.append(key64(dictionary), np.int64(0))[codes]


def keyed_items(items: pa.Table) -> pa.Table:
    """CLEANED_ITEM_SCHEMA of items, sorted by id; a category or creator that is not known has the key 0."""
    items = items.sort_by("item_id")
    types = [ITEM_TYPES.get(name, 0) for name in items["item_type"].to_pylist()]
    columns = {
        "item_key": keys_of(items["item_id"]),
        "category_key": keys_of(items["category"]),
        "creator_key": keys_of(items["creator_id"]),
        "item_type_code": np.array(types, np.int64),
    }
    return _with(items, columns, CLEANED_ITEM_SCHEMA)


def keyed_events(rows: pa.Table, items: ItemKeys, schema: pa.Schema) -> pa.Table:
    """Rows in that schema, whose key columns (of the user; of item and kind where it has them) are filled in.

    NOBODY has the key 0, for which no state is kept.
    """
    somebody = pc.not_equal(rows["user_id"], NOBODY)
    columns = {"user_key": keys_of(pc.if_else(somebody, rows["user_id"], pa.scalar(None, pa.string())))}
    if "item_key" in schema.names:
        codes, dictionary = _dictionary(rows["item_id"])
        pairs = np.array([*(items.by_item.get(i, (0, 0)) for i in dictionary), (0, 0)], np.int64)[codes]
        columns["item_key"] = np.append(key64(dictionary), np.int64(0))[codes]
        columns["category_key"], columns["creator_key"] = pairs.T
    if "shelf_key" in schema.names:
        columns["shelf_key"] = keys_of(rows["shelf"])
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
