"""The state that a process reads from where a journal keeps it by entity: some owners, the tail, and no more."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import numpy as np

from recsys.features.fold import State
from recsys.features.log import EventLog, concat, empty
from recsys.store.entities import PARTS, Entities, Owned, all_of, asked, folded, owners
from recsys.store.hot import LOG, Hot, log_of, packed, packed_items
from recsys.store.journal import Journal, events_of, unbroken

CHUNK: Final = 2_000  # owners that are folded at once
ITEMS: Final = ("items", "item_matrix", "item_table", "item_records", "words", "about")  # what a process loads whole


class EntityJournal(Journal, Protocol):
    """A journal that keeps states by entity, each under the lineage of its snapshots."""

    def owned(self, lineage: str, names: Sequence[int]) -> list[bytes | None]:
        """What it has of owners."""

    def keep_owned(self, lineage: str, blobs: Iterator[tuple[int, bytes]]) -> None:
        """Keep what owners have, unless what is there is of a later position."""

    def has_archived(self, lineage: str, digests: Sequence[bytes]) -> np.ndarray:
        """bool[n]: whether the archive held each event."""

    def archived(self, lineage: str) -> np.ndarray:
        """Digests of the archive's events, as Known sorts them."""


class ByEntity(Hot):
    """A snapshot's items, and of its state what was asked for. A later snapshot of the lineage only cuts the tail."""

    def __init__(
        self, arrays: Mapping[str, np.ndarray], journal: EntityJournal, snapshot: str, cache_mb: int | None
    ) -> None:
        self._journal, self._lineage = journal, snapshot.split("-")[0]
        self._entities = Entities(cache_mb)
        self._pending: list[tuple[int, np.ndarray, list[Owned | None]]] = []
        super().__init__(arrays)
        self._folded_to = self.position  # up to here the log is in whatever the journal has by entity

    def _take(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._logged = int(arrays["logged"][0])  # the snapshot's own log ends here; the journal goes on
        self.logs: list[EventLog] = []

    @property
    def state(self) -> State:  # type: ignore[override]
        """Of the owners that are here."""
        return self._entities.state

    @property
    def judgements(self):  # type: ignore[no-untyped-def, override]
        """Of the users that are here."""
        return self._entities.judgements

    @property
    def digests(self) -> np.ndarray:  # type: ignore[override]
        """All of the archive's: for a state that is made anew."""
        return self._journal.archived(self._lineage)

    def has(self, digests: Sequence[bytes]) -> np.ndarray:
        return self._journal.has_archived(self._lineage, digests)

    def _fold(self, events: EventLog) -> None:
        self._entities.apply(events)

    def follow(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from a later snapshot of the same events: what it has by entity is not kept twice."""
        self._folded_to = int(arrays["about"][0])
        tail = concat(self.logs)
        self.logs = [tail.take(tail.position > self._folded_to)]
        self.applied = len(self.logs[0].position)

    def lacking(
        self, user_key: int, rows: np.ndarray, strange: np.ndarray, shelf_key: int
    ) -> Callable[[], None] | None:
        while self._pending:
            self._add(*self._pending.pop())
        items = self.item_rows.matrix[rows, :3]
        items[:, 0] += strange  # the key of an item that has row 0, which is nobody's
        missing = self._entities.lacking(asked(user_key, items, shelf_key))
        return functools.partial(self._fetch, missing) if len(missing) else None

    def warm(self, before: Hot, asked: Sequence[tuple[int, Sequence[str] | np.ndarray, int, int]]) -> None:
        """Fetch all owners that the state before it holds as well."""
        held = before._entities.names if isinstance(before, ByEntity) else np.zeros(0, np.int64)
        for start in range(0, len(held), CHUNK):
            self._fetch(held[start : start + CHUNK])
            self._add(*self._pending.pop())
        super().warm(before, asked)

    def _fetch(self, names: np.ndarray) -> None:
        folded_to = self._folded_to  # the tail that is kept begins there
        blobs = self._journal.owned(self._lineage, names.tolist())
        self._pending.append((folded_to, names, [Owned.read(blob) if blob else None for blob in blobs]))

    def _add(self, folded_to: int, names: np.ndarray, owned: list[Owned | None]) -> None:
        late = max((one.position for one in owned if one is not None), default=0)
        if folded_to != self._folded_to or late > self.position:
            return  # the tail no longer follows, or not yet: they are asked for again
        new = self._entities.lacking(names)
        kept = np.isin(names, new)
        self._entities.add(
            names[kept], [one for one, is_new in zip(owned, kept.tolist(), strict=True) if is_new], self.logs
        )

    def pieces(self) -> list[EventLog]:
        between = events_of(self._journal.records(self._logged, self._folded_to))
        unbroken(self._journal, self._logged)
        return [*log_of(self._arrays), *([between] if len(between.position) else []), *self.logs]

    def log(self) -> EventLog:
        pieces = [piece for piece in self.pieces() if len(piece.position)]
        return concat(pieces) if pieces else empty()

    def packed(self) -> Mapping[str, np.ndarray | None]:
        """Fold the tail into what the journal has by entity; the arrays of the rest, None of what stays as it was."""
        tail = concat(self.logs)
        for part in PARTS if len(tail.position) else ():
            of = owners(part, tail)
            names = np.unique(of[of != 0])
            for start in range(0, len(names), CHUNK):
                few = names[start : start + CHUNK]
                blobs = self._journal.owned(self._lineage, few.tolist())
                owned = [Owned.read(blob) if blob else None for blob in blobs]
                events = tail.take(np.isin(of, few))
                self._journal.keep_owned(self._lineage, folded(part, few, owned, events, self.position))
        told = packed_items(self.items_table, self.words(), self.about)
        return {**told, "logged": self._arrays["logged"], **dict.fromkeys(LOG)}


def whole(journal: EntityJournal, snapshot: str, arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """What `divided_arrays` divided, as of a later snapshot of the lineage: made anew from its log."""
    hot = ByEntity(arrays, journal, snapshot, None)
    return packed(None, hot.log(), hot.items_table, hot.words(), hot.position, hot.ids, hot.utc_offset_ms)


def divided_arrays(
    arrays: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], Iterator[tuple[int, bytes]], np.ndarray]:
    """A whole snapshot (hot.packed) as a journal by entity keeps it: arrays, owners, and the archive's digests."""
    log = concat(log_of(arrays))
    state = State(arrays["table"], arrays["cells"], arrays["used"])
    kept = {name: arrays[name] for name in (*ITEMS, *LOG)} | {"logged": arrays["about"][:1]}
    return kept, all_of(state, log, int(arrays["about"][0])), arrays["digests"]
