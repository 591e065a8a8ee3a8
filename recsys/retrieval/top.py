"""The best of many scores, and what sources propose as scores, in compiled loops: arrays took thrice as long.

Equal scores are in the order of their places, also at the cut, so that a list depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.compiled import njit


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """Indices of the k highest scores, falling; equal scores by rising index, also at the cut. NaN is the lowest."""
    return np.asarray(_top(scores, max(min(k, len(scores)), 0)))


@njit(cache=True, nogil=True)
def _top(scores, k):  # type: ignore[no-untyped-def]
    n = len(scores)
    best, filled = np.empty(k, np.int64), 0
    if k == 0:
        return best
    known = np.empty(n, scores.dtype)
    numbers = 0
    for i in range(n):
        if scores[i] == scores[i]:
            known[numbers] = scores[i]
            numbers += 1
    most = min(k, numbers)
    if most:
        cut = known[0]
        for i in range(1, numbers):
            cut = min(cut, known[i])
        if most < numbers:
            cut = np.partition(known[:numbers], numbers - most)[numbers - most]
        above = 0
        for i in range(numbers):
            above += known[i] > cut
        level = most - above  # of those at the cut, so many have a place
        for i in range(n):
            if scores[i] > cut or (scores[i] == cut and level > 0):
                level -= scores[i] == cut
                best[filled] = i
                filled += 1
        worth = np.empty(filled, scores.dtype)
        for i in range(filled):
            worth[i] = -scores[best[i]]
        best[:filled] = best[:filled][np.argsort(worth, kind="mergesort")]
    for i in range(n):
        if filled == k:
            break
        if scores[i] != scores[i]:
            best[filled] = i
            filled += 1
    return best


@njit(cache=True, nogil=True)
def top_among(scores, among, k):  # type: ignore[no-untyped-def]
    """As `top_k`, of those places alone, rising int64[m]."""
    worth = np.empty(len(among), scores.dtype)
    for i in range(len(among)):
        worth[i] = scores[among[i]]
    return among[_top(worth, max(min(k, len(among)), 0))]


@njit(cache=True, nogil=True)
def _above_zero(scores):  # type: ignore[no-untyped-def]
    rows, count = np.empty(len(scores), np.int64), 0
    for i in range(len(scores)):
        if scores[i] > 0:
            rows[count] = i
            count += 1
    return rows[:count]


@njit(cache=True, nogil=True)
def alike(recent, weights, neighbours, similarity, allowed, k):  # type: ignore[no-untyped-def]
    """Rows of the k items most alike to a few, of those that are allowed and at all alike.

    Args: rows of the few int64[m] and what each counts float64[m]; of each item's neighbours rows
    int32[n, NEIGHBOURS], -1 for none, and similarity float32[n, NEIGHBOURS]; bool[n]; k.
    """
    score = np.zeros(len(neighbours))
    for r in range(len(recent)):
        of = recent[r]
        for place in range(neighbours.shape[1]):
            row = neighbours[of, place]
            if row >= 0 and allowed[row]:
                score[row] += weights[r] * similarity[of, place]
    return top_among(score, _above_zero(score), k)


def fused(
    lists: Sequence[np.ndarray], weights: Sequence[float], constant: float, places: Sequence[int], n: int, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The k best of several lists of rows below n, best first in each, by weight / (constant + rank) summed.

    Args:
        places: of each list, how many of its first are ahead of whatever is proposed elsewhere

    Returns:
        Rows int64[m], the list that ranked each highest int8[m], scores float64[m] above 0, bool[m] whether it has one
        of `places`.
    """
    bounds = np.cumsum([0, *map(len, lists)])
    rows = np.concatenate([*lists, np.empty(0, np.int64)])
    made = _fused(rows, bounds, np.array(weights, np.float64), constant, np.array(places, np.int64), n, k)
    return tuple(made)


@njit(cache=True, nogil=True)
def _fused(rows, bounds, weights, constant, places, n, k):  # type: ignore[no-untyped-def]
    total, largest, first, sure = np.zeros(n), np.zeros(n), np.zeros(n, np.int8), np.zeros(n, np.bool_)
    for source in range(len(weights)):
        for i in range(bounds[source], bounds[source + 1]):
            row, rank = rows[i], i - bounds[source]
            share = weights[source] / (constant + rank)
            total[row] += share
            if share > largest[row]:
                largest[row], first[row] = share, source
            if rank < places[source]:
                sure[row] = True
    worth = np.empty(n)
    for row in range(n):
        worth[row] = total[row] + sure[row]  # a fused score is far below 1
    best, count = top_among(worth, _above_zero(worth), k), 0
    for row in best:
        if total[row] > 0:
            best[count] = row
            count += 1
    best = best[:count]
    return best, first[best], total[best], sure[best]
