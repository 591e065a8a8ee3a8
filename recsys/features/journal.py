"""What a journal is: the durable log of an online store, and the snapshots beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np
import xxhash

from recsys.features.log import EventLog

ITEM_RECORD: Final = 0  # kind of a log record that carries an item's attributes
RECORD_FIELDS: Final = 9  # kind, user, item, category, creator, shelf, occurred, received, watch: int64 each
RECORD_RECEIVED: Final = 7  # place of `received` among them


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

    def blocked(self, user_key: int) -> bytes | None:
        """What a user blocked, as it was kept."""

    def block(self, user_key: int, changed: Callable[[bytes | None], bytes]) -> bytes:
        """Keep what `changed` makes of it, and return that. Durable."""

    def strip(self, user_key: int, rewritten: Callable[[bytes], bytes]) -> int:
        """Make a user's events nobody's, their JSON what `rewritten` makes of it, and drop what they blocked.

        Returns:
            Events of theirs.
        """

    def compact(self, fingerprint: str) -> None:
        """Leave the log and this fingerprint's snapshot, and no byte of what either was before. Safe to repeat."""

    def close(self) -> None: ...


def key_of(name: str) -> int:
    """key64 of one id."""
    digest = xxhash.xxh3_64_intdigest(name.encode())
    return (digest - (1 << 64) if digest >> 63 else digest) or 1


def digest_of(event_id: str) -> bytes:
    """The idempotency key of an event."""
    return xxhash.xxh3_128_digest(event_id.encode())


def digests_of(event_ids: Sequence[str]) -> np.ndarray:
    """Sorted 128-bit digests of ids, uint64[n, 2]."""
    joined = b"".join(digest_of(event_id) for event_id in event_ids)
    pairs = np.frombuffer(joined, np.uint64).reshape(-1, 2)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def events_of(records: Records) -> EventLog:
    """The records that are events, as a log."""
    chosen = records.fields[:, 0] != ITEM_RECORD
    kind, *rest = np.ascontiguousarray(records.fields[chosen].T)
    return EventLog(np.ascontiguousarray(records.position[chosen]), kind.astype(np.int8), *rest)
