"""What an item's title and tags say, as keys of words: all that is known of an item before its first impression."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa

from recsys.events import key64
from recsys.features.log import Items

MAX_WORDS: Final = 16  # of an item: its tags first, then its title
_WORD: Final = re.compile(r"\w+")


def with_words(items: Items, table: pa.Table) -> Items:
    """The items of `table` (ITEM_SCHEMA, any order; the last row of an id wins) with their words."""
    words = np.zeros((len(items.item_key), MAX_WORDS), np.int64)
    rows = np.searchsorted(items.item_key, key64(table["item_id"].to_pylist()))
    for row, tags, title in zip(rows, table["tags"].to_pylist(), table["title"].to_pylist(), strict=True):
        said = key64(words_of(tags, title))
        words[row] = 0
        words[row, : len(said)] = said
    return replace(items, words=words)


def words_of(tags: list[str | None] | None, title: str | None) -> list[str]:
    """Distinct words, MAX_WORDS at most: each tag whole (`tag:` before it, for "40" is another word in a title)."""
    said = [f"tag:{tag.strip().casefold()}" for tag in tags or [] if tag and tag.strip()]
    return list(dict.fromkeys([*said, *_WORD.findall((title or "").casefold())]))[:MAX_WORDS]
