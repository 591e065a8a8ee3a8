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
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import lmdb
import numpy as np
import xxhash

from recsys.features.journal import ITEM_RECORD, RECORD_FIELDS, Entry, Mark, Records
from recsys.features.store import (
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreMissing,
)

MAP_BYTES: Final = 64 << 30  # address space, not disk: the file grows as it is used
_RECORD: Final = struct.Struct(f"<{RECORD_FIELDS}q")
_HEAD: Final = b"head"
_CURRENT: Final = "current"  # symlink to the folder of the map in use
_SPARE: Final = 1.25  # a snapshot's cells have room for a quarter more, as a hole in the file

# LMDB forbids opening one map twice in a process, so the stores of a process share it.
_open: dict[tuple[int, str], list[Any]] = {}
_open_lock = threading.Lock()


class LmdbJournal:
    """A journal in a folder.

    Raises:
        StoreMissing: the folder holds none (and `create` is false).
        StoreCorrupt: it is no LMDB map.
    """

    def __init__(self, folder: Path, *, create: bool = False, map_bytes: int = MAP_BYTES) -> None:
        self._folder, self._map_bytes, self._map, self._name = folder, map_bytes, "", (0, "")
        self._marked: tuple[tuple[str, int, str], Mark] = ("", -1, ""), Mark(0, "")
        current = folder / _CURRENT
        if not current.exists():
            if not create:
                raise StoreMissing(
                    f"there is no online store in {folder.name}/ yet: materialize online_state (make run)"
                )
            (folder / "map-0").mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # another process was first
                current.symlink_to("map-0")
        self._follow()

    def _follow(self) -> None:
        """Open the current map, if it is not the one that is open: `forget` puts a new one in its place."""
        current = os.readlink(self._folder / _CURRENT)
        if current == self._map:
            return
        self.close()
        name = (os.getpid(), str((self._folder / current).resolve()))
        with _open_lock, _clear_errors():
            if name not in _open:
                environment = lmdb.open(name[1], map_size=self._map_bytes, max_dbs=4, max_readers=512)
                _open[name] = [environment, 0]
            _open[name][1] += 1
            self._map, self._name, self._environment = current, name, _open[name][0]
            self._meta = self._environment.open_db(b"meta")
            self._events = self._environment.open_db(b"events")
            self._ids = self._environment.open_db(b"ids")
            self._blocked = self._environment.open_db(b"blocked")

    @contextmanager
    def _transaction(self, *, write: bool = False, buffers: bool = False) -> Iterator[Any]:
        """A transaction on the current map; its default database is the events."""
        while True:
            self._follow()
            with _clear_errors(), self._environment.begin(self._events, write=write, buffers=buffers) as transaction:
                # a writer that waited for `forget` has the old map's lock now
                if not write or os.readlink(self._folder / _CURRENT) == self._map:
                    yield transaction
                    return

    def mark(self, fingerprint: str) -> Mark:
        self._follow()
        with _clear_errors():
            # the last transaction's number stands in the map itself, whichever process wrote it: 2 us where two reads
            # and a parse take 20
            written = self._map, self._environment.info()["last_txnid"], fingerprint
            if written == self._marked[0]:
                return self._marked[1]
        with self._transaction() as transaction:
            head = transaction.get(_HEAD, db=self._meta)
            snapshot = transaction.get(b"snapshot:" + fingerprint.encode(), db=self._meta)
            written = self._map, transaction.id(), fingerprint
        self._marked = written, Mark(_number(head), json.loads(snapshot)["name"] if snapshot else "")
        return self._marked[1]

    def append(self, entries: Sequence[Entry], floor: int) -> list[int]:
        positions = []
        with self._transaction(write=True) as transaction:
            following = max(_number(transaction.get(_HEAD, db=self._meta)) + 1, floor)
            events = transaction.cursor(self._events)
            for digest, fields, raw in entries:
                key = following.to_bytes(8, "big")
                if not transaction.put(digest, key, db=self._ids, overwrite=False):
                    positions.append(0)
                    continue
                events.put(key, _RECORD.pack(*fields) + raw, append=True)
                positions.append(following)
                following += 1
            if any(positions):
                transaction.put(_HEAD, (following - 1).to_bytes(8, "big"), db=self._meta)
        return positions

    def raise_head(self, position: int) -> None:
        with self._transaction(write=True) as transaction:
            if position > _number(transaction.get(_HEAD, db=self._meta)):
                transaction.put(_HEAD, position.to_bytes(8, "big"), db=self._meta)

    def records(self, after: int, until: int) -> Records:
        keys, fields = [], []
        with self._transaction(buffers=True) as transaction:
            for key, value in _from(transaction.cursor(), after):
                if _number(key) > until:
                    break
                keys.append(bytes(key))
                fields.append(bytes(value[: _RECORD.size]))
        positions = np.frombuffer(b"".join(keys), ">i8").astype(np.int64)
        return Records(positions, np.frombuffer(b"".join(fields), np.int64).reshape(-1, RECORD_FIELDS))

    def raw(self, after: int) -> list[tuple[int, int, bytes]]:
        with self._transaction() as transaction:
            return [
                (_number(key), _RECORD.unpack_from(value)[0], value[_RECORD.size :])
                for key, value in _from(transaction.cursor(), after)
            ]

    def save(self, fingerprint: str, arrays: Mapping[str, np.ndarray]) -> None:
        name = uuid.uuid4().hex
        folder = self._folder / f"snapshot-{name}"
        folder.mkdir()
        digests = {}
        try:
            for key, array in arrays.items():
                digests[key] = _checksum(array)
                rows = int(len(array) * _SPARE) + 1 if key == "cells" else len(array)
                shape = (rows, *array.shape[1:])
                if 0 in shape:
                    np.save(folder / f"{key}.npy", array)
                    continue
                stored = np.lib.format.open_memmap(folder / f"{key}.npy", "w+", array.dtype, shape)
                stored[: len(array)] = array
                stored.flush()
            about = {"name": name, "digests": digests, "cells": len(arrays["cells"])}
            with self._transaction(write=True) as transaction:
                pointer = b"snapshot:" + fingerprint.encode()
                before = transaction.get(pointer, db=self._meta)
                transaction.put(pointer, json.dumps(about).encode(), db=self._meta)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if before:  # processes that still map the old files keep them until they let go
            shutil.rmtree(self._folder / f"snapshot-{json.loads(before)['name']}", ignore_errors=True)

    def load(self, fingerprint: str, snapshot: str) -> dict[str, np.ndarray]:
        with self._transaction() as transaction:
            about = json.loads(transaction.get(b"snapshot:" + fingerprint.encode(), db=self._meta))
        folder = self._folder / f"snapshot-{about['name']}"
        arrays = {}
        for key, digest in about["digests"].items():
            try:
                array = _map(folder / f"{key}.npy")
            except (OSError, ValueError) as error:
                raise StoreCorrupt(
                    f"snapshot file {key}.npy of the online store is gone or torn ({error}): materialize online_state"
                ) from None
            used = array[: about["cells"]] if key == "cells" else array
            if _checksum(used) != digest:
                raise StoreCorrupt(
                    f"snapshot file {key}.npy of the online store does not match its checksum: materialize online_state"
                )
            arrays[key] = np.asarray(array)
        return arrays

    def blocked(self, user_key: int) -> bytes | None:
        with self._transaction() as transaction:
            found: bytes | None = transaction.get(_key(user_key), db=self._blocked)
        return found

    def block(self, user_key: int, changed: Callable[[bytes | None], bytes]) -> bytes:
        with self._transaction(write=True) as transaction:
            kept = changed(transaction.get(_key(user_key), db=self._blocked))
            transaction.put(_key(user_key), kept, db=self._blocked)
        return kept

    def strip(self, user_key: int, rewritten: Callable[[bytes], bytes]) -> int:
        with self._transaction(write=True) as transaction:
            transaction.delete(_key(user_key), db=self._blocked)
            found = [
                (bytes(key), bytes(value))
                for key, value in transaction.cursor(self._events)
                if _RECORD.unpack_from(value)[0] != ITEM_RECORD and _RECORD.unpack_from(value)[1] == user_key
            ]
            for key, value in found:
                kind, _, *rest = _RECORD.unpack_from(value)
                record = _RECORD.pack(kind, 0, *rest) + rewritten(value[_RECORD.size :])
                transaction.put(key, record, db=self._events)
        return len(found)

    def compact(self, fingerprint: str) -> None:
        """Write the map anew, row by row: pages that are free, and gaps in those that are not, keep old bytes.

        Processes that hold the store change over by themselves.
        """
        pointer = b"snapshot:" + fingerprint.encode()
        following = f"map-{1 + max(int(path.name.split('-')[1]) for path in self._folder.glob('map-*'))}"
        (self._folder / following).mkdir()
        with self._transaction(write=True) as transaction:  # no other writer until the new map is the current one
            named = transaction.get(pointer, db=self._meta)
            with (
                _clear_errors(),
                lmdb.open(str(self._folder / following), map_size=self._map_bytes, max_dbs=4, max_readers=512) as copy,
            ):
                for name, database in (
                    (b"meta", self._meta),
                    (b"events", self._events),
                    (b"ids", self._ids),
                    (b"blocked", self._blocked),
                ):
                    target = copy.open_db(name)
                    rows = ((k, v) for k, v in transaction.cursor(database) if name != b"meta" or _stays(k, pointer))
                    while chunk := list(itertools.islice(rows, 100_000)):
                        with copy.begin(target, write=True) as writing:
                            writing.cursor().putmulti(chunk, append=True)
            link = self._folder / f"{_CURRENT}.new"
            link.unlink(missing_ok=True)
            link.symlink_to(following)
            os.replace(link, self._folder / _CURRENT)
        self._follow()
        kept = {following, f"snapshot-{json.loads(named)['name']}" if named else ""}
        for folder in (*self._folder.glob("map-*"), *self._folder.glob("snapshot-*")):
            if folder.name not in kept:  # also what an earlier one that was killed left behind
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        with _open_lock:
            name = self._name
            shared = _open.get(name)
            if shared is None:
                return
            self._map, self._name = "", (0, "")
            shared[1] -= 1
            if shared[1] == 0:
                shared[0].close()
                del _open[name]


