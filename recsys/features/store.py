"""The online store: what the service reads features from and appends events to. Several processes hold it at once.

A journal (store_lmdb.py, store_redis.py) keeps the one durable truth: the event log, in which items' attributes are
records too. Packed state is a function of the log, so it is kept as a snapshot with its position, and every process
holds it hot in memory and catches up with the journal's head before each read: an event that was accepted anywhere is
seen by the next read everywhere, and log and state cannot disagree, whatever dies.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from recsys.events import DAY_MS, EVENT_SCHEMA, ITEM_SCHEMA, first_position, key64
from recsys.features import kernel, sweep
from recsys.features.blocked import MOST, Blocked, TooManyBlocked
from recsys.features.catalog import AGGREGATES, FINGERPRINT, USER, VIEWS
from recsys.features.history import History
from recsys.features.hot import Hot
from recsys.features.intake import entry_of
from recsys.features.journal import (
    ITEM_RECORD,
    RECORD_RECEIVED,
    Entry,
    Journal,
    digest_of,
    digests_of,
    events_of,
    key_of,
)
from recsys.features.kernel import Reads
from recsys.features.layout import G_TYPE, RECENT, V_FIRST_GROUP, V_LAST_GROUP
from recsys.features.log import EventLog, ItemColumns, Items, empty, items_from_table
from recsys.settings import Settings

LIVE_RANK: Final = 1 << 31  # live events take the upper half of their day's positions: no import of the day meets them


class StoreError(RuntimeError):
    """The online store cannot answer; the message says what to do."""


class StoreMissing(StoreError):
    """There is no store, or it holds no state of these features yet."""


class StoreCorrupt(StoreError):
    """What the store holds cannot be read back."""


class StoreFull(StoreError):
    """The store has no room for the events; none of the batch was taken."""


class StoreUnavailable(StoreError):
    """The store's server does not answer; nothing is known about the batch: send it again, repeats change nothing."""


class Appended(NamedTuple):
    """What became of a batch."""

    accepted: int
    duplicates: int
    rejected: list[tuple[int, str]]  # index in the batch, reason
    position: int  # the log's head after it


class Read(NamedTuple):
    """One user and k items at a position and instant."""

    position: int
    as_of: int
    user_key: int
    item_keys: np.ndarray  # int64[k]
    aggregates: np.ndarray  # int64[k, len(AGGREGATES)]
    item: ItemColumns  # [k] each
    known: np.ndarray  # bool[k]: whether the store has the item
    history_item_keys: np.ndarray  # int64[<= HISTORY_LENGTH], in log order
    history_kinds: np.ndarray  # int8
    history_occurred_at: np.ndarray  # int64

    @property
    def history(self) -> History:
        """The user's, as one row."""
        return History.of_one(self.history_item_keys, self.history_kinds, self.history_occurred_at)


