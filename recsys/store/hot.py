"""The state that one process of an online store reads from: a snapshot, and the journal's tail applied to it.

A snapshot is a few flat arrays. With LMDB they are files that every process maps, copy on write: what a process holds
of its own are the pages that changed since, and opening them reads nothing, however long the log is.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.events import DAY_MS, ITEM_SCHEMA, LIVE_RANK, first_position, key64, whole_items
from recsys.features import fold, kernel, sweep
from recsys.features.catalog import AGGREGATES, FEATURE_DEFINITIONS, USER, VIEWS
from recsys.features.fold import State
from recsys.features.judged import Judgements
from recsys.features.layout import (
    G_TYPE,
    RECENT,
    V_FIRST_GROUP,
    V_FIRST_OUT,
    V_LAST_GROUP,
    V_LAST_OUT,
    V_WIDTH,
    Program,
)
from recsys.features.log import EventLog, ItemColumns, Items, Reads, attributes, concat, empty, items_from_table
from recsys.store.errors import StoreCorrupt
from recsys.store.item_rows import ItemRows
from recsys.store.journal import ITEM_RECORD, Journal, Records, events_of, records_of, unbroken
from recsys.store.known import Known
from recsys.store.past import Read
from recsys.store.told import TOLD_SCHEMA

WARMED: Final = 4096  # items read at once
OWED: Final = 1_000  # records kept for the next read, at most
RECORD_COLUMNS: Final = 8  # of Hot.item_records
_USER: Final = next(v for v, view in enumerate(VIEWS) if view.entity == USER)
_GROUPS: Final = range(sweep.PROGRAM.views[_USER, V_FIRST_GROUP], sweep.PROGRAM.views[_USER, V_LAST_GROUP])
_RECENT: Final = _USER, next(g for g in _GROUPS if sweep.PROGRAM.groups[g, G_TYPE] == RECENT)  # of a user's history
LOG: Final = ("log", "kinds")  # the arrays that only a replay reads whole


@functools.lru_cache(maxsize=32)
def _reading(places: tuple[int, ...]) -> Program:
    """The program that reads the aggregates of those features, and no other view."""
    asked = {name for place in places for name in FEATURE_DEFINITIONS[place].inputs}
    views = sweep.PROGRAM.views.copy()
    for view in views:
        if asked.isdisjoint(AGGREGATES[view[V_FIRST_OUT] : view[V_LAST_OUT]]):
            view[V_WIDTH] = 0
    return sweep.PROGRAM._replace(views=views)


class Hot:
    """A snapshot's arrays and what came since. OnlineStore applies the tail, under its lock.

    Raises:
        StoreCorrupt: the arrays are those of another version of this code.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = arrays
        try:
            self._take(arrays)
            self.item_rows = ItemRows(arrays["item_matrix"], arrays["item_table"])
            self._told, self._words = arrays["item_records"], arrays["words"]
            self.position, self.utc_offset_ms, self.known_since = arrays["about"].tolist()
        except (KeyError, ValueError) as missing:
            raise StoreCorrupt(
                f"the online store's snapshot is of another version (its {missing}): materialize online_state"
            ) from None
        self.applied = 0  # records since the snapshot
        self._owed: list[tuple[int, bytes]] = []  # position and fields of the records that come next
        self._told_since: list[tuple[int, ...]] = []  # item_records of the tail
        self._words_since: list[Mapping[str, Any]] = []  # TOLD_SCHEMA
        self._late_since: dict[str, Mapping[str, Any]] = {}  # item_id -> ITEM_SCHEMA

    def _take(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.state = fold.mapped(arrays["table"], arrays["cells"], arrays["used"])
        user, position, item, at = arrays["verdicts"]
        self.judgements = Judgements(user, position, item, at, arrays["verdict_kinds"])
        self.digests = arrays["digests"]
        self.logs = log_of(arrays)

    # What few calls ask for is unpacked when they do.

    @cached_property
    def items_table(self) -> pa.Table:
        """ITEM_SCHEMA, as the catalogue first said them: what was said later are records."""
        return unpacked(self._arrays["items"])

    @cached_property
    def base_items(self) -> Items:
        """Attributes of `items_table`."""
        return items_from_table(self.items_table)

    @cached_property
    def _late(self) -> dict[str, Mapping[str, Any]]:
        rows = unpacked(self._words, TOLD_SCHEMA).select(ITEM_SCHEMA.names).to_pylist()
        return {row["item_id"]: row for row in rows}

    @cached_property
    def _base_row(self) -> dict[str, int]:
        return {item_id: row for row, item_id in enumerate(self.items_table["item_id"].to_pylist())}

    @property
    def item_records(self) -> np.ndarray:
        """int64[n, 8] of the items recorded in the log so far: position, item_key, the columns, received_at."""
        return np.concatenate([self._told, np.array(list(self._told_since), np.int64).reshape(-1, RECORD_COLUMNS)])

    def words(self) -> pa.Table:
        """What was said of items since the catalogue first said them (TOLD_SCHEMA), in order: a row a record."""
        since = pa.Table.from_pylist(list(self._words_since), TOLD_SCHEMA)
        return pa.concat_tables([unpacked(self._words, TOLD_SCHEMA), since])

    @property
    def ids(self) -> Known:
        """The ids of the archive's events."""
        return Known(self.digests, self.known_since)

    @property
    def n_item_records(self) -> int:
        """Their number."""
        return len(self._told) + len(self._told_since)

    def late(self) -> list[Mapping[str, Any]]:
        """The items recorded in the log, as they are now (ITEM_SCHEMA), in the order in which they first came."""
        return list((self._late | self._late_since).values())

    def known(self, item_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Rows of ITEM_SCHEMA, as they are known now, of those ids that are here."""
        row_of = {name: self._late_since.get(name) or self._late.get(name) for name in item_ids}
        row_of |= self.bases([name for name, row in row_of.items() if row is None])
        return {name: row for name, row in row_of.items() if row is not None}

    def base(self, item_id: str) -> Mapping[str, Any] | None:
        """One of `bases`."""
        return self.bases([item_id]).get(item_id)

    def bases(self, item_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """What the catalogue first said (ITEM_SCHEMA) of those ids that it had."""
        rows = [row for row in map(self._base_row.get, item_ids) if row is not None]
        taken = self.items_table.take(pa.array(rows, pa.int64())).to_pylist() if rows else []
        return {str(row["item_id"]): row for row in taken}

    @property
    def about(self) -> tuple[int, int, int]:
        """Position, offset of the local day, and from when on ids are known: of a snapshot of what is here."""
        return self.position, self.utc_offset_ms, self.known_since

    def floor(self, received_at: int) -> int:
        """The least position of an event that is received at an instant (UTC ms)."""
        return first_position((received_at + self.utc_offset_ms) // DAY_MS) + LIVE_RANK

    def catch_up(self, journal: Journal, until: int) -> None:
        """Apply what the journal took since, up to a position.

        Raises:
            JournalCut: some of it has left; nothing of it was applied.
        """
        self.settle()
        if (after := self.position) >= until:
            return
        records = journal.records(after, until)
        told = records.fields[:, 0] == ITEM_RECORD
        raws = journal.raw(after, until, only=ITEM_RECORD) if told.any() else []  # first: it may fail
        unbroken(journal, after)
        self.apply(records)
        for (position, _, raw), fields in zip(raws, records.fields[told].tolist(), strict=True):
            _, item_type, key, category, creator, _, duration, received, published = fields
            columns = (key, category, creator, item_type, duration, published)
            item = json.loads(raw)
            self._late_since[str(item["item_id"])] = item
            self._words_since.append({**item, "valid_from": received, "position": position})
            self._told_since.append((position, *columns, received))
            self.item_rows.put(columns)
        self.position = until

    @property
    def foreseen(self) -> int:
        """Position up to which the journal has nothing that is not here, applied or owed."""
        return self._owed[-1][0] if self._owed else self.position

    def owe(self, before: int, records: Sequence[tuple[int, bytes]]) -> None:
        """Keep the records behind a position for whoever reads next, if they come next: nothing is to be read back.

        An event alone costs .16 ms to apply, of the .38 of its append, and .03 among a thousand.
        """
        if before == self.foreseen:
            self._owed += records
        if len(self._owed) >= OWED:
            self.settle()

    def settle(self) -> None:
        """Apply what is owed."""
        if self._owed:
            owed, self._owed = self._owed, []
            self.apply(records_of(*zip(*owed, strict=True)))

    def apply(self, records: Records) -> None:
        """The next records of the log, as far as they are events."""
        events = events_of(records)
        if len(events.position):
            self._fold(events)
            self.logs.append(events)
            # pieces of like size are joined: n events make log2(n) pieces at most, and each is copied as often
            while len(self.logs) > 2 and 2 * len(self.logs[-1].position) >= len(self.logs[-2].position):
                self.logs[-2:] = [concat(self.logs[-2:])]
        self.applied += len(records.position)
        if len(records.position):
            self.position = int(records.position[-1])

    def _fold(self, events: EventLog) -> None:
        self.state = fold.applied(sweep.PROGRAM, self.state, events)
        self.judgements.add(events)

    def has(self, digests: Sequence[bytes]) -> np.ndarray:
        """bool[n]: whether the archive that the snapshot came from held each event, within the horizon."""
        return self.ids.has(digests)

    def log(self) -> EventLog:
        """All events. It copies them, once a tail: for replays."""
        if len(self.logs) > 1:
            self.logs = [concat(self.logs)]
        return self.logs[0] if self.logs else empty()

    def pieces(self) -> list[EventLog]:
        """All events, as they lie here."""
        return list(self.logs)

    def lacking(
        self, user_key: int, rows: np.ndarray, strange: np.ndarray, shelf_key: int
    ) -> Callable[[], None] | None:
        """What gets what a read lacks, to be called without a lock before it is tried again; None: it lacks nothing."""
        return None

    def read(
        self,
        rows: np.ndarray,
        strange: np.ndarray,
        user_key: int,
        as_of: int,
        shelf_key: int,
        places: tuple[int, ...] | None = None,
    ) -> tuple[Read, tuple[Sequence[EventLog], Reads, np.ndarray] | None]:
        """A read at the head; and the rows of it that only the log can tell, None where the state tells all.

        Args:
            places: of the features that are asked of it: other aggregates than theirs are not read. None: all
        """
        n, program = len(rows), sweep.PROGRAM if places is None else _reading(places)
        out = np.empty((n, len(AGGREGATES)), np.int64)
        columns, few, recent = kernel.read_request(
            program, self.state, self.item_rows.matrix, rows, strange, user_key, shelf_key, as_of, _RECENT, out
        )
        inexact = None
        if len(few):  # an instant so far behind the log that its tiles are gone: ask the log itself
            users, positions, instants = np.full(n, user_key), np.full(n, self.position), np.full(n, as_of)
            reads = Reads(users, columns[0], columns[1], columns[2], np.full(n, shelf_key), positions, instants)
            inexact = (self.pieces(), reads, few)
        read = Read(
            self.position,
            as_of,
            user_key,
            columns[0],
            out,
            ItemColumns(*columns[1:]),
            rows > 0,
            np.ascontiguousarray(recent[:, 0]),
            recent[:, 1].astype(np.int8),
            np.ascontiguousarray(recent[:, 2]),
            self.judgements.of(user_key),
            self.n_item_records,
        )
        return read, inexact

    def warm(self, before: Hot, asked: Sequence[tuple[int, Sequence[str] | np.ndarray, int, int]]) -> None:
        """Read what was read from the state before it: user, items, instant and shelf of each read.

        Nobody else has this state yet.
        """
        for user_key, items, as_of, shelf_key in asked:
            rows, strange = self.item_rows.of_items(items)
            while fetch := self.lacking(user_key, rows, strange, shelf_key):
                fetch()
            self.read(rows, strange, user_key, as_of, shelf_key)

    def packed(self) -> Mapping[str, np.ndarray | None]:
        """The arrays of a snapshot of what is here now."""
        log, items, words = self.log(), self.items_table, self.words()
        return packed(self.state, log, items, words, self.position, self.ids, self.utc_offset_ms)

    def items_at(self, position: int) -> Items:
        """Attributes as they were known at a position."""
        columns = np.stack([self.base_items.item_key, *self.base_items.columns])
        records = self.item_records
        late = records[records[:, 0] <= position, 1:-1]
        columns = np.concatenate([columns, late.T], axis=1)
        order = np.argsort(columns[0], kind="stable")
        last = np.ones(len(order), bool)
        last[:-1] = columns[0][order][1:] != columns[0][order][:-1]
        chosen = columns[:, order[last]]
        return Items(chosen[0], ItemColumns(*chosen[1:]))


def log_of(arrays: Mapping[str, np.ndarray]) -> list[EventLog]:
    """The log of a snapshot, if it has events."""
    position, *log = arrays["log"]
    return [EventLog(position, arrays["kinds"], *log)] if len(position) else []


def packed(
    state: State | None,
    log: EventLog,
    items: pa.Table,
    words: pa.Table,
    position: int,
    known: Known,
    utc_offset_ms: int,
) -> dict[str, np.ndarray]:
    """The arrays of a snapshot.

    Args:
        state: after `log`, where it is known
        items: ITEM_SCHEMA, as the catalogue first said them
        words: TOLD_SCHEMA, what was said of them since
        position: up to which all of that is
        known: the ids of the archive's events
    """
    if log.head > position:
        raise ValueError(f"the log goes on to {log.head}: a snapshot at {position} would have its end applied twice")
    state = fold.applied(sweep.PROGRAM, fold.new_state(), log) if state is None else fold.settled(state)
    about = packed_items(items, words, (position, utc_offset_ms, known.since))
    _warm(state, about["item_matrix"], log)
    *verdicts, verdict_kinds = Judgements.events(log)
    return {
        **about,
        "table": state.table,
        "cells": state.cells[: state.used[fold.U_CELLS]],
        "used": state.used[: fold.U_YOUNG],
        "log": np.stack([column for name, column in zip(log._fields, log, strict=True) if name != "kind"]),
        "kinds": log.kind,
        "verdicts": np.stack(verdicts),
        "verdict_kinds": verdict_kinds,
        "digests": known.digests,
    }


def packed_items(items: pa.Table, words: pa.Table, about: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Those of the arrays of `packed` that are of items, and of the snapshot itself (`Hot.about`); else as there."""
    keys = key64(items["item_id"].to_pylist())
    item_rows = ItemRows.of(np.stack([keys, *items_from_table(items).lookup(keys)], axis=1))
    said, columns = attributes(words)
    records = np.stack([words["position"].to_numpy(), said, *columns, words["valid_from"].to_numpy()], axis=1)
    for columns in records[:, 1:-1]:
        item_rows.put(columns)
    return {
        "items": _parquet(whole_items(items)),
        "item_matrix": item_rows.matrix[: item_rows.count],
        "item_table": item_rows.table,
        "item_records": records,
        "words": _parquet(words),
        "about": np.array(about, np.int64),
    }


def _warm(state: State, items: np.ndarray, log: EventLog) -> None:
    """Sum the windows of every item at the log's last instant: else the first reads would, 10 us an item."""
    if not len(log.position):
        return
    now = int(log.received_at[-1])
    for start in range(0, len(items), WARMED):
        few = items[start : start + WARMED]
        n = len(few)
        none = np.zeros(n, np.int64)
        item, category, creator, *_ = (np.ascontiguousarray(column) for column in few.T)
        reads = Reads(none, item, category, creator, none, none, np.full(n, now))
        kernel.read_rows(sweep.PROGRAM, state, reads, np.empty((n, len(AGGREGATES)), np.int64))


def _parquet(table: pa.Table) -> np.ndarray:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def unpacked(blob: np.ndarray, schema: pa.Schema = ITEM_SCHEMA) -> pa.Table:
    """In that schema; of an earlier version, it may lack a column."""
    return whole_items(pq.read_table(io.BytesIO(blob.tobytes())), schema)
