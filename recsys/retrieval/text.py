"""What is said of an item beside its ids: words, as keys, and the embedding that a user's own model gave it.

It is all that is known of an item before its first impression.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa

from recsys.events import key64, words_in
from recsys.features.log import Items
from recsys.vocabulary import language_of

MAX_WORDS: Final = 16  # of an item: its tags first, then its title
MORE_WORDS: Final = 64  # beside them: language, name of the creator, then the description
_MORE: Final = ("language", "creator_name", "description")


def with_content(items: Items, table: pa.Table, length: int | None = None) -> Items:
    """The items of `table` (ITEM_SCHEMA, any order; the last row of an id wins) with their words and embeddings.

    Where no item says more than tags and title there are MAX_WORDS columns of words, and where `length` is 0 no
    embeddings.

    Args:
        length: numbers of an embedding; others are left out. None: as most items have
    """
    rows = np.searchsorted(items.item_key, key64(table["item_id"].to_pylist()))
    n, length = len(items.item_key), length_of(table) if length is None else length
    first = [words_of(*row) for row in zip(table["tags"].to_pylist(), table["title"].to_pylist(), strict=True)]
    words = _keys(first, rows, n, MAX_WORDS)
    more = [table[name].to_pylist() if name in table.column_names else [None] * table.num_rows for name in _MORE]
    if any(value for column in more for value in column):
        beside = (more_words_of(of, *row) for of, row in zip(first, zip(*more, strict=True), strict=True))
        rest = _keys(beside, rows, n, MORE_WORDS)
        words = np.concatenate([words, rest], axis=1)
    return replace(items, words=words, given=_given(table, rows, n, length) if length else None)


def length_of(table: pa.Table) -> int:
    """Numbers of the embedding that most items have; 0 where none has one."""
    said = table["embedding"].to_pylist() if "embedding" in table.column_names else []
    lengths = Counter(len(vector) for vector in said if vector)
    return max(lengths, key=lambda n: lengths[n], default=0)


def words_of(tags: list[str | None] | None, title: str | None) -> list[str]:
    """Distinct words, MAX_WORDS at most: each tag whole (`tag:` before it, for "40" is another word in a title)."""
    said = [f"tag:{tag.strip().casefold()}" for tag in tags or [] if tag and tag.strip()]
    return list(dict.fromkeys([*said, *words_in(title)]))[:MAX_WORDS]


def tags_of(items: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The tags of cleaned items but for their category's name, and their language, a pair each: item_key and key of the
    tag, int64[m].
    """
    rows = zip(*(items[name].to_pylist() for name in ("item_key", "tags", "category", "language")), strict=True)
    pairs = [
        (item, tag)
        for item, tags, category, language in rows
        for tag in (*words_of(tags, None), *more_words_of([], language, None, None))
        if tag not in words_of([category], None)
    ]
    return np.array([item for item, _ in pairs], np.int64), key64([tag for _, tag in pairs])


def more_words_of(
    words: list[str], language: str | None, creator_name: str | None, description: str | None
) -> list[str]:
    """Distinct words beside those, MORE_WORDS at most."""
    spoken = [f"language={language_of(language)}"] if language else []
    said = dict.fromkeys([*spoken, *words_in(creator_name), *words_in(description)])
    return [word for word in said if word not in words][:MORE_WORDS]


def _keys(said: Iterable[list[str]], rows: np.ndarray, n: int, width: int) -> np.ndarray:
    """int64[n, width]: keys of the words of each row, 0 = none."""
    keys = np.zeros((n, width), np.int64)
    for row, words in zip(rows, said, strict=True):
        keys[row] = 0
        keys[row, : len(words)] = key64(words)
    return keys


def _given(table: pa.Table, rows: np.ndarray, n: int, length: int) -> np.ndarray:
    """float32[n, length]: the embedding of each row, zeros = none."""
    given = np.zeros((n, length), np.float32)
    said = table["embedding"].to_pylist() if "embedding" in table.column_names else [None] * table.num_rows
    for row, vector in zip(rows, said, strict=True):
        given[row] = vector if vector and len(vector) == length else 0
    return given
