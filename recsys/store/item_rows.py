"""Key and attributes of every item, by row: the matrix that a read takes its items from, and how a row is found."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Final

import numpy as np

from recsys.compiled import njit
from recsys.features.log import fill, place, table_of
from recsys.store.journal import key_of

DURATION: Final = 4  # column of ItemRows.matrix
SPARE: Final = 64  # rows by which the matrix grows at least


class ItemRows:
    """Rows are given in the order in which items came, and never change. Row 0 is nobody's.

    Args:
        matrix: int64[n + 1, 6]: item_key, category_key, creator_key, item_type, duration_ms, published_at
        table: int64[2^k, 2], open-addressed: item_key, row. Both may change in place
    """

    def __init__(self, matrix: np.ndarray, table: np.ndarray) -> None:
        self.matrix, self.table, self.count = matrix, table, len(matrix)
        self._by_id: dict[str, int] = {}  # of the ids that were asked for

    @classmethod
    def of(cls, columns: np.ndarray) -> ItemRows:
        """Of items, int64[n, 6]; the last row of a key wins."""
        keys, last = np.unique(columns[::-1, 0], return_index=True)
        rows = len(columns) - last
        matrix = np.concatenate([np.zeros((1, 6), np.int64), columns])
        return cls(matrix, table_of(np.stack([keys, rows], axis=1)))

    def of_id(self, item_id: str) -> int:
        """Row of an id, 0 where it is not here."""
        return self._by_id.get(item_id) or int(self.of_items([item_id])[0][0])

    def of_keys(self, keys: np.ndarray) -> np.ndarray:
        """Row of each key64, int64[n], 0 where it is not here."""
        rows = np.zeros((1, len(keys)), np.int64)
        fill(self.table, keys, rows)
        return rows[0]

    def of_items(self, items: Sequence[str] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row of each item (an id, or its key64), 0 where it is not here; and the keys of those, 0 elsewhere."""
        if isinstance(items, np.ndarray):
            found, strange = _looked_up(self.table, items)
            return found[0], strange
        strange = np.zeros(len(items), np.int64)
        rows = np.fromiter(map(self._by_id.get, items, repeat(0)), np.int64, len(items))
        new = np.flatnonzero(rows == 0)
        if len(new):  # each is looked up by its key once
            keys = np.fromiter((key_of(items[i]) for i in new.tolist()), np.int64, len(new))
            rows[new] = of_new = self.of_keys(keys)
            strange[new[of_new == 0]] = keys[of_new == 0]
            self._by_id.update((items[i], row) for i, row in zip(new.tolist(), of_new.tolist(), strict=True) if row)
        return rows, strange

    def put(self, columns: Sequence[int] | np.ndarray) -> None:
        """An item that is new or changed."""
        row = int(self.of_keys(np.array(columns[:1], np.int64))[0])
        if not row:
            row = self.count
            self.count += 1
            if 2 * self.count > len(self.table):
                self.table = table_of(self.table[self.table[:, 0] != 0])
            place(np.array([[columns[0], row]], np.int64), self.table)
            if row >= len(self.matrix):
                self.matrix = np.concatenate([self.matrix, np.zeros((max(SPARE, row), 6), np.int64)])
        self.matrix[row] = columns


@njit(cache=True, nogil=True)
def _looked_up(table, keys):  # type: ignore[no-untyped-def]
    """Row of each key, int64[1, n], and the keys of those without one, in one call: every read asks."""
    rows, strange = np.zeros((1, len(keys)), np.int64), np.zeros(len(keys), np.int64)
    fill(table, keys, rows)
    for i in range(len(keys)):
        if rows[0, i] == 0:
            strange[i] = keys[i]
    return rows, strange
