"""Which candidates may be shown at all, and which filter dropped how many of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

import numpy as np

from recsys.compiled import njit
from recsys.features import sweep
from recsys.features.judged import VERDICTS, Judged, Judgements
from recsys.features.log import EventLog, row_in
from recsys.policy.shelves import Shelf, shelf_of

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


STAYS: Final = -1
FILTERS: Final = ("unavailable", "unpublished", "off_shelf", "blocked", "seen")  # the first that drops an item counts


def dropping(candidates: Candidates, audience: Audience, rows: np.ndarray | None = None) -> np.ndarray:
    """int8[n]: the place in FILTERS of the first that drops each candidate, STAYS for one that none drops.

    Args:
        rows: int64[n], of the candidates; None: all of them
    """
    rows = np.arange(candidates.item_key.size) if rows is None else rows
    first = np.empty(len(rows), dtype=np.int8)
    columns = tuple(getattr(candidates, field.name) for field in fields(candidates))
    few = tuple(np.sort(keys) for keys in (audience.blocked_items, audience.blocked_creators, audience.seen))
    _first_dropping(rows, columns, audience.at, audience.shelf.shown_types, few, first)
    return first


@njit(cache=True, nogil=True)
def _first_dropping(rows, columns, at, on_shelf, few, first):  # type: ignore[no-untyped-def]
    """`dropping`. Args: columns of `Candidates`; bool by type, empty for all; sorted keys of what is blocked, items and
    creators, and of what is seen.
    """
    item_key, creator_key, item_type, is_available, published_at = columns
    items, creators, seen = few
    for i in range(len(rows)):
        row = rows[i]
        kind = item_type[row]
        if not is_available[row]:
            first[i] = 0
        elif published_at[row] > at:
            first[i] = 1
        elif len(on_shelf) and not (0 <= kind < len(on_shelf) and on_shelf[kind]):
            first[i] = 2
        elif row_in(items, item_key[row]) or row_in(creators, creator_key[row]):
            first[i] = 3
        else:
            first[i] = 4 if row_in(seen, item_key[row]) else STAYS


def dropped_by(
    candidates: Candidates, audience: Audience, rows: np.ndarray | None = None
) -> tuple[np.ndarray, Mapping[str, int]]:
    """bool[n], which candidates are dropped, and how many by each filter: each counts for the first that drops it."""
    first = dropping(candidates, audience, rows)
    dropped = first != STAYS
    counts = np.bincount(first[dropped], minlength=len(FILTERS)).tolist() if dropped.any() else []
    return dropped, {name: n for name, n in zip(FILTERS, counts, strict=bool(counts)) if n}


def seen_items(judged: Judged, shelf: Shelf, at: int) -> np.ndarray:
    """Keys of the items that a shelf leaves out at an instant (UTC ms) for who judged them; sorted int64.

    A click alone leaves nothing out where people come back to what they engaged with: what was opened may be resumed.
    """
    out = np.zeros(len(judged.item_key), bool)
    for verdict, ms in shelf.left_out.items():
        instants = judged.at[:, VERDICTS[verdict]]
        out |= (instants > 0) & (instants > at - ms)
    return judged.item_key[out]


def left_out(
    log: EventLog, user_key: np.ndarray, shelves: Sequence[str | None], as_of: np.ndarray, come_back: bool
) -> list[np.ndarray]:
    """`seen_items` of requests of the past, [q] each: by what the log had received strictly before each instant.

    What evaluation and training leave out of a list is what the service leaves out of it. `come_back`: of `shelf_of`.
    """
    judgements, positions = Judgements.of_log(log), sweep.read_positions(log, as_of)
    requests = zip(user_key.tolist(), positions.tolist(), shelves, as_of.tolist(), strict=True)
    return [
        seen_items(judgements.of(user, position), shelf_of(shelf, come_back), at)
        for user, position, shelf, at in requests
    ]
