"""What a journal is: the durable log of an online store, and the snapshots beside it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, NamedTuple, Protocol

import numpy as np
import xxhash

from recsys.events import KINDS, SEARCH
from recsys.features.log import EventLog
from recsys.store.errors import JournalCut

ITEM_RECORD: Final = 0  # kind of a log record that carries an item's attributes
RECORD_FIELDS: Final = 9  # kind, user, item, category, creator, shelf, occurred, received, watch: int64 each
ITEMS: Final = "/items"  # the partition, of no stream, that every word about an item moves: it builds on those before
CUT: Final = "/cut"  # the partition, of no stream, that says up to which position records have left
FORGETTING_SECONDS: Final = 600  # for which one that was killed keeps checkpoints off
AHEAD_SECONDS: Final = 3.0  # for which a snapshot is announced: workers look each second
WATCHED_SECONDS: Final = 5  # since one looked: nobody else is waited for
NO_END: Final = (1 << 63) - 1  # beyond every position
RECORD_RECEIVED: Final = 7  # place of `received` among them
RECORD: Final = struct.Struct(f"<{RECORD_FIELDS}q")


class Entry(NamedTuple):
    """One record to append."""

    digest: bytes  # 16 bytes of the event_key: an entry whose digest is there already is a duplicate
    record: bytes  # RECORD, then the event or item as JSON: alone, what orjson gives keeps 1 KB of memory

    @property
    def fields(self) -> bytes:
        """RECORD_FIELDS integers."""
        return self.record[: RECORD.size]

    @property
    def raw(self) -> bytes:
        """The JSON."""
        return self.record[RECORD.size :]


class Offset(NamedTuple):
    """How far one partition of a stream was read: as it was before a batch, and as it is with it."""

    partition: str
    before: bytes  # as `offsets` gave it
    after: bytes


class Taken(NamedTuple):
    """What became of a batch."""

    positions: list[int]  # of each entry, 0 where its digest was there already
    before: int  # the log's head ahead of it: between that and the batch lies nothing


class Records(NamedTuple):
    """Part of the journal, in order of position."""

    position: np.ndarray  # int64[n]
    fields: np.ndarray  # int64[n, RECORD_FIELDS]


def records_of(positions: Sequence[int] | np.ndarray, packed: Sequence[bytes]) -> Records:
    """Records from their RECORDs."""
    fields = np.frombuffer(b"".join(packed), np.int64).reshape(-1, RECORD_FIELDS)
    return Records(np.array(positions, np.int64), fields)


class Mark(NamedTuple):
    """What a reader compares before each read."""

    head: int  # position of the last record
    snapshot: str  # name of the snapshot of this fingerprint, "" when there is none


class Size(NamedTuple):
    """How much a journal holds, without snapshots."""

    records: int
    ids: int  # by which events count as known
    bytes: int  # on disk or in Redis's memory; pages that are free count, since the next records take them


class Dump(NamedTuple):
    """All of a journal as it was at one moment, for any engine to take over. Iterators are read once, in this order."""

    head: int
    snapshot: str  # its name, "" when there is none
    arrays: Mapping[str, np.ndarray]  # of it
    entries: Iterator[tuple[int, bytes, bytes]]  # position, RECORD_FIELDS integers (little-endian), JSON; by position
    ids: Iterator[tuple[bytes, int]]  # digest and position of every event that counts as known
    blocked: Iterator[tuple[int, bytes]]  # user key and what was kept of it
    offsets: Sequence[tuple[str, bytes]]  # how far each partition of a stream was read


class Journal(Protocol):
    """The durable log and the snapshots beside it. Every method is atomic and safe among processes."""

    shares_pages: bool  # whether processes share a snapshot's memory: then loading one is cheap

    def mark(self, fingerprint: str) -> Mark: ...

    def probe(self) -> None:
        """Raises StoreError when a batch that came now could not be acknowledged."""

    def append(self, entries: Sequence[Entry], floor: int, offsets: Sequence[Offset] = ()) -> Taken:
        """Take a batch; its first position is at least `floor`. Durable, and with it how far a stream was read.

        Raises:
            OffsetMoved: an offset is not as it was before: nothing was taken.
        """

    def offsets(self, partitions: Sequence[str]) -> list[bytes]:
        """How far each partition of a stream was read; b"" where it never was."""

    def identity(self) -> str:
        """What tells this journal from every other one, 32 hex digits."""

    def raise_head(self, position: int) -> None:
        """Let every later record come after `position`."""

    def records(self, after: int, until: int) -> Records: ...

    def raw(self, after: int, until: int = NO_END, *, only: int | None = None) -> list[tuple[int, int, bytes]]:
        """Position, kind and JSON of the records after a position and up to one, or only of those of a kind."""

    def coming(self, fingerprint: str) -> str:
        """Name of the snapshot that is announced, which `load` gives as well; "" for none. Who looks is waited for."""

    def save(self, fingerprint: str, name: str, arrays: Mapping[str, np.ndarray | None], replaces: str | None) -> bool:
        """Keep a snapshot and make it the fingerprint's own, in one step.

        Before that step processes that look what is `coming`, and would have to load it, get AHEAD_SECONDS to do so,
        but while `hold` stands.

        Args:
            name: of its own, letters, digits and dashes
            arrays: None for one that stays as it was: only of a journal that keeps states by entity
            replaces: the snapshot that it was made from ("": there was none), None for any

        Returns:
            Whether that one was still the fingerprint's own; else nothing changed, and it has to be made anew.
        """

    def snapshots(self) -> dict[str, str]:
        """Name of each snapshot by fingerprint."""

    def load(self, fingerprint: str, snapshot: str) -> dict[str, np.ndarray]:
        """The arrays of a snapshot; changing them changes nothing stored."""

    def check(self, fingerprint: str, snapshot: str, names: Collection[str]) -> None:
        """Raises StoreCorrupt when one of those arrays is not what was saved: `load` may leave that out."""

    def blocked(self, user_key: int) -> bytes | None:
        """What a user blocked, as it was kept."""

    def block(self, user_key: int, changed: Callable[[bytes | None], bytes]) -> bytes:
        """Keep what `changed` makes of it, and return that. Durable."""

    def hold(self) -> None:
        """Until `compact`, for FORGETTING_SECONDS at most, no snapshot takes the place of one of the same events: they
        may come quicker than one without a user is made, which then were always too late.
        """

    def strip(self, user_key: int, rewritten: Callable[[bytes], bytes], word: bytes) -> int:
        """Make a user's events nobody's, their JSON what `rewritten` makes of it, and drop what they blocked.

        Others' searches that hold `word` go the same way, unless it is empty.

        Returns:
            Events of theirs.
        """

    def cut(self, positions: np.ndarray) -> None:
        """Let records leave (int64[n], ascending), with the ids by which they are known, some in each step.

        Killed, it is ended by being repeated. What is to leave must be in every snapshot and in the lake.
        """

    def cut_at(self) -> int:
        """Up to which position records have left; some before it may have stayed."""

    def size(self) -> Size: ...

    def compact(self, fingerprint: str) -> None:
        """Leave the log and this fingerprint's snapshot, and no byte of what either was before. Safe to repeat."""

    def drop(self, fingerprint: str) -> None:
        """Leave no snapshot of these features; the log stays."""

    def dumped(self, fingerprint: str) -> AbstractContextManager[Dump]:
        """The journal as it is now, while others go on; its iterators live as long as the block."""

    def fill(self, fingerprint: str, dump: Dump) -> None:
        """Take over a dump.

        Raises:
            StoreError: there are records here already.
        """

    def close(self) -> None: ...


