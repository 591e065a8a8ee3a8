"""Candidates of one request: what the sources propose, fused; and what is kept of them for a bad day."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np

from recsys.policy.shelves import shelf_of
from recsys.retrieval.sources import EVERYWHERE, Ask, Attempt, Fused
from recsys.serving.bundle import ServingBundle
from recsys.serving.schema import MAX_ITEMS

CACHED_POOLS: Final = 10_000  # 100 rows each: 26 MB at most
CACHED_SECONDS: Final = 3600.0
CACHED_ITEMS: Final = 100


@dataclass(frozen=True)
class Pool:
    """Candidates of one bundle, best first, as numbers; one source each, the one that ranked it highest."""

    rows: np.ndarray  # int64[n], rows of the bundle's catalogue
    source: np.ndarray  # int8[n], place in `names`
    names: tuple[str, ...]
    fused: np.ndarray  # float64[n], above 0: how far up the sources propose it
    sure: np.ndarray  # bool[n]: whether it has a place whatever its score
    MOST: ClassVar[int] = MAX_ITEMS  # one ranker call's worth

    @staticmethod
    def of(fused: Fused) -> Pool:
        """The candidates that the sources agreed on."""
        return Pool(fused.rows, fused.source, fused.names, fused.scores, fused.sure)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: np.ndarray | slice) -> Pool:
        """Those candidates."""
        return Pool(self.rows[chosen], self.source[chosen], self.names, self.fused[chosen], self.sure[chosen])

    def as_last(self, rows: np.ndarray) -> Pool:
        """Catalogue rows that no source proposed, as if each came behind all that were."""
        last = np.full(len(rows), self.fused.min(initial=1.0))
        return replace(self, rows=rows, source=np.zeros(len(rows), np.int8), fused=last, sure=np.zeros(len(rows), bool))

    @property
    def sources(self) -> list[str]:
        """Name of each candidate's source."""
        return [self.names[source] for source in self.source.tolist()]


class PoolCache:
    """The last pool of each user and shelf, bounded in number and age. A pool of another bundle is not given out."""

    def __init__(self, size: int = CACHED_POOLS, seconds: float = CACHED_SECONDS) -> None:
        self._size, self._seconds = size, seconds
        self._lock = threading.Lock()
        self._pools: OrderedDict[tuple[str, str, str], tuple[float, Pool]] = OrderedDict()

    def put(self, bundle: ServingBundle, user_id: str, shelf: str, pool: Pool) -> None:
        if not len(pool):
            return
        kept = pool.take(np.arange(min(CACHED_ITEMS, len(pool))))  # a copy: a slice would keep the whole pool
        # by key: rows move when new items join the catalogue
        kept = replace(kept, rows=bundle.catalogue.candidates.item_key[kept.rows])
        with self._lock:
            key = (bundle.bundle_id, user_id, shelf)
            self._pools[key] = (time.monotonic(), kept)
            self._pools.move_to_end(key)
            while len(self._pools) > self._size:
                self._pools.popitem(last=False)

    def get(self, bundle: ServingBundle, user_id: str, shelf: str) -> Pool | None:
        with self._lock:
            entry = self._pools.get((bundle.bundle_id, user_id, shelf))
        if entry is None or time.monotonic() - entry[0] > self._seconds:
            return None
        rows = bundle.retriever.rows(entry[1].rows)  # each is there: a bundle's catalogue only grows
        return replace(entry[1], rows=rows) if len(rows) == len(entry[1]) else None


def trending(bundle: ServingBundle, shelf_name: str) -> Pool:
    """What is trending on the shelf, from the bundle itself: needs nothing that could be down. Nothing for a shelf
    that shows only what its person knows.
    """
    lists = bundle.retriever.data.lists["trending"]
    listed = (
        lists.get(shelf_name, lists[EVERYWHERE]) if "trending" in shelf_of(shelf_name, bundle.come_back).sources else ()
    )
    rows = bundle.catalogue.rows(listed)
    fused = 1.0 / np.arange(1, len(rows) + 1)
    return Pool(rows, np.zeros(len(rows), np.int8), ("trending",), fused, np.zeros(len(rows), bool))


def retrieve(bundle: ServingBundle, ask: Ask, attempt: Attempt) -> Pool:
    """The best of the sources that answer, at most one ranker call's worth; `names` are those sources."""
    return Pool.of(bundle.retriever.fused(ask, Pool.MOST, attempt=attempt))
