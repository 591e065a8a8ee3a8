"""Which candidates may be shown at all, and which filter dropped how many of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

import numpy as np

from recsys.events import ITEM_TYPES
from recsys.features import sweep
from recsys.features.judged import VERDICTS, Judged, Judgements
from recsys.features.log import EventLog
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
    return _among(candidates.item_key, audience.seen)


def _among(keys: np.ndarray, few: np.ndarray) -> np.ndarray:
    """bool[n]: whether each key is one of a few; a sorted look-up takes a third of np.isin's time."""
    if not few.size:
        return np.zeros(keys.size, dtype=bool)
    ordered = np.sort(few)
    return np.asarray(ordered[np.minimum(np.searchsorted(ordered, keys), ordered.size - 1)] == keys)


STAYS: Final = -1
FILTERS: Final[Mapping[str, Filter]] = {
    "unavailable": _unavailable,
    "unpublished": _unpublished,
    "off_shelf": _off_shelf,
    "blocked": _blocked,
    "seen": _seen,
}


def dropping(candidates: Candidates, audience: Audience) -> np.ndarray:
    """int8[n]: the place in FILTERS of the first that drops each candidate, STAYS for one that none drops."""
    first = np.full(candidates.item_key.size, STAYS, dtype=np.int8)
    for place, drops in enumerate(FILTERS.values()):
        first[drops(candidates, audience) & (first == STAYS)] = place
    return first


def dropped_by(candidates: Candidates, audience: Audience) -> tuple[np.ndarray, Mapping[str, int]]:
    """bool[n], which candidates are dropped, and how many by each filter: each counts for the first that drops it."""
    first = dropping(candidates, audience)
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
    return np.unique(judged.item_key[out])


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
