"""LMDB's map of a folder as this process has it open, and its errors in our words."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

import lmdb

from recsys.encryption import EncryptionError
from recsys.store.errors import StoreCorrupt, StoreError, StoreFull
from recsys.store.redo import Redo

MAP_BYTES: Final = 64 << 30  # address space, not disk: the file grows as it is used
READERS: Final = 512  # transactions that read at one moment, of all processes
DATABASES: Final = (b"meta", b"events", b"ids", b"blocked")


class Map:
    """A map that this process has open. LMDB forbids opening one twice, so the stores of a process share it.

    Whoever touches it holds it, and the last one to let go closes it. So nobody closes it under a thread that reads,
    or under one that waits for the writer's lock: that thread would wait for ever.
    """

    _open: ClassVar[dict[tuple[int, str], Map]] = {}  # by process and folder: a fork inherits none of them
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, folder: Path, map_bytes: int) -> None:
        self.environment: Any = lmdb.open(
            str(folder), map_size=map_bytes, max_dbs=4, max_readers=READERS, create=False, metasync=False
        )
        self.environment.reader_check()  # those of processes that were killed keep old pages, and their places
        self.redo, self._holders = Redo(folder), 0
        self.meta, self.events, self.ids, self.blocked = map(self.environment.open_db, DATABASES)
        if any(self.redo.of(self.environment.info()["last_txnid"] + 1)):  # or somebody commits it just now
            with self.begin(write=True) as transaction:
                for name, key, value in self.redo.of(transaction.id()):
                    transaction.put(key, value, db=self.environment.open_db(name, transaction))

    @classmethod
    def held(cls, folder: Path, map_bytes: int) -> Map:
        """The map of a folder, held by the caller until `release`."""
        name = os.getpid(), str(folder.resolve())
        with cls._lock, clear_errors():
            opened = cls._open.get(name)
            if opened is None:
                opened = cls._open[name] = cls(folder, map_bytes)
            opened._holders += 1
            return opened

    @contextmanager
    def begin(self, *, write: bool = False, buffers: bool = False) -> Iterator[Any]:
        """A transaction, whose default database is the events. One that writes is durable behind this block."""
        if not write:
            with self.environment.begin(self.events, buffers=buffers) as transaction:
                yield transaction
            return
        number = 0
        try:
            with self.environment.begin(self.events, write=True, buffers=buffers) as transaction:
                number = transaction.id()
                yield transaction
        except BaseException:  # of a full disk, say: nothing was taken, and nothing is to come back
            with self.environment.begin(write=True) as transaction:
                if transaction.id() == number:  # else somebody else has the number, and the slot
                    self.redo.undo(number)
            raise
        if not self.redo.holds(number):
            self.environment.sync(True)

    def again(self) -> bool:
        """Hold it once more; False when everybody has let go of it already."""
        with self._lock:
            self._holders += self._holders > 0
            return self._holders > 0

    def release(self) -> None:
        """Let go of it."""
        with self._lock:
            self._holders -= 1
            if not self._holders:
                Map._open = {name: opened for name, opened in Map._open.items() if opened is not self}
                self.environment.close()
                self.redo.close()


def beyond(cursor: Any, position: int) -> Iterator[tuple[Any, Any]]:
    """Keys and values of the records behind a position."""
    if cursor.set_range((position + 1).to_bytes(8, "big")):
        yield from cursor


@contextmanager
def clear_errors() -> Iterator[None]:
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
    except (lmdb.Error, EncryptionError) as error:
        raise StoreError(f"the online store failed: {error}") from None
