"""From scored candidates to what is shown: the best k, with no creator or category taking the whole slate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from recsys.compiled import njit
from recsys.policy.spread import Met, Spread, spread

UNIT: Final = "unit"
SURE: Final = "sure"


def select(
    scores: np.ndarray,
    item_keys: np.ndarray,
    k: int,
    groups: Mapping[str, np.ndarray] | None = None,
    caps: Mapping[str, float] | None = None,
    passed_over: dict[int, str] | None = None,
    units: np.ndarray | None = None,
    sure: np.ndarray | None = None,
    how: Spread | None = None,
    met: Met | None = None,
) -> np.ndarray:
    """Indices of at most k candidates, best score first; equal scores are ordered by item key. Spread out (`how`), they
    stand in the order in which they were taken.

    Of candidates of one unit (the episodes of a show) the best takes its place, and the others are none. Those that
    are sure of a place come before all others, and caps do not hold for them.

    A candidate is passed over when its group (a creator, a category) already has its share of the k places; group 0
    means unknown and has no cap. When the caps would leave places empty they are filled by the best passed over: a
    slate is never shorter than it could be.

    Args:
        scores: float64[n]; must be finite.
        item_keys: int64[n].
        groups: group name -> key of each candidate's group, int64[n].
        caps: group name -> largest share of the k places.
        passed_over: told, for each candidate that was passed over, the group that had its share; UNIT where another of
            its unit has the place, SURE where one that is sure of a place has it in spite of its score.
        units: int64[n].
        sure: bool[n].
    """
    sure = np.zeros(len(scores), bool) if sure is None else sure
    order = np.lexsort((item_keys, -scores, ~sure)) if sure.any() else _falling(scores, item_keys)
    if units is not None:
        _, first = np.unique(units[order], return_index=True)
        if passed_over is not None:
            passed_over.update(dict.fromkeys(np.delete(order, first).tolist(), UNIT))
        order = order[np.sort(first)]
    limits = {name: max(1, math.floor(share * k)) for name, share in (caps or {}).items()} if groups else {}
    taken: dict[tuple[str, int], int] = {}

    def full(index: int) -> str | None:
        """The group of a candidate that has its share."""
        for name in limits:
            key = int(groups[name][index])  # type: ignore[index]
            if key != 0 and taken.get((name, key), 0) >= limits[name] and not sure[index]:
                return name
        return None

    def take(index: int) -> None:
        for name in limits:
            key = (name, int(groups[name][index]))  # type: ignore[index]
            taken[key] = taken.get(key, 0) + 1

    chosen: list[int] = []
    passed: list[int] = []
    if how is not None and met is not None and not sure.any():
        told = {} if passed_over is None else passed_over
        chosen, passed = spread(how, met, scores, order.tolist(), k, full, take, told)
        return np.array(chosen + passed[: k - len(chosen)], dtype=np.int64)
    for index in order.tolist():
        if len(chosen) == k:
            break
        group = full(index)
        if group is not None:
            passed.append(index)
            if passed_over is not None:
                passed_over[index] = group
            continue
        chosen.append(index)
        take(index)
    slate = np.array(chosen + passed[: k - len(chosen)], dtype=np.int64)
    if passed_over is not None and sure[slate].any():
        better = set(order[scores[order] > scores[slate].min()].tolist()) - {*slate.tolist(), *passed_over}
        passed_over.update(dict.fromkeys(better, SURE))
    return slate[np.lexsort((item_keys[slate], -scores[slate]))]


def displaced(
    scores: np.ndarray, item_keys: np.ndarray, slate: np.ndarray, passed_over: Mapping[int, str]
) -> tuple[np.ndarray, list[str]]:
    """By how many places each item stands above the place that its score alone would give it, and why.

    Returns:
        int32[k], negative for an item that stands below; and what `select` told of the best candidate that neither
        stands there nor above, "" where nothing was moved.
    """
    moved, best = _moved(scores, item_keys, slate)
    causes = [""] * len(slate)
    for place in np.flatnonzero(moved).tolist():
        who = best[place] if moved[place] > 0 else slate[place]
        causes[place] = passed_over.get(int(who), SURE)
    return moved, causes


def _falling(scores: np.ndarray, item_keys: np.ndarray) -> np.ndarray:
    """Places by falling score, equal ones by item key."""
    order = np.argsort(-scores)  # a fifth of lexsort's time
    falling = scores[order]
    return np.lexsort((item_keys, -scores)) if (falling[1:] == falling[:-1]).any() else order


@njit(cache=True, nogil=True)
def _moved(scores, item_keys, slate):  # type: ignore[no-untyped-def]
    """How many stand ahead of each of a slate by their score and not by their place, int32[k]; and where some do, the
    best candidate that neither stands there nor above, int64[k].
    """
    moved, best, above = -np.arange(len(slate)).astype(np.int32), slate.copy(), np.zeros(len(scores), np.bool_)
    for place in range(len(slate)):
        score, key = scores[slate[place]], item_keys[slate[place]]
        for i in range(len(scores)):
            moved[place] += scores[i] > score or (scores[i] == score and item_keys[i] < key)
        for i in range(len(scores) if moved[place] > 0 else 0):
            if not above[i] and (scores[i] > score or (scores[i] == score and item_keys[i] < key)):
                best[place], score, key = i, scores[i], item_keys[i]
        above[slate[place]] = True
    return moved, best
