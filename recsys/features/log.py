"""The event log and the items as columns of numpy: what the kernel and its runners read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.compiled import njit
from recsys.events import ITEM_TYPES, KINDS, SEARCH, key64


class LogError(ValueError):
    """A log or item table cannot be used; the message names the column or row."""


class EventLog(NamedTuple):
    """Events in the order of `position` (strictly increasing); every array has shape [n], int64 but for kind.

    A key of 0 means "none": nothing is kept for it. Instants are UTC milliseconds.
    """

    position: np.ndarray
    kind: np.ndarray  # int8, events.KINDS
    user_key: np.ndarray
    item_key: np.ndarray
    category_key: np.ndarray
    creator_key: np.ndarray
    shelf_key: np.ndarray
    occurred_at: np.ndarray
    received_at: np.ndarray
    watch_ms: np.ndarray

    @property
    def head(self) -> int:
        """Position of the last event, 0 when there is none."""
        return int(self.position[-1]) if len(self.position) else 0

    def take(self, chosen: np.ndarray | slice) -> EventLog:
        """Those events (a slice, mask or index)."""
        return EventLog(*(np.ascontiguousarray(column[chosen]) for column in self))

    def until(self, position: int) -> EventLog:
        """The events up to a position, as views of the same memory."""
        stop = int(np.searchsorted(self.position, position, side="right"))
        return EventLog(*(column[:stop] for column in self))


class Reads(NamedTuple):
    """Rows to read, in order of position; [n] int64 each."""

    user_key: np.ndarray
    item_key: np.ndarray
    category_key: np.ndarray
    creator_key: np.ndarray
    shelf_key: np.ndarray
    position: np.ndarray
    as_of: np.ndarray


class Rows(NamedTuple):
    """Reads of the past: each row asks for one user and one item at its own position and instant. [n] int64 each."""

    user_key: np.ndarray  # key64 of the id, as item_key
    item_key: np.ndarray
    position: np.ndarray  # the last one that the row sees
    as_of: np.ndarray  # where its windows end, UTC ms
    shelf_key: np.ndarray | None = None  # key64 of the shelf that it is read for; None where no row knows one


def empty() -> EventLog:
    """A log without events."""
    return EventLog(*(np.zeros(0, np.int8 if name == "kind" else np.int64) for name in EventLog._fields))


def searches(
    position: np.ndarray,
    user_key: np.ndarray,
    query_words: np.ndarray,
    occurred_at: np.ndarray,
    received_at: np.ndarray,
) -> EventLog:
    """Searches as events, in order of position: what was asked for stands as the item."""
    order, none = np.argsort(position, kind="stable"), np.zeros(len(position), np.int64)
    kind = np.full(len(position), KINDS[SEARCH], np.int8)
    return EventLog(position, kind, user_key, query_words, none, none, none, occurred_at, received_at, none).take(order)


def concat(logs: list[EventLog]) -> EventLog:
    """Logs one after the other; their positions must go on increasing."""
    return checked(EventLog(*(np.concatenate(columns) for columns in zip(*logs, strict=True)))) if logs else empty()


def merged(a: EventLog, b: EventLog) -> EventLog:
    """Two logs as one, in order of position."""
    both = EventLog(*(np.concatenate(pair) for pair in zip(a, b, strict=True)))
    return both.take(np.argsort(both.position, kind="stable")) if len(b.position) else a


def checked(log: EventLog) -> EventLog:
    """The same log.

    Raises:
        LogError: when positions do not strictly increase, which would make every read ambiguous.
    """
    if len(log.position) > 1:
        wrong = np.flatnonzero(np.diff(log.position) <= 0)
        if len(wrong):
            raise LogError(f"position {log.position[wrong[0] + 1]} does not follow {log.position[wrong[0]]} in the log")
    return log


def from_table(table: pa.Table) -> EventLog:
    """The log of a table of cleaned events, sorted by position here if it is not.

    Raises:
        LogError: a position twice or null.
    """
    if "kind_code" in table.column_names:
        kind = _ints(table, "kind_code").astype(np.int8)
    else:
        codes = pc.index_in(table["kind"], value_set=pa.array(list(KINDS)))
        kind = np.array(list(KINDS.values()), np.int8)[codes.combine_chunks().to_numpy(zero_copy_only=False)]
    position = _ints(table, "position")
    columns = {name: _ints(table, name) for name in EventLog._fields if name not in ("kind", "position", "watch_ms")}
    watch = pc.fill_null(table["watch_ms"], 0)
    log = EventLog(
        position=position,
        kind=kind,
        watch_ms=np.maximum(watch.combine_chunks().to_numpy(zero_copy_only=False).astype(np.int64), 0),
        **columns,
    )
    if np.any(np.diff(position) < 0):
        log = log.take(np.argsort(position, kind="stable"))
    return checked(log)


def _ints(table: pa.Table, name: str) -> np.ndarray:
    if name not in table.column_names:
        raise LogError(f"the event table has no column {name}: it must be cleaned events")
    column = table[name]
    if column.null_count:
        raise LogError(f"{column.null_count} events have no {name}: clean them first")
    chunk = column.combine_chunks()
    return np.ascontiguousarray(chunk.to_numpy(zero_copy_only=False)).astype(np.int64, copy=False)


class ItemColumns(NamedTuple):
    """Attributes of the items of some rows, [n] int64 each; 0 where unknown."""

    category_key: np.ndarray
    creator_key: np.ndarray
    item_type: np.ndarray
    duration_ms: np.ndarray
    published_at: np.ndarray


@dataclass(frozen=True)
class Items:
    """Items sorted by `item_key`, [n] int64 each."""

    item_key: np.ndarray
    columns: ItemColumns
    # What no feature reads, and the item tower does (recsys/retrieval/text.py):
    words: np.ndarray | None = None  # int64 [n, words], keys of what is said of each, 0 = none
    given: np.ndarray | None = None  # float32 [n, length], embeddings of a user's own model, zeros = none

    def lookup(self, item_keys: np.ndarray, as_of: np.ndarray | None = None) -> ItemColumns:
        """Attributes of each key, zeros for one that is not here; `as_of` takes no part (ItemHistory)."""
        out = np.zeros((len(ItemColumns._fields), len(item_keys)), np.int64)
        fill(self._table, np.ascontiguousarray(item_keys), out)
        return ItemColumns(*out)

    def known(self, item_keys: np.ndarray) -> np.ndarray:
        """bool[n]: whether each key is here."""
        return rows_in(self.item_key, item_keys) > 0  # asked for a user at a time: np.isin sorts both each time

    @cached_property
    def _table(self) -> np.ndarray:
        return table_of(np.stack([self.item_key, *self.columns], axis=1))


@dataclass(frozen=True)
class ItemHistory:
    """What items were from which instant on: m versions, sorted by `item_key` and `since`, int64[m] each."""

    item_key: np.ndarray
    since: np.ndarray  # UTC ms
    columns: ItemColumns
    is_available: np.ndarray  # no feature reads it

    def lookup(self, item_keys: np.ndarray, as_of: np.ndarray) -> ItemColumns:
        """Attributes of each key at its instant, zeros where nothing was known of it then."""
        out = np.zeros((len(ItemColumns._fields), len(item_keys)), np.int64)
        keys, instants = (np.ascontiguousarray(np.asarray(a, np.int64)) for a in (item_keys, as_of))
        fill_as_of(self._table, self.since, self._columns, keys, instants, out)
        return ItemColumns(*out)

    def offered(self, item_keys: np.ndarray, as_of: int) -> tuple[np.ndarray, np.ndarray]:
        """published_at int64[n] and whether it was available, bool[n], of each key at an instant; False if unknown."""
        out = np.zeros((len(ItemColumns._fields) + 1, len(item_keys)), np.int64)
        instants = np.full(len(item_keys), as_of, np.int64)
        fill_as_of(self._table, self.since, self._columns, np.ascontiguousarray(item_keys), instants, out)
        return ItemColumns(*out[:-1]).published_at, out[-1] != 0

    @cached_property
    def _columns(self) -> np.ndarray:
        return np.stack([*self.columns, self.is_available])

    @cached_property
    def _table(self) -> np.ndarray:
        keys, first, count = np.unique(self.item_key, return_index=True, return_counts=True)
        return table_of(np.stack([keys, first, first + count], axis=1))


Catalogue = Items | ItemHistory  # what a read of the past looks items up in


def table_of(rows: np.ndarray) -> np.ndarray:
    """Rows whose first number is their key, as an open-addressed table for `fill`: a binary search takes five times as
    long.
    """
    table = np.zeros((1 << max(4, int(2 * len(rows)).bit_length()), rows.shape[1]), np.int64)
    place(rows, table)
    return table


@njit(cache=True, nogil=True)
def place(rows, table):  # type: ignore[no-untyped-def]
    """Put rows (key first, never 0) into an open-addressed table."""
    mask = np.int64(len(table) - 1)
    for i in range(len(rows)):
        slot = rows[i, 0] & mask
        while table[slot, 0] != 0:
            slot = (slot + 1) & mask
        table[slot] = rows[i]


@njit(cache=True, nogil=True)
def fill(table, keys, out):  # type: ignore[no-untyped-def]
    """out[c, i] = column c of the row of key i; what is not in the table stays as it is."""
    mask = np.int64(len(table) - 1)
    for i in range(len(keys)):
        slot = keys[i] & mask
        while table[slot, 0] != 0 and table[slot, 0] != keys[i]:
            slot = (slot + 1) & mask
        if table[slot, 0] != 0:
            for c in range(len(out)):
                out[c, i] = table[slot, 1 + c]


@njit(cache=True, nogil=True)
def fill_as_of(table, since, columns, keys, instants, out):  # type: ignore[no-untyped-def]
    """out[c, i] = columns[c] of the last version of key i since its instant or before; `table` has key, first, stop."""
    mask = np.int64(len(table) - 1)
    for i in range(len(keys)):
        slot = keys[i] & mask
        while table[slot, 0] != 0 and table[slot, 0] != keys[i]:
            slot = (slot + 1) & mask
        if table[slot, 0] == 0:
            continue
        first, low, high = table[slot, 1], table[slot, 1], table[slot, 2]
        while low < high:
            middle = (low + high) // 2
            if since[middle] <= instants[i]:
                low = middle + 1
            else:
                high = middle
        if low > first:
            for c in range(len(out)):
                out[c, i] = columns[c, low - 1]


@njit(cache=True, nogil=True)
def row_in(known, key):  # type: ignore[no-untyped-def]
    """`rows_in` of one key."""
    at = np.searchsorted(known, key)
    return at + 1 if at < len(known) and known[at] == key else 0


def rows_in(known: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """int64[n]: 1 + the place of each key in `known` (sorted), 0 for one that is not there; rows of embeddings."""
    if not len(known):
        return np.zeros(len(keys), np.int64)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[at] == keys, at + 1, 0)


def no_items() -> Items:
    """A catalogue without items."""
    return Items(np.zeros(0, np.int64), ItemColumns(*(np.zeros(0, np.int64) for _ in ItemColumns._fields)))


def items_from_table(table: pa.Table) -> Items:
    """Items of a table in ITEM_SCHEMA (with or without the keys that cleaning adds). The last row of an id wins."""
    keys, columns = attributes(table)
    order = np.argsort(keys, kind="stable")
    last = np.ones(len(order), bool)
    last[:-1] = keys[order][1:] != keys[order][:-1]
    order = order[last]
    return Items(keys[order], ItemColumns(*(column[order] for column in columns)))


def history_of(table: pa.Table) -> ItemHistory:
    """Items of a table in ITEM_SCHEMA and `since` (UTC ms; from always without it), one row an item and instant."""
    keys, columns = attributes(table)
    has_since = "since" in table.column_names
    since = _ints(table, "since") if has_since else np.zeros(len(keys), np.int64)
    available = pc.fill_null(table["is_available"], True).to_numpy().astype(np.int64)
    order = np.lexsort((since, keys))
    return ItemHistory(keys[order], since[order], ItemColumns(*(column[order] for column in columns)), available[order])


def attributes(table: pa.Table) -> tuple[np.ndarray, ItemColumns]:
    """item_key and columns of each row of items (ITEM_SCHEMA), in its order."""
    return key64(table["item_id"].to_pylist()), ItemColumns(
        category_key=optional_keys(table["category"]),
        creator_key=optional_keys(table["creator_id"]),
        item_type=np.array([ITEM_TYPES.get(name, 0) for name in table["item_type"].to_pylist()], np.int64),
        duration_ms=_filled(table["duration_ms"]),
        published_at=_filled(table["published_at"]),
    )


def optional_keys(ids: pa.ChunkedArray) -> np.ndarray:
    """key64 of each id, 0 where it is null or empty."""
    values = ids.to_pylist()
    keys = key64(value or "" for value in values)
    keys[[not value for value in values]] = 0
    return keys


def names_to_keys(names: pa.ChunkedArray) -> np.ndarray:
    """`optional_keys` where few names stand in many rows."""
    encoded = names.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    keys = optional_keys(pa.chunked_array([encoded.dictionary.cast(pa.string())]))
    indices = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return np.append(keys, 0)[indices]


def _filled(column: pa.ChunkedArray) -> np.ndarray:
    filled = pc.fill_null(column, 0).combine_chunks().to_numpy(zero_copy_only=False)
    return np.maximum(np.ascontiguousarray(filled).astype(np.int64), 0)
