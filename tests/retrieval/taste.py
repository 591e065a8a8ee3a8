"""A small world with planted taste: each person likes one category, and says so by clicks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from recsys.events import HOUR_MS, ITEM_TYPES, KINDS, MINUTE_MS, first_position, key64
from recsys.features.log import EventLog, Items, items_from_table

CATEGORIES, ITEMS, USERS, CLICKS = 6, 120, 240, 14
DAY = 20_000  # days since the epoch of the first one
BEGIN = DAY * 24 * HOUR_MS
NEW = "new item"  # of category 0, without a single event


@dataclass(frozen=True)
class World:
    """Everything that training and the sources read. `taste` is the category of each user."""

    log: EventLog
    table: pa.Table  # items, with item_key
    items: Items
    impressions: pa.Table
    taste: np.ndarray
    user_keys: np.ndarray

    def impressions_of(self, *days: int) -> pa.Table:
        """Impressions of those days (0, 1, 2)."""
        dates = {f"day {day}" for day in days}
        return self.impressions.filter(pa.array([d in dates for d in self.impressions["date"].to_pylist()]))


def make(seed: int = 1) -> World:
    """Three days: 10 clicks of each user on the first, 2 on the second, 2 on the third; 9 in 10 follow taste."""
    rng = np.random.default_rng(seed)
    ids = [f"item {i}" for i in range(ITEMS)] + [NEW]
    categories = [f"category {i % CATEGORIES}" for i in range(ITEMS)] + ["category 0"]
    n = len(ids)
    table = pa.table(
        {
            "item_id": ids,
            "item_type": ["video"] * n,
            "creator_id": [f"creator {i % 40}" for i in range(n)],
            "category": categories,
            "tags": pa.array([[]] * n, pa.list_(pa.string())),
            "title": ids,
            "duration_ms": pa.array([60_000] * n, pa.int64()),
            "published_at": pa.array([BEGIN - HOUR_MS * (1 + i) for i in range(ITEMS)] + [BEGIN + HOUR_MS], pa.int64()),
            "is_available": [True] * n,
            "item_key": key64(ids),
        }
    )
    user_keys = key64(f"user {i}" for i in range(USERS))
    taste = rng.integers(0, CATEGORIES, USERS)
    rows = []
    for user in range(USERS):
        own = np.arange(taste[user], ITEMS, CATEGORIES)
        other = rng.permutation(ITEMS)
        chosen = [*rng.permutation(own)[: CLICKS - 2], *other[:2]]
        for place, item in enumerate(rng.permutation(chosen)):
            day = 0 if place < CLICKS - 4 else 1 if place < CLICKS - 2 else 2
            at = BEGIN + day * 24 * HOUR_MS + int(rng.integers(0, 20 * HOUR_MS)) + place * MINUTE_MS
            rows.append((at, user, int(item), day))
    rows.sort()
    at, user, item, day = (np.array(column) for column in zip(*rows, strict=True))
    item_keys = key64(ids)[item]
    impressions = pa.table(
        {
            "user_id": [f"user {u}" for u in user],
            "user_key": user_keys[user],
            "item_key": item_keys,
            "position": np.arange(len(at)),
            "occurred_at": at,
            "date": [f"day {d}" for d in day],
            "shelf": ["feed"] * len(at),
            "device": ["phone"] * len(at),
            "click": np.ones(len(at), np.int8),
            "long_view": np.zeros(len(at), np.int8),
        }
    )
    both = np.concatenate([at, at + MINUTE_MS])  # an impression, and a minute later its click
    order = np.argsort(both, kind="stable")
    twice = np.tile(np.arange(len(at)), 2)[order]
    columns = items_from_table(table).lookup(item_keys)
    log = EventLog(
        position=first_position(DAY) + np.arange(len(both)),
        kind=np.repeat([KINDS["impression"], KINDS["click"]], len(at))[order].astype(np.int8),
        user_key=user_keys[user][twice],
        item_key=item_keys[twice],
        category_key=columns.category_key[twice],
        creator_key=columns.creator_key[twice],
        shelf_key=np.zeros(len(both), np.int64),
        occurred_at=both[order],
        received_at=both[order],
        watch_ms=np.zeros(len(both), np.int64),
    )
    assert set(table["item_type"].to_pylist()) <= set(ITEM_TYPES)
    return World(log, table, items_from_table(table), impressions, taste, user_keys)
