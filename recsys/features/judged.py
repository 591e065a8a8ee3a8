"""What users made up their minds about: the items that they finished, disliked, skipped or opened; their plays; and
what they searched for last.

Kept apart from the last 128 events, which a busy evening fills. It is a function of the events up to a position, so a
read finds the same in service, in evaluation and in a replay.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from recsys.events import KINDS, SEARCH
from recsys.features.log import EventLog
from recsys.features.sweep import stops_within

# kind -> place among a judgement's instants
VERDICTS: Final = {"finished": 0, "disliked": 1, "skipped": 2, "opened": 3}
JUDGING: Final = {
    "long_view": "finished",
    "exposure_long_view": "finished",
    "like": "finished",
    "dislike": "disliked",
    "skip": "skipped",
    "click": "opened",
}
PLAYED: Final = ("click", "long_view", "exposure_long_view")
# Items of a user. Beyond that the oldest go, in this order: those only opened, skipped, finished, disliked.
MOST: Final = 2_000
MOST_PLAYS: Final = 1_000  # of a user, the last: habits of a year, and 24 KB
SEARCHES: Final = 3  # of a user, the last
READY_BYTES: Final = 4 << 20  # of users kept ready in each process: a thousand who judged 50 items, 40 who judged MOST
_OBJECTS: Final = 850  # bytes of a Judged beside what its arrays hold
_VERDICT: Final = np.full(max(KINDS.values()) + 1, -1, np.int8)  # by kind
_IS_PLAYED: Final = np.isin(np.arange(max(KINDS.values()) + 1), [KINDS[kind] for kind in PLAYED])  # by kind
_IS_TOLD: Final = np.isin(np.arange(max(KINDS.values()) + 1), [KINDS[kind] for kind in (*JUDGING, SEARCH)])  # by kind
for _kind, _verdict in JUDGING.items():
    _VERDICT[KINDS[_kind]] = VERDICTS[_verdict]


class Judged(NamedTuple):
    """One user's items, [m] each, m at most MOST. An instant is that of the last such event, UTC ms, 0 without any."""

    item_key: np.ndarray  # int64[m], ascending
    at: np.ndarray  # int64[m, len(VERDICTS)]
    plays: np.ndarray  # int64[p, 3]: item_key, kind and occurred_at of the last PLAYED events, in log order
    searched: np.ndarray  # int64[s], s at most SEARCHES: `query_key` of the last searches, in log order

    @staticmethod
    def none() -> Judged:
        """Of somebody of whom nothing is known."""
        nothing = np.empty(0, np.int64)
        return Judged(nothing, np.empty((0, len(VERDICTS)), np.int64), np.empty((0, 3), np.int64), nothing)

    @property
    def nbytes(self) -> int:
        """Memory that it takes, about."""
        return _OBJECTS + sum(array.nbytes for array in self)

    def last_searched(self) -> np.ndarray:
        """The last searches, the last first: int64[SEARCHES], 0 for none."""
        last = np.zeros(SEARCHES, np.int64)
        last[: len(self.searched)] = self.searched[::-1]
        return last

    def in_progress(self) -> np.ndarray:
        """Keys of what was opened, and neither seen through, nor disliked, nor skipped since; the last opened first."""
        finished, disliked, skipped, opened = self.at.T
        rows = np.flatnonzero((opened > skipped) & (finished == 0) & (disliked == 0))
        return self.item_key[rows[np.lexsort((self.item_key[rows], -opened[rows]))]]


Event = tuple[int, int, int, int]  # position, item, kind, occurred_at


