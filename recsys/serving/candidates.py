"""Candidates of one request: what the sources propose, fused; and what is kept of them for a bad day."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.retrieval.sources import EVERYWHERE, Ask
from recsys.serving.bundle import ServingBundle
from recsys.serving.schema import MAX_ITEMS

CACHED_POOLS: Final = 10_000  # 500 ids each: some 40 MB at most, ids are shared with the catalogue
CACHED_SECONDS: Final = 3600.0
CACHED_ITEMS: Final = 100

REASONS: Final[Mapping[str, str]] = {
    "two_tower": "Close to what you watched",
    "item_item": "Others with your taste watched it",
    "resume": "Continue where you left off",
    "trending": "Trending now",
    "popular": "Popular with everyone",
    "fresh": "New",
}


@dataclass(frozen=True)
class Pool:
    """Candidates, best first; one source each, the one that ranked it highest."""

    item_ids: tuple[str, ...]
    sources: tuple[str, ...]

    def take(self, rows: np.ndarray) -> Pool:
        """Those candidates."""
        chosen = rows.tolist()
        return Pool(tuple(self.item_ids[i] for i in chosen), tuple(self.sources[i] for i in chosen))

    def reason(self, row: int) -> str:
        """Why this one is here, in words, by its source."""
        return REASONS.get(self.sources[row], "Recommended for you")


class PoolCache:
    """The last pool of each user and shelf, bounded in number and age. A pool of another bundle is not given out."""

    def __init__(self, size: int = CACHED_POOLS, seconds: float = CACHED_SECONDS) -> None:
        self._size, self._seconds = size, seconds
        self._lock = threading.Lock()
        self._pools: OrderedDict[tuple[str, str, str], tuple[float, Pool]] = OrderedDict()

    def put(self, bundle_id: str, user_id: str, shelf: str, pool: Pool) -> None:
        if not pool.item_ids:
            return
        kept = pool.take(np.arange(min(CACHED_ITEMS, len(pool.item_ids))))
        with self._lock:
            key = (bundle_id, user_id, shelf)
            self._pools[key] = (time.monotonic(), kept)
            self._pools.move_to_end(key)
            while len(self._pools) > self._size:
                self._pools.popitem(last=False)

    def get(self, bundle_id: str, user_id: str, shelf: str) -> Pool | None:
        with self._lock:
            found = self._pools.get((bundle_id, user_id, shelf))
        if found is None or time.monotonic() - found[0] > self._seconds:
            return None
        return found[1]


def trending(bundle: ServingBundle, shelf_name: str) -> Pool:
    """What is trending on the shelf, from the bundle itself: needs nothing that could be down."""
    lists = bundle.retriever.data.lists["trending"]
    item_ids = lists.get(shelf_name, lists[EVERYWHERE])
    return Pool(tuple(item_ids), ("trending",) * len(item_ids))


def retrieve(bundle: ServingBundle, ask: Ask) -> Pool:
    """The best of every source together, at most one ranker call's worth."""
    found = bundle.retriever.candidates(ask, MAX_ITEMS)
    return Pool(found.item_ids, found.sources)
