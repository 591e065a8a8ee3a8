"""A few days of impressions with features of the catalogue's names: items differ, and users have a taste."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.events import DAY_MS, HOUR_MS, KINDS
from recsys.features.catalog import FEATURES
from recsys.features.history import HISTORY_COLUMNS
from recsys.features.log import EventLog, ItemColumns, Items
from recsys.ranking.heuristics import CONTROLS, RULES

START = 20_000 * DAY_MS
COLUMNS = [
    "user_id", "item_id", "user_key", "item_key", "impression_id", "position", "request_id", "occurred_at", "date",
    "click", "long_view", "watch_ms", *HISTORY_COLUMNS,
]  # fmt: skip


def impressions(part_day: int, n: int = 900, seed: int = 0, users: int = 40) -> pl.DataFrame:
    """n impressions of one day; the columns that a heuristic reads follow the item's and the user's appeal."""
    rng = np.random.default_rng([seed, part_day])
    user, item = rng.integers(1, users + 1, n), rng.integers(1, 31, n)
    appeal, mood = item / 30.0, user / users
    match = ((user + item) % 2).astype(np.float32)  # a taste that no heuristic knows of
    p = 1 / (1 + np.exp(-(3 * appeal + 2 * mood + 2 * match - 4)))
    click = (rng.random(n) < p).astype(np.int8)
    long_view = click & (rng.random(n) < 0.7)
    at = START + part_day * DAY_MS + np.sort(rng.integers(0, 20 * HOUR_MS, n))
    frame = pl.DataFrame(
        {
            "user_id": user.astype(str),
            "item_id": item.astype(str),
            "user_key": user,
            "item_key": item,
            "impression_id": [f"{part_day}-{i}" for i in range(n)],
            "position": np.arange(n) + part_day * n,
            "request_id": [f"{part_day}-{i // 3}" for i in range(n)],
            "occurred_at": at,
            "date": f"2024-10-{4 + part_day:02d}",
            "click": click,
            "long_view": long_view,
            "watch_ms": long_view.astype(np.int64) * 20_000,
        }
    )
    told = {"user": mood, "item": appeal, "category": np.round(appeal, 1), "user_category": np.round(appeal, 1)}
    rates = {
        f"{entity}_{rate}_{window}": (0.1 + 0.6 * value).astype(np.float32)
        for entity, value in told.items()
        for rate in ("ctr", "long_view_rate")
        for window in ("7d", "all")
        if f"{entity}_{rate}_{window}" in FEATURES
    }
    counts = {f"item_popularity_log_{window}": np.log1p(item).astype(np.float32) for window in ("1h", "24h", "all")}
    taste = {"user_category_affinity_log_7d": match}
    return nobody_known(frame).with_columns(
        **{name: pl.Series(values) for name, values in {**rates, **counts, **taste}.items()}
    )


def nobody_known(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows, of users without a history."""
    types = dict(zip(HISTORY_COLUMNS, (pl.List(pl.Int64), pl.List(pl.Int8)), strict=True))
    return frame.with_columns(pl.lit([], dtype).alias(name) for name, dtype in types.items())


def log_of(rows: list[tuple[str, int, int, int]]) -> EventLog:
    """A log of (kind, user, item, received_at), in that order."""
    kinds, users, items, at = (list(column) for column in zip(*rows, strict=True))
    zeros = np.zeros(len(rows), np.int64)
    return EventLog(
        position=np.arange(1, len(rows) + 1),
        kind=np.array([KINDS[kind] for kind in kinds], np.int8),
        user_key=np.array(users, np.int64),
        item_key=np.array(items, np.int64),
        category_key=zeros,
        creator_key=zeros,
        shelf_key=zeros,
        occurred_at=np.array(at, np.int64),
        received_at=np.array(at, np.int64),
        watch_ms=zeros,
    )


def catalogue(n: int) -> Items:
    """Items 1 to n."""
    zeros = np.zeros(n, np.int64)
    return Items(np.arange(1, n + 1), ItemColumns(zeros, zeros, zeros, zeros, zeros))


HEURISTICS = (*RULES, *CONTROLS)
