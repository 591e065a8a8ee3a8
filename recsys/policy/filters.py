"""Which candidates may be shown at all, and which filter dropped how many of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Final

import numpy as np

from recsys.events import ITEM_TYPES, KINDS
from recsys.policy.shelves import Shelf

# Kinds of a user's own events after which an item counts as seen. A click alone does not: it may be resumed.
SEEN_KINDS: Final = ("long_view", "exposure_long_view", "like", "dislike", "skip")

_IS_SEEN: Final = np.isin(np.arange(max(KINDS.values()) + 1), [KINDS[name] for name in SEEN_KINDS])  # by kind
_NO_KEYS: Final = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Candidates:
    """Columns of the candidates, one row each."""

    item_key: np.ndarray  # int64[n]
    creator_key: np.ndarray  # int64[n], 0 when unknown
    item_type: np.ndarray  # int64[n] code of ITEM_TYPES
    is_available: np.ndarray  # bool[n]
    published_at: np.ndarray  # int64[n] UTC ms, 0 when unknown

    def take(self, rows: np.ndarray) -> Candidates:
        """Those rows."""
        return Candidates(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class Audience:
    """For whom, on which shelf."""

    shelf: Shelf
    at: int  # UTC ms
    seen: np.ndarray = field(default_factory=lambda: _NO_KEYS)  # int64 item keys
    blocked_items: np.ndarray = field(default_factory=lambda: _NO_KEYS)  # int64 item keys
    blocked_creators: np.ndarray = field(default_factory=lambda: _NO_KEYS)  # int64 creator keys


Filter = Callable[[Candidates, Audience], np.ndarray]


def _unavailable(candidates: Candidates, audience: Audience) -> np.ndarray:
    return ~candidates.is_available


def _unpublished(candidates: Candidates, audience: Audience) -> np.ndarray:
    return candidates.published_at > audience.at


def _off_shelf(candidates: Candidates, audience: Audience) -> np.ndarray:
    codes = audience.shelf.type_codes
    if len(codes) == len(ITEM_TYPES):
        return np.zeros(candidates.item_type.size, dtype=bool)
    return np.logical_and.reduce([candidates.item_type != code for code in codes])


def _blocked(candidates: Candidates, audience: Audience) -> np.ndarray:
    return _among(candidates.item_key, audience.blocked_items) | _among(
        candidates.creator_key, audience.blocked_creators
    )


def _seen(candidates: Candidates, audience: Audience) -> np.ndarray:
    if audience.shelf.again:
        return np.zeros(candidates.item_key.size, dtype=bool)
    return _among(candidates.item_key, audience.seen)


def _among(keys: np.ndarray, few: np.ndarray) -> np.ndarray:
    """bool[n]: whether each key is one of a few; a sorted look-up takes a third of np.isin's time."""
    if not few.size:
        return np.zeros(keys.size, dtype=bool)
    ordered = np.sort(few)
    return np.asarray(ordered[np.minimum(np.searchsorted(ordered, keys), ordered.size - 1)] == keys)


FILTERS: Final[Mapping[str, Filter]] = {
    "unavailable": _unavailable,
    "unpublished": _unpublished,
    "off_shelf": _off_shelf,
    "blocked": _blocked,
    "seen": _seen,
}


def dropped_by(candidates: Candidates, audience: Audience) -> tuple[np.ndarray, Mapping[str, int]]:
    """bool[n], which candidates are dropped, and how many by each filter: each counts for the first that drops it."""
    dropped = np.zeros(candidates.item_key.size, dtype=bool)
    counts: dict[str, int] = {}
    for name, drops in FILTERS.items():
        more = drops(candidates, audience) & ~dropped
        if more.any():
            counts[name] = int(np.count_nonzero(more))
            dropped |= more
    return dropped, counts


def seen_items(item_keys: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Item keys of a history (item_key int64[h], kind int8[h]) that count as seen."""
    return np.unique(item_keys[_IS_SEEN[kinds]])