def unbroken(journal: Journal, after: int) -> None:
    """Asked behind a reading of what comes after a position.

    Raises:
        JournalCut: some of it may have left before it was read.
    """
    if journal.cut_at() > after:
        raise JournalCut("this state is older than the journal's records: materialize online_state")


def is_of(kind: int, user: int, raw: bytes, user_key: int, word: bytes) -> bool:
    """Whether a record is the user's, or a search that tells of them."""
    return kind != ITEM_RECORD and (user == user_key or (kind == KINDS[SEARCH] and word != b"" and word in raw))


def key_of(name: str) -> int:
    """key64 of one id."""
    digest = xxhash.xxh3_64_intdigest(name.encode())
    return (digest - (1 << 64) if digest >> 63 else digest) or 1


def digest_of(event_key: str) -> bytes:
    """The 16 bytes by which a journal knows an event; a key is text of any length, as a forgotten user's is."""
    return xxhash.xxh3_128_digest(event_key.encode())


def events_of(records: Records) -> EventLog:
    """The records that are events, as a log."""
    chosen = records.fields[:, 0] != ITEM_RECORD
    kind, *rest = np.ascontiguousarray(records.fields[chosen].T)
    return EventLog(np.ascontiguousarray(records.position[chosen]), kind.astype(np.int8), *rest)
