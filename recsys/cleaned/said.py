"""Whether a source still says what it said before: a column may have been renamed, a file cut short."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl
import pyarrow as pa

from recsys.events import ITEM_SCHEMA, whole_items

MOST_LOST: Final = 0.1  # of the items that were there

_KEYS: Final = ("item_id", "id_is_integer")
_SAYS: Final = {
    "item_type": pl.col("item_type") != "video",  # what absent values are read as says nothing
    "tags": pl.col("tags").list.len() > 0,
    "duration_ms": pl.col("duration_ms") != 0,
    "published_at": pl.col("published_at") != 0,
    "is_available": ~pl.col("is_available"),
}


def fell(once: Mapping[str, float], now: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """What is said of less than half the share of before: its name and both shares."""
    return [(name, share, now.get(name, 0.0)) for name, share in once.items() if now.get(name, 0.0) < share / 2]


def shares_of_items(items: pa.Table) -> dict[str, float]:
    """Share of the items (ITEM_SCHEMA) of which each column says something."""
    names = [name for name in ITEM_SCHEMA.names if name not in _KEYS]
    says = [_SAYS.get(name, pl.col(name).is_not_null()).fill_null(False).mean().alias(name) for name in names]
    said = pl.DataFrame(whole_items(items)).select(says).row(0, named=True)
    return {name: share or 0.0 for name, share in said.items()}


def lost_items(before: pa.Table, now: pa.Table) -> int:
    """How many items of before are in the catalogue no more."""
    ids = pl.DataFrame(now.select(["item_id"]))["item_id"]
    return int((~pl.DataFrame(before.select(["item_id"]))["item_id"].is_in(ids.implode())).sum())
