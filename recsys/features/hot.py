"""The state that one process of an online store holds in memory: a snapshot, and the journal's tail applied to it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.events import key64
from recsys.features.journal import key_of
from recsys.features.kernel import State
from recsys.features.log import EventLog, ItemColumns, Items, concat, empty, fill, items_from_table, table_of


class _Rows(dict[str, int]):
    """Row of each item id; 0, which is nobody's, for one that is not here."""

    def __missing__(self, item_id: str) -> int:
        return 0


class Hot:
    """A snapshot's arrays, unpacked. OnlineStore applies the tail, under its lock."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.state = State(arrays["table"], arrays["cells"], np.array(arrays["used"]))
        log = arrays["log"]
        self.logs = [EventLog(log[0], log[1].astype(np.int8), *log[2:])] if log.size else []
        self.digests = arrays["digests"]
        self.utc_offset_ms = int(arrays["about"][1])
        self.snapshot_position = self.position = int(arrays["about"][0])
        table = pq.read_table(io.BytesIO(arrays["items"].tobytes()))
        items = items_from_table(table)
        ids = table["item_id"].to_pylist()
        self.base_items, self.items_table = items, table
        self.item_records: list[tuple[int, int, tuple[int, ...]]] = []  # position, item_key, columns
        self.late: dict[str, Mapping[str, Any]] = {}  # item_id -> ITEM_SCHEMA, of the items recorded in the log
        self.unavailable = set(
            table.filter(pc.invert(pc.fill_null(table["is_available"], True)))["item_id"].to_pylist()
        )
        # Row 0 stands for items that are not here. The last row of an id wins, as in items.
        self.rows = _Rows((item_id, row) for row, item_id in enumerate(ids, start=1))
        keys = key64(ids)
        self.item_matrix = np.zeros((len(ids) + 1, 6), np.int64)
        self.item_matrix[1:] = np.stack([keys, *items.lookup(keys)], axis=1)
        self._rows_by_key: np.ndarray | None = None

    def rows_of(self, items: Sequence[str] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row of each item (an id, or its key64), 0 where it is not here; and the keys of those, 0 elsewhere."""
        strange = np.zeros(len(items), np.int64)
        if isinstance(items, np.ndarray):
            if self._rows_by_key is None:
                known = np.array(list(self.rows.values()), np.int64)
                self._rows_by_key = table_of(np.stack([self.item_matrix[known, 0], known], axis=1))
            rows = np.zeros((1, len(items)), np.int64)
            fill(self._rows_by_key, items, rows)
            missing = rows[0] == 0
            strange[missing] = items[missing]
            return rows[0], strange
        rows = np.fromiter(map(self.rows.__getitem__, items), np.int64, len(items))
        for i in np.flatnonzero(rows == 0):
            strange[i] = key_of(items[int(i)])
        return rows, strange

    def put_item(self, item: Mapping[str, Any], columns: tuple[int, ...]) -> None:
        item_id = str(item["item_id"])
        self.late[item_id] = item
        (self.unavailable.add if item["is_available"] is False else self.unavailable.discard)(item_id)
        self._rows_by_key = None
        row = self.rows.setdefault(item_id, len(self.rows) + 1)
        if row >= len(self.item_matrix):
            self.item_matrix = np.concatenate([self.item_matrix, np.zeros((max(64, row), 6), np.int64)])
        self.item_matrix[row] = columns

    def has(self, digests: Sequence[bytes]) -> np.ndarray:
        """bool[n]: whether the archive that the snapshot came from holds each event."""
        wanted = np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)
        found = np.zeros(len(wanted), bool)
        first = np.searchsorted(self.digests[:, 0], wanted[:, 0], side="left")
        last = np.searchsorted(self.digests[:, 0], wanted[:, 0], side="right")
        for i in np.flatnonzero(last > first):
            found[i] = bool(np.any(self.digests[first[i] : last[i], 1] == wanted[i, 1]))
        return found

    def log(self) -> EventLog:
        if len(self.logs) > 1:
            self.logs = [concat(self.logs)]
        return self.logs[0] if self.logs else empty()

    def items_at(self, position: int) -> Items:
        """Attributes as they were known at a position."""
        keys = self.base_items.item_key
        columns = np.stack([keys, *self.base_items.columns])
        late = [c for p, _, c in self.item_records if p <= position]
        if late:
            columns = np.concatenate([columns, np.array(late, np.int64).T], axis=1)
        order = np.argsort(columns[0], kind="stable")
        last = np.ones(len(order), bool)
        last[:-1] = columns[0][order][1:] != columns[0][order][:-1]
        chosen = columns[:, order[last]]
        return Items(chosen[0], ItemColumns(*chosen[1:]))
