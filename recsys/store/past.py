"""The store as it was at one position of its log, by itself: a read of the past asks no lock and stops no writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from recsys.features import fold, sweep
from recsys.features.history import History
from recsys.features.judged import Judged, Judgements
from recsys.features.log import EventLog, ItemColumns, Items, Reads, Rows, concat


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
    judged: Judged  # what the user finished, disliked, skipped or opened
    item_records: int = 0  # records of items that the log had, at its head

    @property
    def history(self) -> History:
        """The user's, as one row."""
        return self.history_of(1)

    def history_of(self, rows: int) -> History:
        """The user's, the same for so many rows; its arrays are the read's own."""
        return History.of_one(self.history_item_keys, self.history_kinds, self.history_occurred_at, rows)

    def of_items(self, rows: np.ndarray | slice) -> Read:
        """The same user and some of the items: an index, a mask or a slice."""
        return self._replace(
            item_keys=self.item_keys[rows],
            aggregates=self.aggregates[rows],
            item=ItemColumns(*(column[rows] for column in self.item)),
            known=self.known[rows],
        )


@dataclass(frozen=True)
class Past:
    """The log up to a position and the items as they were known there."""

    log: EventLog
    items: Items
    position: int

    def read(self, user_key: int, item_keys: np.ndarray, as_of: int, shelf_key: int = 0) -> Read:
        """What the store read there of a user and of k items (int64 keys), at an instant (UTC ms)."""
        n = len(item_keys)
        users, positions, instants = np.full(n, user_key), np.full(n, self.position), np.full(n, as_of)
        keys = np.ascontiguousarray(item_keys)
        shelves = np.full(n, shelf_key)
        aggregates = sweep.point_in_time(self.log, self.items, Rows(users, keys, positions, instants, shelves))
        history = sweep.histories(self.log, users[:1], positions[:1], instants[:1]) if n else History.none(1)
        return Read(
            self.position,
            as_of,
            user_key,
            keys,
            aggregates,
            self.items.lookup(keys),
            self.items.known(keys),
            *history.row(0),
            self.judged(user_key),
        )

    def judged(self, user_key: int) -> Judged:
        """What a user had judged by then."""
        return Judgements.of_log(self.of_user(user_key)).of(user_key)

    def of_user(self, user_key: int) -> EventLog:
        """The user's events, in log order."""
        return self.log.take(np.flatnonzero(self.log.user_key == user_key))

    def counted(self, column: str) -> EventLog:
        """The log whose events an aggregate counts."""
        return self.log

    def followed_by(self, events: EventLog) -> Past:
        """The past in which these events came next. Their positions are given here; nothing is written."""
        positions = self.position + 1 + np.arange(len(events.position), dtype=np.int64)
        log = concat([self.log, events._replace(position=positions)])
        return replace(self, log=log, position=self.position + len(events.position))


def completed(read: Read, logs: Sequence[EventLog], reads: Reads, rows: np.ndarray) -> Read:
    """A read, with those of its rows as the log tells them that its state could not tell."""
    fold.scan_logs(sweep.PROGRAM, logs, reads, rows, read.aggregates)
    return read
