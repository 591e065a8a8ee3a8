"""What the last transactions put into LMDB's map, in a file beside it.

LMDB flushes twice a commit, one after the other: the pages, then the page that says where their root is. Here the
second is left to the next commit's first. Should power fail before it, the root of the last commit alone is lost, and
what that put is put again from this file, which is flushed beside the pages: an append waits for one flush.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Final

import xxhash

SLOT: Final = 1 << 16  # bytes for one of the last two transactions; a larger one flushes the map twice
_HEAD: Final = struct.Struct("<16sQQ")  # checksum of what follows, transaction, length
_PUT: Final = struct.Struct("<BHI")  # lengths of the database's name, key and value


Puts = Mapping[bytes, Sequence[tuple[bytes, bytes]]]  # keys and values by name of the database


class Redo:
    """The file of one map. Whoever writes it holds the map's writer's lock."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "redo", os.O_RDWR | os.O_CREAT, 0o644)
        listed = os.open(folder, os.O_RDONLY)
        os.fsync(listed)  # its name
        os.close(listed)
        self._beside = ThreadPoolExecutor(1, "redo")
        self._flushed: dict[int, Future[None]] = {}

    def begin(self, number: int, puts: Puts) -> None:
        """Keep all that a transaction puts, which is about to be committed, and begin to flush it."""
        if sum(map(len, puts.values())) * _PUT.size > SLOT:  # a batch: what it takes need not be added up
            return
        rows = [(name, key, value) for name, pairs in puts.items() for key, value in pairs]
        size = _HEAD.size + sum(_PUT.size + sum(map(len, row)) for row in rows)
        if rows and size <= SLOT:
            body = b"".join(_PUT.pack(*map(len, row)) + b"".join(row) for row in rows)
            # Two slots: the one before may still need its own until this one's pages, and with them its root, are
            # flushed. Written here, under the lock: a thread that came late would put an old one over a later.
            os.pwrite(self._file, _sealed(number, body), number % 2 * SLOT)
            self._flushed[number] = self._beside.submit(os.fdatasync, self._file)

    def holds(self, number: int) -> bool:
        """Whether a transaction is safe here; waits for the flush that was begun."""
        flushed = self._flushed.pop(number, None)
        return flushed is not None and flushed.exception() is None

    def undo(self, number: int) -> None:
        """A transaction did not come to be."""
        if self._flushed.pop(number, None) is not None:
            os.pwrite(self._file, bytes(_HEAD.size), number % 2 * SLOT)

    def of(self, number: int) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Database, key and value of all that a transaction put; nothing where it is not here, or torn."""
        slot = os.pread(self._file, SLOT, number % 2 * SLOT)
        if len(slot) < _HEAD.size:
            return
        _, written, length = _HEAD.unpack_from(slot)
        end, at = _HEAD.size + length, _HEAD.size
        if written != number or slot[:end] != _sealed(number, slot[at:end]):
            return
        while at < end:
            lengths = _PUT.unpack_from(slot, at)
            places = list(accumulate(lengths, initial=at + _PUT.size))
            name, key, value = (slot[start:stop] for start, stop in pairwise(places))
            yield name, key, value
            at = places[-1]

    def close(self) -> None:
        """Let go of the file."""
        self._beside.shutdown()
        os.close(self._file)


def _sealed(number: int, body: bytes) -> bytes:
    told = struct.pack("<QQ", number, len(body)) + body
    return xxhash.xxh3_128_digest(told) + told
