"""What users were shown and did last, as flat arrays of which each row holds a piece."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from recsys.compiled import njit
from recsys.events import KINDS
from recsys.features.catalog import ENGAGED, ENGAGED_LENGTH

HISTORY_COLUMNS: Final = ("history_item_key", "history_kind")  # of tables: a list a row, oldest first
IS_ENGAGED: Final = np.isin(np.arange(max(KINDS.values()) + 1), [KINDS[kind] for kind in ENGAGED])  # by kind


class History(NamedTuple):
    """Events of HISTORY_KINDS user by user in log order; row r holds `[start[r]:stop[r]]`, HISTORY_LENGTH at most."""

    item_key: np.ndarray  # int64[m]
    kind: np.ndarray  # int8[m]
    occurred_at: np.ndarray  # int64[m]
    start: np.ndarray  # int64[n]
    stop: np.ndarray  # int64[n]

    @staticmethod
    def of_one(item_key: np.ndarray, kind: np.ndarray, occurred_at: np.ndarray, rows: int = 1) -> History:
        """One user's history, the same for every row."""
        return History(item_key, kind, occurred_at, np.zeros(rows, np.int64), np.full(rows, len(item_key)))

    @staticmethod
    def none(rows: int) -> History:
        """Rows of users of whom nothing is known."""
        nothing = np.empty(0, np.int64)
        return History.of_one(nothing, nothing.astype(np.int8), nothing, rows)

    def take(self, rows: np.ndarray | slice) -> History:
        """Those rows, over the same events."""
        return self._replace(start=self.start[rows], stop=self.stop[rows])

    @staticmethod
    def of_lists(item_key: pa.LargeListArray, kind: pa.LargeListArray) -> History:
        """Rows of a table's HISTORY_COLUMNS; the instants, which tables do not keep, are 0.

        A row that holds what the row before it holds, as those of one slate do, shares its events: 1.1 kB a row else.
        """
        ends = item_key.offsets.to_numpy().astype(np.int64)
        keys, kinds = item_key.values.to_numpy(), kind.values.to_numpy()
        return History(keys, kinds, np.zeros(len(keys), np.int64), ends[:-1], ends[1:]).shared()

    def shared(self) -> History:
        """The same rows; those that hold what the row before them holds share its events."""
        start, stop = self.start.copy(), self.stop.copy()
        _share(self.item_key, self.kind, start, stop)
        own = np.ones(len(start), bool)
        own[1:] = (start[1:] != start[:-1]) | (stop[1:] != stop[:-1])
        ends = np.cumsum(stop[own] - start[own])
        events = []
        for values in (self.item_key, self.kind, self.occurred_at):
            events.append(np.empty(ends[-1] if len(ends) else 0, values.dtype))
            gather(values, start[own], stop[own], events[-1])
        held = np.cumsum(own) - 1
        return History(events[0], events[1], events[2], start=(ends - (stop - start)[own])[held], stop=ends[held])

    @staticmethod
    def below(*parts: History) -> History:
        """The rows of several histories, one below the other."""
        ahead = np.cumsum([0, *(len(part.item_key) for part in parts[:-1])])
        return History(
            np.concatenate([part.item_key for part in parts]),
            np.concatenate([part.kind for part in parts]),
            np.concatenate([part.occurred_at for part in parts]),
            np.concatenate([part.start + n for part, n in zip(parts, ahead, strict=True)]),
            np.concatenate([part.stop + n for part, n in zip(parts, ahead, strict=True)]),
        )

    def row(self, r: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """item_key, kind and occurred_at of one row."""
        held = slice(int(self.start[r]), int(self.stop[r]))
        return self.item_key[held], self.kind[held], self.occurred_at[held]

    def distinct(self) -> tuple[np.ndarray, np.ndarray]:
        """A row of each different history int64[h], and which of them each row has, int64[n]."""
        start, stop = self.start, self.stop
        if _are_one(start, stop):  # of a request: np.unique takes 60 us
            return np.zeros(1, np.int64), np.zeros(len(start), np.int64)
        _, first, whose = np.unique(start * (len(self.item_key) + 1) + stop, return_index=True, return_inverse=True)
        return first, whose

    def engaged(self) -> History:
        """The engaged events alone, the last ENGAGED_LENGTH of each row."""
        chosen = IS_ENGAGED[self.kind]
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(chosen)])  # engaged events ahead of each place
        start, stop = before[self.start], before[self.stop]
        return History(
            self.item_key[chosen],
            self.kind[chosen],
            self.occurred_at[chosen],
            start=np.maximum(start, stop - ENGAGED_LENGTH),
            stop=stop,
        )

    def lists(self) -> tuple[pa.ListArray, pa.ListArray]:
        """HISTORY_COLUMNS, list<int64> and list<int8>."""
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.stop - self.start)])
        offsets = pa.array(ends, pa.int32())
        columns = []
        for values in (self.item_key, self.kind):
            out = np.empty(ends[-1], values.dtype)
            gather(values, self.start, self.stop, out)
            columns.append(pa.ListArray.from_arrays(offsets, pa.array(out)))
        return columns[0], columns[1]


@njit(cache=True, nogil=True)
def _are_one(start, stop):  # type: ignore[no-untyped-def]
    """Whether all rows are one and the same."""
    for r in range(len(start)):
        if start[r] != start[0] or stop[r] != stop[0]:
            return False
    return len(start) > 0


@njit(cache=True, nogil=True)
def gather(values, start, stop, out):  # type: ignore[no-untyped-def]
    """The pieces [start:stop] one after the other, into `out`; an index of every place would be as large again."""
    at = 0
    for r in range(len(start)):
        for i in range(start[r], stop[r]):
            out[at] = values[i]
            at += 1


@njit(cache=True, nogil=True)
def _share(item_key, kind, start, stop):  # type: ignore[no-untyped-def]
    """Each row equal to the one before it gets that one's place."""
    for r in range(1, len(start)):
        length, ahead = stop[r] - start[r], start[r - 1] - start[r]
        same = stop[r - 1] - start[r - 1] == length
        i = start[r]
        while same and i < stop[r]:
            same = item_key[i] == item_key[i + ahead] and kind[i] == kind[i + ahead]
            i += 1
        if same:
            start[r], stop[r] = start[r - 1], stop[r - 1]