def _map(file: Path) -> np.ndarray:
    """The array of a file, copy on write: workers share every page that none of them changed."""
    with open(file, "rb") as opened:
        version = np.lib.format.read_magic(opened)
        shape, _, dtype = np.lib.format.read_array_header_1_0(opened) if version == (1, 0) else ((1,), False, None)
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.load(file, mmap_mode="c")


def _checksum(array: Any) -> str:
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _stays(key: bytes, pointer: bytes) -> bool:
    return key == pointer or not key.startswith(b"snapshot:")


def _key(user_key: int) -> bytes:
    return user_key.to_bytes(8, "big", signed=True)


def _number(value: bytes | memoryview | None) -> int:
    return int.from_bytes(value, "big") if value else 0


def _from(cursor: Any, after: int) -> Iterator[tuple[Any, Any]]:
    if cursor.set_range((after + 1).to_bytes(8, "big")):
        yield from cursor


@contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except (lmdb.MapFullError, lmdb.DiskError) as error:
        raise StoreFull(
            f"the online store is full ({error}): free disk space; nothing of this batch was taken"
        ) from None
    except (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.PageNotFoundError) as error:
        raise StoreCorrupt(
            f"the online store cannot be read ({error}): move the store folder away and materialize online_state"
        ) from None
    except lmdb.Error as error:
        raise StoreError(f"the online store failed: {error}") from None
