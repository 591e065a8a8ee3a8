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
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from recsys.events import (
    CLOCK_SKEW_MS,
    DAY_MS,
    EVENT_SCHEMA,
    ITEM_SCHEMA,
    KINDS,
    first_position,
    key64,
)
from recsys.features import kernel, sweep
from recsys.features.catalog import AGGREGATES, FINGERPRINT, HISTORY_LENGTH, USER, VIEWS
from recsys.features.kernel import Reads, State
from recsys.features.layout import G_OFFSET, G_TYPE, RECENT, RECENT_FIELDS, V_FIRST_GROUP, V_LAST_GROUP
from recsys.features.log import EventLog, ItemColumns, Items, concat, empty, items_from_table
from recsys.settings import Settings

LIVE_RANK: Final = 1 << 31  # live events take the upper half of their day's positions: no import of the day meets them
MAX_ID_LENGTH: Final = 512
MAX_EVENT_BYTES: Final = 16_384
ITEM_RECORD: Final = 0  # kind of a log record that carries an item's attributes
_EVENT_NAMES: Final = tuple(EVENT_SCHEMA.names)
RECORD_FIELDS: Final = 8  # kind, user, item, category, creator, occurred, received, watch: int64 each


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


class Entry(NamedTuple):
    """One record to append."""

    digest: bytes  # 16 bytes of the event_id: the idempotency key
    fields: tuple[int, ...]  # RECORD_FIELDS integers
    raw: bytes  # the event or item as JSON


class Records(NamedTuple):
    """Part of the journal, in order of position."""

    position: np.ndarray  # int64[n]
    fields: np.ndarray  # int64[n, RECORD_FIELDS]


class Mark(NamedTuple):
    """What a reader compares before each read."""

    head: int  # position of the last record
    snapshot: str  # name of the snapshot of this fingerprint, "" when there is none