class OnlineStore:
    """Features now, over a journal. One object may be used by several threads.

    Args:
        journal: where the log lives
        create: begin with an empty state when the journal has none, or none that can be read

    Raises:
        StoreMissing: the journal holds no state of this code's features.
        StoreCorrupt: it cannot be read back.
    """

    def __init__(self, journal: Journal, *, create: bool = False) -> None:
        self.fingerprint = FINGERPRINT  # of these features: states of several lie side by side during a cut-over
        self._journal = journal
        self._lock = threading.RLock()
        self._loaded = ""
        self._hot: Hot | None = None
        user = next(v for v, view in enumerate(VIEWS) if view.entity == USER)
        groups = range(sweep.PROGRAM.views[user, V_FIRST_GROUP], sweep.PROGRAM.views[user, V_LAST_GROUP])
        self._recent = user, next(g for g in groups if sweep.PROGRAM.groups[g, G_TYPE] == RECENT)
        if create and not journal.mark(self.fingerprint).snapshot:
            self._begin()
        try:
            self._catch_up()
        except StoreCorrupt:
            if not create:
                raise
            self._begin()  # the log is whole, and a bootstrap follows
            self._catch_up()

    def head(self) -> int:
        """Position of the last accepted record."""
        return self._journal.mark(self.fingerprint).head

    def append(self, events: Sequence[Mapping[str, Any]], received_at: int) -> Appended:
        """Take a batch of events into the log: durable, and visible to the next read, when this returns.

        Args:
            events: fields of EVENT_SCHEMA; those of an outcome that are None or absent stay unknown
            received_at: our clock, UTC ms

        Raises:
            StoreFull, StoreUnavailable: nothing of the batch was taken, or it may be sent again safely.
        """
        with self._lock:
            hot = self._catch_up()
            entries, rejected = [], []
            for index, event in enumerate(events):
                checked = entry_of(hot, event, received_at)
                if isinstance(checked, str):
                    rejected.append((index, checked))
                else:
                    entries.append(checked)
            archived = hot.has([entry.digest for entry in entries])
            duplicates = int(archived.sum())
            if duplicates:
                entries = [entry for entry, old in zip(entries, archived, strict=True) if not old]
        # outside the lock: reads go on while the disk works
        positions = self._journal.append(entries, self._floor(hot, received_at)) if entries else []
        accepted = sum(position > 0 for position in positions)
        return Appended(accepted, duplicates + len(positions) - accepted, rejected, self._catch_up().position)

    def put_items(self, table: pa.Table, received_at: int = 0) -> int:
        """Record the attributes of new or changed items (ITEM_SCHEMA) in the log; returns how many records it took."""
        with self._lock:
            hot = self._catch_up()
            items = items_from_table(table)
            entries = []
            for item in table.select(ITEM_SCHEMA.names).to_pylist():
                key = key64([item["item_id"]])
                columns = [int(column[0]) for column in items.lookup(key)]
                row = hot.rows.get(item["item_id"])
                known = row is not None and list(hot.item_matrix[row]) == [int(key[0]), *columns]
                known = known and hot.late.get(item["item_id"], item) == item  # a title, say, is no column of the state
                if known and (item["item_id"] in hot.unavailable) == (item["is_available"] is False):
                    continue
                category, creator, kind, duration, published = columns
                raw = json.dumps(item).encode()
                head = str(hot.position).encode()  # an item may return to attributes it had: no idempotency key
                digest = xxhash.xxh3_128_digest(b"item\0" + head + b"\0" + raw)
                fields = (ITEM_RECORD, kind, int(key[0]), category, creator, 0, duration, received_at, published)
                entries.append(Entry(digest, fields, raw))
            if entries:
                self._journal.append(entries, self._floor(hot, received_at))
                self._catch_up()
            return len(entries)

    def late_items(self, records: int | None = None) -> tuple[int, pa.Table]:
        """How many records of items the log has, and those items as they are now (ITEM_SCHEMA).

        Args:
            records: as they were when the log had so many; None for now
        """
        if records is not None:
            raws = [raw for _, kind, raw in self._journal.raw(0) if kind == ITEM_RECORD][:records]
            known = {item["item_id"]: item for item in map(json.loads, raws)}
            return records, pa.Table.from_pylist(list(known.values()), schema=ITEM_SCHEMA)
        with self._lock:
            hot = self._catch_up()
            return len(hot.item_records), pa.Table.from_pylist(list(hot.late.values()), schema=ITEM_SCHEMA)

    def told_items(self) -> pa.Table:
        """Items that arrived live, as they were told last (ITEM_SCHEMA): what a later day's raw_items reads."""
        with self._lock:
            item_records = [position for position, *_ in self._catch_up().item_records]
        if not item_records:
            return ITEM_SCHEMA.empty_table()
        first = item_records[0] - 1  # nothing before it is an item's
        records = self._journal.records(first, item_records[-1])
        # what a bootstrap found changed in an archive is a record too, but nobody told it: it has no instant
        live = (records.fields[:, 0] == ITEM_RECORD) & (records.fields[:, RECORD_RECEIVED] > 0)
        positions = set(records.position[live].tolist())
        told = [json.loads(raw) for position, _, raw in self._journal.raw(first) if position in positions]
        return pa.Table.from_pylist(list({item["item_id"]: item for item in told}.values()), schema=ITEM_SCHEMA)

    def read(
        self,
        user_id: str,
        item_ids: Sequence[str] | np.ndarray,
        as_of: int,
        position: int | None = None,
        *,
        shelf_key: int = 0,
    ) -> Read:
        """Features' aggregates of one user and k items, at the head of the log or at an earlier position.

        Args:
            item_ids: ids, or int64[k] of their key64: a caller that holds keys saves a fifth of the time
            as_of: instant at which windows end, UTC ms
            position: None for now; an earlier one replays the log to it
            shelf_key: key64 of the shelf that is read for; 0 where it is not known
        """
        with self._lock:
            hot = self._catch_up()
            user_key, n = key_of(user_id), len(item_ids)
            rows, strange = hot.rows_of(item_ids)
            if position is not None and position != hot.position:
                if position > hot.position:
                    raise StoreError(f"position {position} is ahead of the log's head {hot.position}")
                keys = np.where(rows > 0, hot.item_matrix[rows, 0], strange)
                return self._read_past(hot, user_key, keys, as_of, position, shelf_key)
            out = np.empty((n, len(AGGREGATES)), np.int64)
            columns, exact, recent = kernel.read_request(
                sweep.PROGRAM, hot.state, hot.item_matrix, rows, strange, user_key, shelf_key, as_of, self._recent, out
            )
            if not exact.all():  # an instant so far behind the log that its tiles are gone: ask the log itself
                users, positions, instants = np.full(n, user_key), np.full(n, hot.position), np.full(n, as_of)
                reads = Reads(users, columns[0], columns[1], columns[2], np.full(n, shelf_key), positions, instants)
                kernel.scan_rows(sweep.PROGRAM, hot.log(), reads, np.flatnonzero(~exact), out)
            return Read(
                hot.position,
                as_of,
                user_key,
                columns[0],
                out,
                ItemColumns(*columns[1:]),
                rows > 0,
                np.ascontiguousarray(recent[:, 0]),
                recent[:, 1].astype(np.int8),
                np.ascontiguousarray(recent[:, 2]),
            )

    def bootstrap(
        self,
        log: EventLog,
        items: pa.Table,
        position: int,
        *,
        event_ids: Sequence[str] = (),
        utc_offset_ms: int = 0,
    ) -> int:
        """Begin anew from an archived log up to `position`, keeping every event accepted live that is not in it.

        Args:
            log: cleaned events up to `position`
            items: ITEM_SCHEMA
            event_ids: ids of the log's events, so that sending one of them again changes nothing
            utc_offset_ms: offset of the source's local day

        Returns:
            Events in the state now.
        """
        self._journal.raise_head(position)  # whatever is accepted from here on lies after it
        digests = digests_of(event_ids)
        records = self._journal.records(0, position)
        live = events_of(records)
        if len(live.position):
            fresh = ~np.isin(live.position, log.position)
            if len(digests):
                archived = {bytes(row) for row in digests}
                ids = {at: digest_of(json.loads(raw).get("event_id", "")) for at, _, raw in self._journal.raw(0)}
                fresh &= np.array([ids[at] not in archived for at in live.position.tolist()])
            live = live.take(fresh)
        if len(live.position):
            both = EventLog(*(np.concatenate(pair) for pair in zip(log, live, strict=True)))
            log = both.take(np.argsort(both.position, kind="stable"))
        with self._lock:
            before = self._catch_up().items_table
            known = pc.is_in(items["item_id"], value_set=before["item_id"].combine_chunks())
            new = items.filter(pc.invert(known)).select(ITEM_SCHEMA.names).cast(ITEM_SCHEMA)
            self._save(log, pa.concat_tables([before, new]), position, digests, utc_offset_ms)
            # What changed of an item becomes a record, so that rows served before still read what they read then.
            self.put_items(items)
            return len(self._catch_up().log().position)

    def tail(self, after_position: int) -> pa.Table:
        """Events accepted live after a position, EVENT_SCHEMA, in order: what a later day's raw_events reads."""
        rows = [
            {**json.loads(raw), "position": position}
            for position, kind, raw in self._journal.raw(after_position)
            if kind != ITEM_RECORD
        ]
        return pa.Table.from_pylist(rows, schema=EVENT_SCHEMA)

    def export(self, position: int | None = None) -> tuple[EventLog, Items]:
        """The log up to a position (None: now) and the items as they were known there: all that a replay needs."""
        with self._lock:
            hot = self._catch_up()
            at = hot.position if position is None else position
            return hot.log().until(at), hot.items_at(at)

    def items_at(self, position: int) -> Items:
        """The items as they were known at a position."""
        with self._lock:
            return self._catch_up().items_at(position)

    def blocked(self, user_id: str) -> Blocked:
        """What a user never wants to see; nothing for one who is not known."""
        return Blocked.read(self._journal.blocked(key_of(user_id)))

    def block(self, user_id: str, more: Blocked, less: Blocked) -> Blocked:
        """Add to and take from what a user never wants to see: durable, and seen by every process, when this returns.

        Returns:
            All of it now.

        Raises:
            TooManyBlocked: it would be more than blocked.MOST.
        """

        def changed(before: bytes | None) -> bytes:
            now = Blocked.read(before).without(less).plus(more)
            if max(map(len, now)) > MOST:
                raise TooManyBlocked(f"a user may block {MOST} items and {MOST} creators: unblock some first")
            return now.kept()

        return Blocked.read(self._journal.block(key_of(user_id), changed))

    def forget(self, user_id: str, rewritten: Callable[[bytes], bytes]) -> int:
        """Remove a user: their state, their history, their ids. What they did stays counted for the items.

        The state without them is saved before the one with them goes, so a death in between leaves a store that
        answers; forgetting again then ends it.

        Args:
            rewritten: the JSON of an event as nobody's (privacy.Border.nobodys)

        Returns:
            Events of the user, in the archive and live. Other processes change over at their next read.
        """
        with self._lock:
            hot = self._catch_up()
            user_key, position = key_of(user_id), hot.snapshot_position
            log = hot.log()
            mine = log.user_key == user_key
            self._journal.strip(user_key, rewritten)
            anonymous = log._replace(user_key=np.where(mine, 0, log.user_key)).until(position)
            self._save(anonymous, hot.items_table, position, hot.digests, hot.utc_offset_ms)
            self._journal.compact(self.fingerprint)
            self._catch_up()
            return int(mine.sum())

    def close(self) -> None:
        """Let go of the journal."""
        self._journal.close()

    def _catch_up(self) -> Hot:
        with self._lock:
            mark = self._journal.mark(self.fingerprint)
            if not mark.snapshot:
                raise StoreMissing(
                    f"the online store holds no state of these features ({self.fingerprint}): materialize online_state"
                )
            if self._hot is None or mark.snapshot != self._loaded:
                try:
                    arrays = self._journal.load(self.fingerprint, mark.snapshot)
                except StoreCorrupt:
                    if self._journal.mark(self.fingerprint).snapshot == mark.snapshot:
                        raise
                    return self._catch_up()  # another process put a newer snapshot in its place meanwhile
                self._hot = Hot(arrays)
                self._loaded = mark.snapshot
                self._apply_items(self._hot, 0, self._hot.position)  # those the snapshot's position covers
            hot = self._hot
            if mark.head > hot.position:
                records = self._journal.records(hot.position, mark.head)
                events = events_of(records)
                if len(events.position):
                    hot.state = kernel.applied(sweep.PROGRAM, hot.state, events)
                    hot.logs.append(events)
                if np.any(records.fields[:, 0] == ITEM_RECORD):
                    self._apply_items(hot, hot.position, mark.head)
                hot.position = mark.head
            return hot

    def _apply_items(self, hot: Hot, after: int, until: int) -> None:
        records = self._journal.records(after, until)
        if not np.any(records.fields[:, 0] == ITEM_RECORD):
            return
        fields = dict(zip(records.position.tolist(), records.fields.tolist(), strict=True))
        for position, kind, raw in self._journal.raw(after):
            if kind == ITEM_RECORD and position in fields:
                _, item_type, key, category, creator, _, duration, _, published = fields[position]
                columns = (key, category, creator, item_type, duration, published)
                hot.put_item(json.loads(raw), columns)
                hot.item_records.append((position, key, columns))

    def _begin(self) -> None:
        self._save(empty(), ITEM_SCHEMA.empty_table(), 0, np.zeros((0, 2), np.uint64), 0)

    def _save(self, log: EventLog, items: pa.Table, position: int, digests: np.ndarray, utc_offset_ms: int) -> None:
        state = kernel.applied(sweep.PROGRAM, kernel.new_state(), log)
        buffer = io.BytesIO()
        pq.write_table(items.select(ITEM_SCHEMA.names).cast(ITEM_SCHEMA), buffer)
        self._journal.save(
            self.fingerprint,
            {
                "table": state.table,
                "cells": state.cells[: state.used[kernel.U_CELLS]],
                "used": state.used,
                "log": np.stack([column.astype(np.int64) for column in log]),
                "digests": digests,
                "items": np.frombuffer(buffer.getvalue(), np.uint8),
                "about": np.array([position, utc_offset_ms], np.int64),
            },
        )

    def _floor(self, hot: Hot, received_at: int) -> int:
        return first_position((received_at + hot.utc_offset_ms) // DAY_MS) + LIVE_RANK

    def _read_past(
        self, hot: Hot, user_key: int, item_keys: np.ndarray, as_of: int, position: int, shelf_key: int
    ) -> Read:
        log, items = hot.log().until(position), hot.items_at(position)
        n = len(item_keys)
        users, positions, instants = np.full(n, user_key), np.full(n, position), np.full(n, as_of)
        keys = np.ascontiguousarray(item_keys)
        aggregates = sweep.point_in_time(log, items, users, keys, positions, instants, np.full(n, shelf_key))
        history = sweep.histories(log, users[:1], positions[:1], instants[:1]) if n else History.none(1)
        return Read(
            position,
            as_of,
            user_key,
            keys,
            aggregates,
            items.lookup(keys),
            items.known(keys),
            *history.row(0),
        )


def open_store(settings: Settings, create: bool = False) -> OnlineStore:
    """The store that the settings name: `lmdb` (a folder below RECSYS_HOME), or redis://host:port/db.

    Raises:
        StoreMissing: it was never bootstrapped (and `create` is false).
        StoreCorrupt, StoreUnavailable: it cannot be read.
    """
    journal: Journal
    if settings.store == "lmdb":
        from recsys.features.store_lmdb import LmdbJournal

        journal = LmdbJournal(settings.home / "store", create=create)
    elif settings.store.startswith("redis://"):
        from recsys.features.store_redis import RedisJournal

        journal = RedisJournal(settings.store)
    else:
        raise StoreError(f"RECSYS_STORE={settings.store}: give lmdb, or redis://host:port/db")
    return OnlineStore(journal, create=create)