class Judgements:
    """The judging events and the searches of a log, user by user. Reading takes no lock that a writer holds long."""

    def __init__(
        self, user: np.ndarray, position: np.ndarray, item: np.ndarray, at: np.ndarray, kind: np.ndarray
    ) -> None:
        """As `events` gave them: [n] each, by user and then by position."""
        self._user, self._position, self._item, self._at, self._kind = user, position, item, at, kind
        self._later: dict[int, list[Event]] = {}  # by user
        self._ready: OrderedDict[int, tuple[int, Judged]] = OrderedDict()  # user -> events of `_later` in it, and it
        self.ready_bytes = 0  # that those take
        self._lock = threading.Lock()

    @classmethod
    def of_log(cls, log: EventLog) -> Judgements:
        """Those of a log."""
        return cls(*cls.events(log))

    @staticmethod
    def events(log: EventLog) -> tuple[np.ndarray, ...]:
        """Its judging events and searches: user, position, item, occurred_at (int64[n] each) and kind (int8[n])."""
        chosen = np.flatnonzero(_IS_TOLD[log.kind] & (log.user_key != 0))
        order = chosen[np.argsort(log.user_key[chosen], kind="stable")]
        return tuple(c[order] for c in (log.user_key, log.position, log.item_key, log.occurred_at, log.kind))

    def put(self, user_key: int, events: np.ndarray) -> None:
        """All of a user's, int64[n, 4]: position, item, kind, occurred_at."""
        self._later[user_key] = [tuple(event) for event in events.tolist()]

    def events_of(self, user_key: int) -> np.ndarray:
        """All that tells of a user, as `put` takes it: the last event of each item and verdict, the last plays and
        searches.
        """
        events = np.array(self._later.get(user_key, ()), np.int64).reshape(-1, 4)
        _, item, kind, at = events.T
        verdict = _VERDICT[kind]
        order = np.lexsort((at, verdict, item))
        last = np.ones(len(order), bool)
        last[:-1] = (np.diff(item[order]) != 0) | (np.diff(verdict[order]) != 0)
        last &= verdict[order] >= 0
        beside = (np.flatnonzero(_IS_PLAYED[kind])[-MOST_PLAYS:], np.flatnonzero(kind == KINDS[SEARCH])[-SEARCHES:])
        return events[np.union1d(order[last], np.concatenate(beside))]

    def add(self, log: EventLog) -> int:
        """Events that follow those that are here; returns how many are kept."""
        rows = np.flatnonzero(_IS_TOLD[log.kind] & (log.user_key != 0))
        columns = (log.user_key, log.position, log.item_key, log.kind, log.occurred_at)
        for user_key, *event in zip(*(column[rows].tolist() for column in columns), strict=True):
            self._later.setdefault(user_key, []).append(tuple(event))
        return len(rows)

    def of(self, user_key: int, position: int | None = None) -> Judged:
        """What a user has judged, up to a position; None for now."""
        later = self._later.get(user_key, ())
        if position is not None:
            return self._folded(user_key, [event for event in later if event[0] <= position], position)
        heard = len(later)
        with self._lock:
            ready = self._ready.get(user_key)
        if ready is not None and ready[0] == heard:
            return ready[1]
        verdicts = self._folded(user_key, later[:heard], None)
        with self._lock:
            before = self._ready.pop(user_key, None)
            self._ready[user_key] = (heard, verdicts)
            self.ready_bytes += verdicts.nbytes - (before[1].nbytes if before else 0)
            while self.ready_bytes > READY_BYTES:
                self.ready_bytes -= self._ready.popitem(last=False)[1][1].nbytes
        return verdicts

    def _folded(self, user_key: int, later: Sequence[Event], position: int | None) -> Judged:
        first, last = np.searchsorted(self._user, user_key, "left"), np.searchsorted(self._user, user_key, "right")
        if position is not None:
            last = first + np.searchsorted(self._position[first:last], position, "right")
        more = np.array(later, np.int64).reshape(-1, 4).T
        item, kind, at = (
            np.concatenate([column[first:last], tail])
            for column, tail in zip((self._item, self._kind, self._at), more[1:], strict=True)
        )
        asked = kind == KINDS[SEARCH]
        searched = item[asked][-SEARCHES:]
        item, kind, at = item[~asked], kind[~asked], at[~asked]
        keys, place = np.unique(item, return_inverse=True)
        instants = np.zeros((len(keys), len(VERDICTS)), np.int64)
        np.maximum.at(instants, (place, _VERDICT[kind]), at)
        if len(keys) > MOST:
            finished, disliked, skipped, opened = instants.T
            worth = np.select([disliked > 0, finished > 0, skipped > 0], [3, 2, 1], 0)
            last_at = np.choose(worth, [opened, skipped, finished, disliked])
            kept = np.sort(np.lexsort((keys, last_at, worth))[-MOST:])
            keys, instants = keys[kept], instants[kept]
        played = np.flatnonzero(_IS_PLAYED[kind])[-MOST_PLAYS:]
        plays = np.stack([item[played], kind[played], at[played]], axis=1).astype(np.int64)
        return Judged(keys, instants, plays, searched)


def searched_before(log: EventLog, user_keys: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """`Judged.searched` of many reads, each at its position: int64[n, SEARCHES], the last first, 0 for none."""
    rows = np.flatnonzero((log.kind == KINDS[SEARCH]) & (log.user_key != 0))
    rows = rows[np.argsort(log.user_key[rows], kind="stable")]
    user, stop = log.user_key[rows], np.empty(len(user_keys), np.int64)
    first, last = np.searchsorted(user, user_keys, "left"), np.searchsorted(user, user_keys, "right")
    stops_within(log.position[rows], first, last, np.asarray(positions, np.int64), stop)
    at = stop[:, None] - 1 - np.arange(SEARCHES)
    queries = np.append(log.item_key[rows], 0)
    return np.where(at >= first[:, None], queries[np.maximum(at, -1)], 0)