class Journal(Protocol):
    """The durable log and the snapshots beside it. Every method is atomic and safe among processes."""

    def mark(self, fingerprint: str) -> Mark: ...

    def append(self, entries: Sequence[Entry], floor: int) -> list[int]:
        """Position of each entry, 0 where its digest is there already; the first is at least `floor`. Durable."""

    def raise_head(self, position: int) -> None:
        """Let every later record come after `position`."""

    def records(self, after: int, until: int) -> Records: ...

    def raw(self, after: int) -> list[tuple[int, int, bytes]]:
        """Position, kind and JSON of every record after a position."""

    def save(self, fingerprint: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep a snapshot and make it the fingerprint's own, in one step."""

    def load(self, fingerprint: str, snapshot: str) -> dict[str, np.ndarray]:
        """The arrays of a snapshot; changing them changes nothing stored."""

    def forget(self, user_key: int) -> int:
        """Make a user's events nobody's, drop every snapshot, and leave no byte of them behind; returns how many."""

    def close(self) -> None: ...


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


class _Hot:
    """The state one process holds: a snapshot and the journal's tail applied to it."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.state = State(arrays["keys"], arrays["offsets"], arrays["cells"], np.array(arrays["used"]))
        log = arrays["log"]
        self.logs = [EventLog(log[0], log[1].astype(np.int8), *log[2:])] if log.size else []
        self.digests = arrays["digests"]
        self.utc_offset_ms = int(arrays["about"][1])
        self.snapshot_position = self.position = int(arrays["about"][0])
        table = pq.read_table(io.BytesIO(arrays["items"].tobytes()))
        items = items_from_table(table)
        ids = table["item_id"].to_pylist()
        self.base_items, self.items_table = items, table
        self.item_records: list[tuple[int, int, tuple[int, ...]]] = []  # position, item_key, columns
        # Row 0 stands for items that are not here. The last row of an id wins, as in items.
        self.rows = {item_id: row for row, item_id in enumerate(ids, start=1)}
        keys = key64(ids)
        self.item_matrix = np.zeros((len(ids) + 1, 6), np.int64)
        self.item_matrix[1:] = np.stack([keys, *items.lookup(keys)], axis=1)

    def put_item(self, item_id: str, columns: tuple[int, ...]) -> None:
        row = self.rows.setdefault(item_id, len(self.rows) + 1)
        if row >= len(self.item_matrix):
            self.item_matrix = np.concatenate([self.item_matrix, np.zeros((max(64, row), 6), np.int64)])
        self.item_matrix[row] = columns

    def has(self, digests: Sequence[bytes]) -> np.ndarray:
        """bool[n]: whether the archive that the snapshot came from holds each event."""
        wanted = np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)
        found = np.zeros(len(wanted), bool)
        first = np.searchsorted(self.digests[:, 0], wanted[:, 0], side="left")
        last = np.searchsorted(self.digests[:, 0], wanted[:, 0], side="right")
        for i in np.flatnonzero(last > first):
            found[i] = bool(np.any(self.digests[first[i] : last[i], 1] == wanted[i, 1]))
        return found

    def log(self) -> EventLog:
        if len(self.logs) > 1:
            self.logs = [concat(self.logs)]
        return self.logs[0] if self.logs else empty()

    def items_at(self, position: int) -> Items:
        """Attributes as they were known at a position."""
        keys = self.base_items.item_key
        columns = np.stack([keys, *self.base_items.columns])
        late = [c for p, _, c in self.item_records if p <= position]
        if late:
            columns = np.concatenate([columns, np.array(late, np.int64).T], axis=1)
        order = np.argsort(columns[0], kind="stable")
        last = np.ones(len(order), bool)
        last[:-1] = columns[0][order][1:] != columns[0][order][:-1]
        chosen = columns[:, order[last]]
        return Items(chosen[0], ItemColumns(*chosen[1:]))


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
        self._hot: _Hot | None = None
        user = next(v for v, view in enumerate(VIEWS) if view.entity == USER)
        groups = range(sweep.PROGRAM.views[user, V_FIRST_GROUP], sweep.PROGRAM.views[user, V_LAST_GROUP])
        self._user_view = user
        self._recent_at = next(
            int(sweep.PROGRAM.groups[g, G_OFFSET]) for g in groups if sweep.PROGRAM.groups[g, G_TYPE] == RECENT
        )
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
                checked = self._entry(hot, event, received_at)
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
                if row is not None and list(hot.item_matrix[row]) == [int(key[0]), *columns]:
                    continue
                category, creator, kind, duration, published = columns
                raw = json.dumps(item).encode()
                head = str(hot.position).encode()  # an item may return to attributes it had: no idempotency key
                digest = xxhash.xxh3_128_digest(b"item\0" + head + b"\0" + raw)
                fields = (ITEM_RECORD, kind, int(key[0]), category, creator, duration, received_at, published)
                entries.append(Entry(digest, fields, raw))
            if entries:
                self._journal.append(entries, self._floor(hot, received_at))
                self._catch_up()
            return len(entries)

    def read(self, user_id: str, item_ids: Sequence[str], as_of: int, position: int | None = None) -> Read:
        """Features' aggregates of one user and k items, at the head of the log or at an earlier position.

        Args:
            as_of: instant at which windows end, UTC ms
            position: None for now; an earlier one replays the log to it
        """
        with self._lock:
            hot = self._catch_up()
            user_key = _key(user_id)
            find = hot.rows.get
            rows = np.array([find(item_id, 0) for item_id in item_ids], np.int64)  # row 0 is nobody's
            matrix = hot.item_matrix[rows]
            known = rows > 0
            if not known.all():
                strange = np.flatnonzero(~known)
                matrix[strange, 0] = key64(item_ids[int(i)] for i in strange)
            if position is not None and position != hot.position:
                if position > hot.position:
                    raise StoreError(f"position {position} is ahead of the log's head {hot.position}")
                return self._read_past(hot, user_key, matrix[:, 0], as_of, position)
            columns = np.ascontiguousarray(matrix.T)
            n = len(item_ids)
            users, instants = np.full(n, user_key), np.full(n, as_of)
            reads = Reads(users, columns[0], columns[1], columns[2], np.full(n, hot.position), instants)
            out = np.zeros((n, len(AGGREGATES)), np.int64)
            exact = kernel.read_rows(sweep.PROGRAM, hot.state, reads, out)
            if not exact.all():  # an instant so far behind the log that its tiles are gone: ask the log itself
                log = hot.log()
                for r in np.flatnonzero(~exact):
                    kernel.scan_row(sweep.PROGRAM, log, reads, r, out[r])
            recent = self._recent(hot, user_key)
            return Read(
                hot.position,
                as_of,
                user_key,
                columns[0],
                out,
                ItemColumns(*columns[1:]),
                known,
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
        live = _events(records)
        if len(live.position):
            fresh = ~np.isin(live.position, log.position)
            if len(digests):
                probe = _Digests(digests)
                ids = {at: json.loads(raw).get("event_id", "") for at, _, raw in self._journal.raw(0)}
                fresh &= np.array([not probe.has(ids[at]) for at in live.position.tolist()])
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
            if kind != ITEM_RECORD and raw != b"{}"  # a forgotten user's
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

    def forget(self, user_id: str) -> int:
        """Remove a user: their state, their history, their text. What they did stays counted for the items.

        Returns:
            Events of the user, in the archive and live. Other processes change over at their next read.
        """
        with self._lock:
            hot = self._catch_up()
            user_key, position = _key(user_id), hot.snapshot_position
            log = hot.log()
            mine = log.user_key == user_key
            anonymous = log._replace(user_key=np.where(mine, 0, log.user_key)).until(position)
            self._journal.forget(user_key)
            self._save(anonymous, hot.items_table, position, hot.digests, hot.utc_offset_ms)
            self._catch_up()
            return int(mine.sum())

    def close(self) -> None:
        """Let go of the journal."""
        self._journal.close()

    def _catch_up(self) -> _Hot:
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
                self._hot = _Hot(arrays)
                self._loaded = mark.snapshot
                self._apply_items(self._hot, 0, self._hot.position)  # those the snapshot's position covers
            hot = self._hot
            if mark.head > hot.position:
                records = self._journal.records(hot.position, mark.head)
                events = _events(records)
                if len(events.position):
                    hot.state = kernel.applied(sweep.PROGRAM, hot.state, events)
                    hot.logs.append(events)
                if np.any(records.fields[:, 0] == ITEM_RECORD):
                    self._apply_items(hot, hot.position, mark.head)
                hot.position = mark.head
            return hot

    def _apply_items(self, hot: _Hot, after: int, until: int) -> None:
        records = self._journal.records(after, until)
        if not np.any(records.fields[:, 0] == ITEM_RECORD):
            return
        fields = dict(zip(records.position.tolist(), records.fields.tolist(), strict=True))
        for position, kind, raw in self._journal.raw(after):
            if kind == ITEM_RECORD and position in fields:
                _, item_type, key, category, creator, duration, _, published = fields[position]
                columns = (key, category, creator, item_type, duration, published)
                hot.put_item(json.loads(raw)["item_id"], columns)
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
                "keys": state.keys,
                "offsets": state.offsets,
                "cells": state.cells[: state.used[kernel.U_CELLS]],
                "used": state.used,
                "log": np.stack([column.astype(np.int64) for column in log]),
                "digests": digests,
                "items": np.frombuffer(buffer.getvalue(), np.uint8),
                "about": np.array([position, utc_offset_ms], np.int64),
            },
        )

    def _floor(self, hot: _Hot, received_at: int) -> int:
        return first_position((received_at + hot.utc_offset_ms) // DAY_MS) + LIVE_RANK

    def _recent(self, hot: _Hot, user_key: int) -> np.ndarray:
        key = kernel.mix(np.int64(self._user_view + 1), np.int64(user_key))
        slot = kernel.slot_of(hot.state.keys, key)
        if hot.state.keys[slot] == 0:
            return np.zeros((0, RECENT_FIELDS), np.int64)
        at = int(hot.state.offsets[slot]) + self._recent_at
        count = int(hot.state.cells[at])
        ring = hot.state.cells[at + 1 : at + 1 + RECENT_FIELDS * HISTORY_LENGTH].reshape(-1, RECENT_FIELDS)
        return ring[np.arange(max(0, count - HISTORY_LENGTH), count) % HISTORY_LENGTH]

    def _read_past(self, hot: _Hot, user_key: int, item_keys: np.ndarray, as_of: int, position: int) -> Read:
        log, items = hot.log().until(position), hot.items_at(position)
        n = len(item_keys)
        users, positions, instants = np.full(n, user_key), np.full(n, position), np.full(n, as_of)
        keys = np.ascontiguousarray(item_keys)
        aggregates = sweep.point_in_time(log, items, users, keys, positions, instants)
        history = sweep.histories(log, users[:1], positions[:1], instants[:1])
        chosen = slice(int(history.start[0]), int(history.stop[0])) if n else slice(0, 0)
        return Read(
            position,
            as_of,
            user_key,
            keys,
            aggregates,
            items.lookup(keys),
            items.known(keys),
            history.item_key[chosen],
            history.kind[chosen],
            history.occurred_at[chosen],
        )

    def _entry(self, hot: _Hot, event: Mapping[str, Any], received_at: int) -> Entry | str:
        """The record of an event, or why it is refused."""
        for field in ("event_id", "kind", "user_id", "item_id"):
            value = event.get(field)
            if not isinstance(value, str) or not value:
                return f"{field} is missing"
            if len(value) > MAX_ID_LENGTH:
                return f"{field} is longer than {MAX_ID_LENGTH} characters"
        if event["kind"] not in KINDS:
            return f"unknown kind {event['kind']!r:.40}"
        if event.get("consent") is False:
            return "no consent"
        occurred_at = event.get("occurred_at")
        occurred_at = received_at if occurred_at is None else occurred_at
        if not isinstance(occurred_at, int) or isinstance(occurred_at, bool) or occurred_at < 0:
            return "occurred_at is not an instant in milliseconds"
        if occurred_at > received_at + CLOCK_SKEW_MS:
            return "occurred_at is more than five minutes ahead of our clock"
        watch_ms = event.get("watch_ms")
        if watch_ms is not None and (not isinstance(watch_ms, int) or not 0 <= watch_ms <= DAY_MS):
            return "watch_ms is not between 0 and a day"
        row = hot.rows.get(event["item_id"])
        if row is None:
            return "unknown item"
        occurred_at = min(occurred_at, received_at)
        known = {name: event[name] for name in _EVENT_NAMES if event.get(name) is not None}
        known |= {"occurred_at": occurred_at, "received_at": received_at}
        if "date" not in known:
            known["date"] = str(np.datetime64((occurred_at + hot.utc_offset_ms) // DAY_MS, "D"))
        try:
            raw = json.dumps(known).encode()
        except TypeError as error:
            return f"not a plain record: {error}"
        if len(raw) > MAX_EVENT_BYTES:
            return f"larger than {MAX_EVENT_BYTES} bytes"
        item = hot.item_matrix[row].tolist()
        fields = (
            KINDS[event["kind"]],
            _key(event["user_id"]),
            *item[:3],
            occurred_at,
            received_at,
            watch_ms or 0,
        )
        return Entry(xxhash.xxh3_128_digest(event["event_id"].encode()), fields, raw)


def _key(name: str) -> int:
    """key64 of one id."""
    digest = xxhash.xxh3_64_intdigest(name.encode())
    return (digest - (1 << 64) if digest >> 63 else digest) or 1


class _Digests:
    """Membership of an event_id among sorted digests."""

    def __init__(self, digests: np.ndarray) -> None:
        self._known = {bytes(row) for row in digests}

    def has(self, event_id: str) -> bool:
        return xxhash.xxh3_128_digest(event_id.encode()) in self._known


def digests_of(event_ids: Sequence[str]) -> np.ndarray:
    """Sorted 128-bit digests of ids, uint64[n, 2]."""
    joined = b"".join(xxhash.xxh3_128_digest(event_id.encode()) for event_id in event_ids)
    pairs = np.frombuffer(joined, np.uint64).reshape(-1, 2)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _events(records: Records) -> EventLog:
    """The records that are events, as a log."""
    chosen = records.fields[:, 0] != ITEM_RECORD
    kind, *rest = np.ascontiguousarray(records.fields[chosen].T)
    return EventLog(np.ascontiguousarray(records.position[chosen]), kind.astype(np.int8), *rest)


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
