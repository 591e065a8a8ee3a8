"""A large synthetic log for the feature benchmarks: Zipf items, slates of ten at one instant, 2 % late events."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from recsys.events import DAY_MS, KINDS, key64, whole_items
from recsys.features.log import EventLog, Items, items_from_table

START = 1_700_000_000_000
SLATE = 10
LOG_SHELVES = ("feed", "podcasts", "playlists")


class ZipfWorld(NamedTuple):
    log: EventLog
    items: Items
    item_table: pa.Table
    user_keys: np.ndarray
    rows: tuple[np.ndarray, ...]  # users, items, positions, as_of, shelves of the impressions


def zipf_world(users: int, items: int, events: int, *, days: int = 30, late: float = 0.02, seed: int = 1) -> ZipfWorld:
    """About half of the events are impressions, the rest their outcomes; the hottest item has some 10 % of them."""
    rng = np.random.default_rng(seed)
    bare = pa.table(
        {
            "item_id": [f"i{i}" for i in range(items)],
            "item_type": ["video"] * items,
            "creator_id": [f"m{i % (items // 5 + 1)}" for i in range(items)],
            "category": [f"c{i % 40}" for i in range(items)],
            "tags": pa.array([None] * items, pa.list_(pa.string())),
            "title": pa.array([None] * items, pa.string()),
            "duration_ms": rng.integers(5_000, 600_000, items),
            "published_at": START - rng.integers(0, 100 * DAY_MS, items),
            "is_available": [True] * items,
            "id_is_integer": [False] * items,
        }
    )
    table = whole_items(bare)
    catalogue = items_from_table(table)
    slates = -(-events // (2 * SLATE))
    shown = np.repeat(np.sort(rng.integers(START, START + days * DAY_MS, slates)), SLATE)
    user = np.repeat(key64(f"u{i}" for i in range(users))[rng.integers(0, users, slates)], SLATE)
    item = key64(f"i{i}" for i in range(items))[(rng.zipf(1.2, len(shown)) - 1) % items]
    shelf = np.repeat(key64(LOG_SHELVES)[rng.integers(0, len(LOG_SHELVES), slates)], SLATE)
    kinds = rng.choice([KINDS[k] for k in ("click", "play", "long_view", "skip", "like")], len(shown))
    occurred = np.concatenate([shown, shown + rng.integers(1_000, 60_000, len(shown))])
    lateness = np.where(rng.random(len(occurred)) < late, rng.integers(0, 3 * DAY_MS, len(occurred)), 0)
    received = occurred + lateness
    order = np.argsort(received, kind="stable")[:events]
    users_of, items_of = np.tile(user, 2)[order], np.tile(item, 2)[order]
    attributes = catalogue.lookup(items_of)
    kind = np.concatenate([np.full(len(shown), KINDS["impression"]), kinds])[order]
    log = EventLog(
        np.arange(1, len(order) + 1),
        kind.astype(np.int8),
        users_of,
        items_of,
        attributes.category_key,
        attributes.creator_key,
        np.tile(shelf, 2)[order],
        occurred[order],
        received[order],
        np.where(kind == KINDS["play"], rng.integers(0, 60_000, len(order)), 0),
    )
    before = np.concatenate([np.zeros(1, np.int64), log.position])
    positions = before[np.searchsorted(log.received_at, shown, side="left")]
    return ZipfWorld(log, catalogue, table, user[::SLATE], (user, item, positions, shown, shelf))
