"""The embedded journal: LMDB, memory-mapped and ACID. Many processes read while one writes; nothing to start.

One write transaction gives a batch its positions, appends it and remembers its ids. Snapshots are files beside the
map, so that all workers share their pages, and the transaction that names a snapshot makes it current.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import struct
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import lmdb
import numpy as np

from recsys.encryption import Kept
from recsys.events import KINDS, SEARCH
from recsys.store.errors import OffsetMoved, StoreCorrupt, StoreError, StoreMissing
from recsys.store.journal import (
    AHEAD_SECONDS,
    CUT,
    FORGETTING_SECONDS,
    NO_END,
    RECORD,
    WATCHED_SECONDS,
    Dump,
    Entry,
    Mark,
    Offset,
    Records,
    Size,
    Taken,
    is_of,
    records_of,
)
from recsys.store.lmdb_map import DATABASES, MAP_BYTES, Map, beyond, clear_errors
from recsys.store.snapshot_files import checksum, mapped, write

CUT_AT_ONCE: Final = 2_000  # records: other writers wait for 20 ms
_WHOSE: Final = struct.Struct("<qq")  # kind and user
_HEAD: Final = b"head"
_IDENTITY: Final = b"identity"
_COMING: Final = b"coming:"  # begins the name of what is announced
_WATCHED: Final = "watched"  # file that a process touches when it looks for that
_FORGETTING: Final = b"forgetting"  # until when (s, UTC) nobody folds (Journal.hold)
_OFFSET: Final = b"offset:"  # begins the name of how far a partition was read
_RECORDS: Final = Kept(b"event", lambda value: value[1:8] == bytes(7))  # begins with a small number, its kind
_BLOCKS: Final = Kept(b"blocked", lambda value: value[:1] == b"{")
_KEPT: Final = {b"events": _RECORDS, b"blocked": _BLOCKS}
_CURRENT: Final = "current"  # symlink to the folder of the map in use


class LmdbJournal:
    """A journal in a folder.

    Raises:
        StoreMissing: the folder holds none (and `create` is false).
        StoreCorrupt: it is no LMDB map.
    """

    shares_pages = True

    def __init__(self, folder: Path, *, create: bool = False, map_bytes: int = MAP_BYTES) -> None:
        self._folder, self._map_bytes = folder, map_bytes
        self._marked: tuple[tuple[str, int, str], Mark] = ("", -1, ""), Mark(0, "")
        current = folder / _CURRENT
        self._linked = str(current)  # of text: joined at each look it takes four times as long
        if not current.exists():
            if not create:
                raise StoreMissing(
                    f"there is no online store in {folder.name}/ yet: materialize online_state (make run)"
                )
            (folder / "map-0").mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # another process was first
                current.symlink_to("map-0")
        self._following = threading.Lock()
        self._held: tuple[str, Map] | None = self._newest()

    def _newest(self) -> tuple[str, Map]:
        """Name of the current map, and it: held."""
        while True:
            name = self._link()
            try:
                opened = Map.held(self._folder / name, self._map_bytes)
            except StoreError:
                if self._link() == name:
                    raise
                continue  # `forget` took it away meanwhile
            if self._link() == name:
                return name, opened
            opened.release()

    def _link(self) -> str:
        return os.readlink(self._linked)

    @contextmanager
    def _current(self) -> Iterator[tuple[str, Map]]:
        """Name of the current map, and it, held: `forget` puts a new one in its place at any time."""
        while True:
            held = self._held
            if held is None or self._link() != held[0]:
                with self._following:
                    before = self._held
                    if before is None or self._link() != before[0]:
                        self._held = self._newest()
                        if before is not None:
                            before[1].release()
            elif held[1].again():
                break
        try:
            yield held
        finally:
            held[1].release()

    @contextmanager
    def _transaction(self, *, write: bool = False, buffers: bool = False) -> Iterator[tuple[Map, Any]]:
        """The current map and a transaction on it, whose default database is the events."""
        while True:
            with (
                self._current() as (name, opened),
                clear_errors(),
                opened.begin(write=write, buffers=buffers) as transaction,
            ):
                # a writer that waited for `forget` has the old map's lock now
                if not write or self._link() == name:
                    yield opened, transaction
                    return

    def mark(self, fingerprint: str) -> Mark:
        held, (written, mark) = self._held, self._marked
        if held is not None and held[0] == written[0] == self._link() and held[1].again():  # every read asks
            try:
                # the last transaction's number stands in the map itself, whichever process wrote it: 2 us where two
                # reads and a parse take 20
                if (held[1].environment.info()["last_txnid"], fingerprint) == written[1:]:
                    return mark
            finally:
                held[1].release()
        with self._current() as (name, opened), clear_errors(), opened.environment.begin() as transaction:
            head = transaction.get(_HEAD, db=opened.meta)
            snapshot = transaction.get(_pointer(fingerprint), db=opened.meta)
            written = name, transaction.id(), fingerprint
        mark = Mark(_number(head), json.loads(snapshot)["name"] if snapshot else "")
        self._marked = written, mark
        return mark

    def probe(self) -> None:
        self.mark("")

    def append(self, entries: Sequence[Entry], floor: int, offsets: Sequence[Offset] = ()) -> Taken:
        with self._transaction(write=True) as (opened, transaction):
            for partition, was, _ in offsets:
                if (transaction.get(_offset(partition), db=opened.meta) or b"") != was:
                    raise OffsetMoved(f"{partition} was read by another consumer meanwhile")
            meta = [(_offset(partition), now) for partition, was, now in offsets if now != was]
            before = _number(transaction.get(_HEAD, db=opened.meta))
            ids = transaction.cursor(opened.ids)
            known = {bytes(digest) for digest, _ in ids.getmulti([entry.digest for entry in entries])}
            following, positions, rows, new = max(before + 1, floor), [], [], []
            encrypted = _RECORDS.encryptor()
            for digest, record in entries:
                if digest in known:
                    positions.append(0)
                    continue
                known.add(digest)
                key = following.to_bytes(8, "big")
                rows.append((key, encrypted(key, record)))
                new.append((digest, key))
                positions.append(following)
                following += 1
            if rows:
                transaction.cursor(opened.events).putmulti(rows, append=True)
                ids.putmulti(sorted(new))  # in order: pages that lie side by side are written once
                meta.append((_HEAD, (following - 1).to_bytes(8, "big")))
            transaction.cursor(opened.meta).putmulti(meta)
            number = transaction.id()
            opened.redo.begin(number, {b"events": rows, b"ids": new, b"meta": meta})
        written, mark = self._marked
        if rows and written[1] == number - 1:  # nothing came between: the read that follows knows what it would find
            self._marked = (written[0], number, written[2]), Mark(following - 1, mark.snapshot)
        return Taken(positions, before)

    def offsets(self, partitions: Sequence[str]) -> list[bytes]:
        with self._transaction() as (opened, transaction):
            return [transaction.get(_offset(partition), db=opened.meta) or b"" for partition in partitions]

    def identity(self) -> str:
        with self._transaction(write=True) as (opened, transaction):
            transaction.put(_IDENTITY, uuid.uuid4().hex.encode(), overwrite=False, db=opened.meta)
            kept: bytes = transaction.get(_IDENTITY, db=opened.meta)
        return kept.decode()

    def raise_head(self, position: int) -> None:
        with self._transaction(write=True) as (opened, transaction):
            if position > _number(transaction.get(_HEAD, db=opened.meta)):
                transaction.put(_HEAD, position.to_bytes(8, "big"), db=opened.meta)

    def records(self, after: int, until: int) -> Records:
        keys, fields, last = [], [], until.to_bytes(8, "big")
        with self._transaction() as (_, transaction):  # copies: buffers of so little take twice as long
            for key, value in beyond(transaction.cursor(), after):
                if key > last:
                    break
                keys.append(key)
                fields.append(_RECORDS.decrypted(key, value)[: RECORD.size])
        return records_of(np.frombuffer(b"".join(keys), ">i8"), fields)

    def raw(self, after: int, until: int = NO_END, *, only: int | None = None) -> list[tuple[int, int, bytes]]:
        records = []
        with self._transaction(buffers=True) as (_, transaction):
            for key, value in beyond(transaction.cursor(), after):
                position = _number(key)
                if position > until:
                    break
                value = _RECORDS.decrypted(key, value)
                kind, _ = _WHOSE.unpack_from(value)
                if only in (None, kind):
                    records.append((position, kind, bytes(value[RECORD.size :])))
        return records

    def coming(self, fingerprint: str) -> str:
        with suppress(OSError):  # of a full disk
            (self._folder / _WATCHED).touch()
        with self._transaction() as (opened, transaction):
            announced = transaction.get(_coming(fingerprint), db=opened.meta)
        return str(json.loads(announced)["name"]) if announced else ""

    def _announce(self, fingerprint: str, about: Mapping[str, Any]) -> None:
        watched = self._folder / _WATCHED
        if not watched.exists() or time.time() - watched.stat().st_mtime > WATCHED_SECONDS:
            return
        with self._transaction(write=True) as (opened, transaction):
            if _is_held(opened, transaction):
                return
            transaction.put(_coming(fingerprint), json.dumps(about).encode(), db=opened.meta)
        time.sleep(AHEAD_SECONDS)

    def save(self, fingerprint: str, name: str, arrays: Mapping[str, Any], replaces: str | None) -> bool:
        pointer, folder = _pointer(fingerprint), self._folder / f"snapshot-{name}"
        try:
            about = {"name": name, "arrays": write(folder, arrays)}
            if replaces:
                self._announce(fingerprint, about)
            with self._transaction(write=True) as (opened, transaction):
                pointed = transaction.get(pointer, db=opened.meta)
                before = json.loads(pointed)["name"] if pointed else ""
                # `compact` takes away what nothing names, and may have done so while this was being written
                whole = all((folder / f"{key}.npy").exists() for key in arrays)
                folds = name.split("-")[0] == before.split("-")[0]
                fits = whole and replaces in (None, before) and not (folds and _is_held(opened, transaction))
                transaction.delete(_coming(fingerprint), db=opened.meta)
                if fits:
                    transaction.put(pointer, json.dumps(about).encode(), db=opened.meta)
        except FileNotFoundError:  # the folder was taken away
            fits = False
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        # processes that still map the old files keep them until they let go
        gone = before if fits else name
        if gone:
            shutil.rmtree(self._folder / f"snapshot-{gone}", ignore_errors=True)
        return fits

    def load(self, fingerprint: str, snapshot: str) -> dict[str, np.ndarray]:
        # all of them at once: what is open stays whole when a later snapshot comes
        kept, folder = self._about(fingerprint, snapshot), self._folder / f"snapshot-{snapshot}"
        return {key: mapped(folder, key, about) for key, about in kept.items()}

    def check(self, fingerprint: str, snapshot: str, names: Collection[str]) -> None:
        kept, folder = self._about(fingerprint, snapshot), self._folder / f"snapshot-{snapshot}"
        for key in names:
            if checksum(mapped(folder, key, kept[key])[: kept[key]["used"]]) != kept[key]["digest"]:
                raise StoreCorrupt(
                    f"snapshot file {key}.npy of the online store does not match its checksum: materialize online_state"
                )

    def _about(self, fingerprint: str, snapshot: str) -> dict[str, Any]:
        with self._transaction() as (opened, transaction):
            named = [transaction.get(key(fingerprint), db=opened.meta) for key in (_pointer, _coming)]
        kept: list[dict[str, Any]] = [json.loads(one) for one in named if one]
        about = next((one for one in kept if one["name"] == snapshot), None)
        if about is None:
            raise StoreCorrupt(f"snapshot {snapshot} of the online store is gone: materialize online_state")
        arrays: dict[str, Any] = about.get("arrays", {})  # an earlier version kept none
        return arrays

    def blocked(self, user_key: int) -> bytes | None:
        with self._current() as (_, opened), clear_errors(), opened.environment.begin(opened.blocked) as transaction:
            listed: bytes | None = transaction.get(_key(user_key))
            return None if listed is None else _BLOCKS.decrypted(_key(user_key), listed)

    def block(self, user_key: int, changed: Callable[[bytes | None], bytes]) -> bytes:
        with self._transaction(write=True) as (opened, transaction):
            before = transaction.get(_key(user_key), db=opened.blocked)
            kept = changed(None if before is None else _BLOCKS.decrypted(_key(user_key), before))
            transaction.put(_key(user_key), _BLOCKS.encrypted(_key(user_key), kept), db=opened.blocked)
        return kept

    def hold(self) -> None:
        until = int(time.time()) + FORGETTING_SECONDS
        with self._transaction(write=True) as (opened, transaction):
            transaction.put(_FORGETTING, until.to_bytes(8, "big"), db=opened.meta)

    def strip(self, user_key: int, rewritten: Callable[[bytes], bytes], word: bytes) -> int:
        with self._transaction(write=True) as (opened, transaction):
            transaction.delete(_key(user_key), db=opened.blocked)
            mine = []
            for key, value in transaction.cursor(opened.events):
                value = _RECORDS.decrypted(key, value)
                kind, user = _WHOSE.unpack_from(value)
                if is_of(kind, user, bytes(value[RECORD.size :]) if kind == KINDS[SEARCH] else b"", user_key, word):
                    mine.append((bytes(key), bytes(value)))
            for key, value in mine:
                kind, _, *rest = RECORD.unpack_from(value)
                record = RECORD.pack(kind, 0, *rest) + rewritten(value[RECORD.size :])
                transaction.put(key, _RECORDS.encrypted(key, record), db=opened.events)
        return len(mine)

    def cut(self, positions: np.ndarray) -> None:
        keys = [position.to_bytes(8, "big") for position in positions.tolist()]
        leaving = set(keys)
        with self._transaction() as (opened, transaction):
            ids = {key: digest for digest, key in transaction.cursor(opened.ids) if key in leaving}
        for start in range(0, len(keys), CUT_AT_ONCE):
            few = keys[start : start + CUT_AT_ONCE]
            with self._transaction(write=True) as (opened, transaction):
                before = int(transaction.get(_offset(CUT), db=opened.meta) or 0)
                transaction.put(_offset(CUT), str(max(before, _number(few[-1]))).encode(), db=opened.meta)
                for key in few:
                    transaction.delete(key, db=opened.events)
                for digest in sorted(ids[key] for key in few if key in ids):
                    transaction.delete(digest, db=opened.ids)

    def cut_at(self) -> int:
        with self._transaction() as (opened, transaction):
            return int(transaction.get(_offset(CUT), db=opened.meta) or 0)

    def size(self) -> Size:
        with self._transaction() as (opened, transaction):
            records, ids = (transaction.stat(database)["entries"] for database in (opened.events, opened.ids))
            pages = 1 + opened.environment.info()["last_pgno"]
            return Size(records, ids, pages * opened.environment.stat()["psize"])

    def compact(self, fingerprint: str) -> None:
        """Write the map anew, row by row: pages that are free, and gaps in those that are not, keep old bytes.

        Values are encrypted with the newest key then.

        Processes that hold the store change over by themselves.
        """
        pointer = _pointer(fingerprint)
        with self._transaction(write=True) as (opened, transaction):  # no other writer until the new map is current
            following = f"map-{1 + max(int(path.name.split('-')[1]) for path in self._folder.glob('map-*'))}"
            (self._folder / following).mkdir()
            named = transaction.get(pointer, db=opened.meta)
            with (
                clear_errors(),
                lmdb.open(str(self._folder / following), map_size=self._map_bytes, max_dbs=4, sync=False) as copy,
            ):
                databases = (opened.meta, opened.events, opened.ids, opened.blocked)
                for name, database in zip(DATABASES, databases, strict=True):
                    target = copy.open_db(name)
                    renewed = _KEPT[name].renewer() if name in _KEPT else lambda _, value: value
                    rows = (
                        (k, renewed(k, v))
                        for k, v in transaction.cursor(database)
                        if name != b"meta" or _stays(k, pointer)
                    )
                    while chunk := list(itertools.islice(rows, 100_000)):
                        with copy.begin(target, write=True) as writing:
                            writing.cursor().putmulti(chunk, append=True)
                copy.sync(True)
            # a process that was saving one of these finds it gone: it looks once it has the lock of either map
            self._remove("snapshot-*", f"snapshot-{json.loads(named)['name']}" if named else "")
            link = self._folder / f"{_CURRENT}.new"
            link.unlink(missing_ok=True)
            link.symlink_to(following)
            os.replace(link, self._folder / _CURRENT)
            self._remove("map-*", following)

    def snapshots(self) -> dict[str, str]:
        with self._transaction() as (opened, transaction):
            pointers = list(transaction.cursor(opened.meta))
        prefix = _pointer("")
        return {
            key.removeprefix(prefix).decode(): json.loads(value)["name"]
            for key, value in pointers
            if key.startswith(prefix)
        }

    def drop(self, fingerprint: str) -> None:
        with self._transaction(write=True) as (opened, transaction):
            pointed = transaction.pop(_pointer(fingerprint), db=opened.meta)
        if pointed:
            shutil.rmtree(self._folder / f"snapshot-{json.loads(pointed)['name']}", ignore_errors=True)

    @contextmanager
    def dumped(self, fingerprint: str) -> Iterator[Dump]:
        while True:
            with self._transaction() as (opened, transaction):
                pointer = transaction.get(_pointer(fingerprint), db=opened.meta)
                about = json.loads(pointer) if pointer else {"name": "", "arrays": {}}
                try:
                    arrays = {
                        key: mapped(self._folder / f"snapshot-{about['name']}", key, of)[: of["used"]]
                        for key, of in about["arrays"].items()
                    }
                except StoreCorrupt:
                    if self.mark(fingerprint).snapshot == about["name"]:
                        raise
                    continue  # a checkpoint put another one in its place meanwhile
                yield Dump(
                    _number(transaction.get(_HEAD, db=opened.meta)),
                    about["name"],
                    arrays,
                    (
                        (_number(key), value[: RECORD.size], value[RECORD.size :])
                        for key, value in ((k, _RECORDS.decrypted(k, v)) for k, v in transaction.cursor())
                    ),
                    ((digest, _number(key)) for digest, key in transaction.cursor(opened.ids)),
                    (
                        (int.from_bytes(key, "big", signed=True), _BLOCKS.decrypted(key, kept))
                        for key, kept in transaction.cursor(opened.blocked)
                    ),
                    [
                        (key.removeprefix(_OFFSET).decode(), offset)
                        for key, offset in transaction.cursor(opened.meta)
                        if key.startswith(_OFFSET)
                    ],
                )
                return

    def fill(self, fingerprint: str, dump: Dump) -> None:
        if self.mark(fingerprint).head:
            raise StoreError(f"the online store in {self._folder} holds records already: nothing is laid over them")
        events = ((at.to_bytes(8, "big"), fields + raw) for at, fields, raw in dump.entries)
        self._put("events", ((key, _RECORDS.encrypted(key, value)) for key, value in events))
        self._put("ids", sorted((digest, at.to_bytes(8, "big")) for digest, at in dump.ids))
        self._put("blocked", sorted((_key(user), _BLOCKS.encrypted(_key(user), kept)) for user, kept in dump.blocked))
        self._put("meta", sorted((_offset(partition), offset) for partition, offset in dump.offsets))
        if dump.snapshot:
            self.save(fingerprint, dump.snapshot, dump.arrays, None)
        self.raise_head(dump.head)

    def _put(self, database: str, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Rows in order of their keys, some at a time."""
        left = iter(rows)
        while chunk := list(itertools.islice(left, 100_000)):
            with self._transaction(write=True) as (opened, transaction):
                transaction.cursor(getattr(opened, database)).putmulti(chunk)

    def _remove(self, pattern: str, kept: str) -> None:
        """The folders but one: also what an earlier run that was killed left behind."""
        for folder in self._folder.glob(pattern):
            if folder.name != kept:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        with self._following:
            held, self._held = self._held, None
        if held is not None:
            held[1].release()


def _is_held(opened: Map, transaction: Any) -> bool:
    return _number(transaction.get(_FORGETTING, db=opened.meta)) > time.time()


def _pointer(fingerprint: str) -> bytes:
    return b"snapshot:" + fingerprint.encode()


def _coming(fingerprint: str) -> bytes:
    return _COMING + fingerprint.encode()


def _offset(partition: str) -> bytes:
    return _OFFSET + partition.encode()


def _stays(key: bytes, pointer: bytes) -> bool:
    return key == pointer or not key.startswith((b"snapshot:", _COMING, _FORGETTING))


def _key(user_key: int) -> bytes:
    return user_key.to_bytes(8, "big", signed=True)


def _number(value: bytes | memoryview | None) -> int:
    return int.from_bytes(value, "big") if value else 0
