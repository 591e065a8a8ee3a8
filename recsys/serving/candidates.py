"""Candidates of one request: what the sources propose, fused; and what is kept of them for a bad day."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.features.store import Read
from recsys.policy.shelves import DEFAULT, Shelf
from recsys.serving.bundle import ServingBundle

CACHED_POOLS: Final = 10_000  # 500 ids each: some 40 MB at most, ids are shared with the catalogue
CACHED_SECONDS: Final = 3600.0
CACHED_ITEMS: Final = 100

REASONS: Final[Mapping[str, str]] = {
    "two_tower": "Close to what you watched",
    "resume": "Continue where you left off",
    "trending": "Trending now",
    "popular": "Popular with everyone",
    "fresh": "New",
}


@dataclass(frozen=True)
class Asked:
    """What the sources are asked with: who and where, and the read that brings the history."""

    user_id: str
    shelf_name: str
    shelf: Shelf
    at: int  # UTC ms
    read: Read
    features: np.ndarray  # float32[F], a row of that read


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
    lists = bundle.lists["trending"]
    item_ids = lists.get(shelf_name, lists[DEFAULT])
    return Pool(tuple(item_ids), ("trending",) * len(item_ids))


def retrieve(bundle: ServingBundle, asked: Asked) -> Pool:
    """TEMPORARY"""
    read = asked.read
    vector = bundle.tower.embed_user(
        read.history_item_keys, read.history_kinds, read.history_occurred_at, asked.at, asked.features
    )
    hits = bundle.index.search(bundle.facts.collection, vector, 400)
    listed = {"two_tower": hits.item_ids, "trending": trending(bundle, asked.shelf_name).item_ids}
    best: dict[str, tuple[float, str]] = {}
    for source, ids in listed.items():
        for rank, item_id in enumerate(ids):
            score, first = best.get(item_id, (0.0, source))
            best[item_id] = (score + 1.0 / (60 + rank), first)
    order = sorted(best, key=lambda i: (-best[i][0], i))
    return Pool(tuple(order), tuple(best[i][1] for i in order))
