"""Small logs as other people keep them: each lacks what most logs have. Users like one topic, and mostly choose it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from recsys.events import DAY_MS, HOUR_MS

START: Final = 20_600 * DAY_MS
TOPICS: Final = 5
LIKED: Final = 0.8  # of what a user chooses


def items(n: int = 60, start: int = START) -> pl.DataFrame:
    """n items of five topics, of which half last longer than a minute."""
    rng = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(n)],
            "category": [f"topic{i % TOPICS}" for i in range(n)],
            "creator_id": [f"maker{i % 7}" for i in range(n)],
            "title": [f"A title of number {i}" for i in range(n)],
            "duration_ms": 10_000 + 2_000 * np.arange(n),
            "published_at": start - DAY_MS * rng.integers(1, 300, n),
        }
    )


def plays(days: int = 8, users: int = 60, a_day: int = 5, n_items: int = 60, start: int = START) -> pl.DataFrame:
    """What users played, in the order of time: each some items a day, seconds or minutes of them."""
    rng = np.random.default_rng(2)
    n = days * users * a_day
    user = np.tile(np.repeat(np.arange(users), a_day), days)
    day = np.repeat(np.arange(days), users * a_day)
    popular = (rng.random(n) ** 2 * (n_items // TOPICS)).astype(np.int64)
    topic = np.where(rng.random(n) < LIKED, user % TOPICS, rng.integers(0, TOPICS, n))
    at = start + day * DAY_MS + rng.integers(0, 20 * HOUR_MS, n)
    return pl.DataFrame(
        {
            "kind": "play",
            "user_id": [f"u{u}" for u in user],
            "item_id": [f"i{i}" for i in popular * TOPICS + topic],
            "occurred_at": at,
            "watch_ms": rng.gamma(1.5, 20_000.0, n).astype(np.int64),
        }
    ).sort("occurred_at")


def impressions(shown: pl.DataFrame, n_items: int = 60) -> pl.DataFrame:
    """Beside each play a slate of three others that were shown and not chosen, a second before it."""
    rng = np.random.default_rng(3)
    drawn = rng.integers(0, n_items, (shown.height, 3))
    others = [
        shown.with_columns(item_id=pl.Series([f"i{i}" for i in drawn[:, k]]), slot=pl.lit(k + 1)) for k in range(3)
    ]
    slates = pl.concat([shown.with_columns(slot=pl.lit(0)), *others])
    return slates.select(
        "user_id", "item_id", "slot", kind=pl.lit("impression"), occurred_at=pl.col("occurred_at") - 1_000
    )


def as_kind(rows: pl.DataFrame, kind: str) -> pl.DataFrame:
    return rows.with_columns(kind=pl.lit(kind)).drop("watch_ms")


# name -> events of a world
KINDS_OF_LOGS: Final[dict[str, Callable[[], pl.DataFrame]]] = {
    "plays with watch times": plays,
    "plays alone": lambda: plays().drop("watch_ms"),
    "clicks alone": lambda: as_kind(plays(), "click"),
    "likes alone": lambda: as_kind(plays(), "like"),
    "impressions and clicks": lambda: pl.concat(
        [impressions(plays()).drop("slot"), as_kind(plays(), "click")], how="diagonal"
    ),
    "impressions and plays before 2000": lambda: pl.concat(
        [impressions(plays(start=10_000 * DAY_MS)), plays(start=10_000 * DAY_MS)], how="diagonal"
    ),
    "few users": lambda: plays(users=3, a_day=60),
}


def write(folder: Path, events: pl.DataFrame, catalogue: pl.DataFrame | None = None, **files: Any) -> Path:
    """The folder of a `files` source."""
    folder.mkdir(parents=True, exist_ok=True)
    events.write_parquet(folder / "events.parquet")
    (items() if catalogue is None else catalogue).write_parquet(folder / "items.parquet")
    return folder
