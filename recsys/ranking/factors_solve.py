"""One user's vector from what they were shown: the most likely one, by Newton's method, in a fixed order of operations.

What a person opened and what they passed over are the outcomes of a logistic regression whose inputs are the items'
vectors and whose unknown is the person's; the population is its prior. Plain loops of float64: the same events give the
same bits whatever is solved beside them, in training, in service and in a replay.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from recsys.compiled import njit

STEPS = 6  # of Newton's method: after five the largest change was below 1e-6 on the simulator
LONGEST = 3.0  # a step's length at most, in prior standard deviations: from a far start a full step may overshoot


class Outcomes(NamedTuple):
    """What m impressions tell of a user: 1 or 0 each."""

    item: np.ndarray  # int64[m], row of the item tables
    opened: np.ndarray  # uint8[m]
    viewed: np.ndarray  # uint8[m], of an opened one: viewed long
    liked: np.ndarray  # uint8[m], of an opened one
    click_offset: np.ndarray  # float64[m], log odds from where and when it was shown
    view_offset: np.ndarray


class Tables(NamedTuple):
    """Items' parameters, float64. The last column of the vectors is 1: the user's own level."""

    vector: np.ndarray  # [items, d + 1]
    type: np.ndarray  # int64[items], which of the user's own levels by type counts for an item; -1 none
    click: np.ndarray  # [items], log odds of a click for a user of the prior's mean
    long_view: np.ndarray  # [items], of a long view of what was opened
    slope: float  # how much a vector counts for the long view, beside the click
    like: np.ndarray  # [items], log odds of a like of what was opened
    like_slope: float  # 0 where likes are not learned
    like_viewed: float  # what a long view adds to them
    precision: np.ndarray  # [d + 1 + types], of the prior; with likes one more, for how freely a user gives them

    @staticmethod
    def of(
        vectors: np.ndarray,
        levels: np.ndarray,
        numbers: tuple[float, float, float],
        type_of: np.ndarray,
        precision: np.ndarray,
    ) -> Tables:
        """As `solve` takes them.

        Args:
            vectors: float64[items, d]
            levels: float64[items, 2 or 3], log odds of a click, a long view and, where they are learned, a like
            numbers: slope, like_slope, like_viewed
        """
        slope, like_slope, like_viewed = numbers
        click, long_view, like = np.ascontiguousarray(np.pad(levels, ((0, 0), (0, 3 - levels.shape[1]))).T)
        vectors = np.concatenate([vectors, np.ones((len(vectors), 1))], axis=1)
        return Tables(vectors, type_of, click, long_view, slope, like, like_slope, like_viewed, precision)


@njit(cache=True, nogil=True)
def outcomes_of(known, item_key, kind, start, stop, told, item, opened, viewed, liked, bounds):  # type: ignore[no-untyped-def]
    """Histories [start:stop] of events as outcomes, one an item and history: `told` says what a kind of event tells
    (1 shown, 2 opened, 4 viewed long, 8 liked). Items that are not `known` (sorted keys) tell nothing.
    """
    filled = 0
    for h in range(len(start)):
        first = filled
        for e in range(start[h], stop[h]):
            row = np.searchsorted(known, item_key[e])
            if row == len(known) or known[row] != item_key[e]:
                continue
            at = first
            while at < filled and item[at] != row:
                at += 1
            if at == filled:
                item[at], opened[at], viewed[at], liked[at] = row, 0, 0, 0
                filled += 1
            flags = told[kind[e]]
            if flags & 14:
                opened[at] = 1
            if flags & 4:
                viewed[at] = 1
            if flags & 8:
                liked[at] = 1
        bounds[h + 1] = filled


@njit(cache=True, nogil=True)
def solve(outcomes, tables, prior, bounds, steps, vectors):  # type: ignore[no-untyped-def]
    """The vector float64[d + 1 + types] of each user, whose outcomes are [bounds[u]:bounds[u + 1]]: into vectors, by so
    many steps from what is there. `prior`, of their shape: the means.
    """
    d = len(tables.precision)
    curvature, step = np.empty((d, d)), np.empty(d)
    for u in range(len(bounds) - 1):
        x = vectors[u]
        for _ in range(steps):
            newton_system(outcomes, tables, prior[u], bounds[u], bounds[u + 1], x, curvature, step)
            factor(curvature)
            forward(curvature, step)
            backward(curvature, step)
            length = 0.0
            for k in range(d):
                length += step[k] * step[k] * tables.precision[k]
            scale = min(1.0, LONGEST / math.sqrt(length)) if length > 0.0 else 1.0
            for k in range(d):
                x[k] += scale * step[k]


@njit(cache=True, nogil=True)
def draw(outcomes, tables, prior, bounds, vectors, chance, out):  # type: ignore[no-untyped-def]
    """A draw of each user's posterior (Laplace) about the vectors that were solved: into out, of their shape.

    `chance`, of their shape: standard normal.
    """
    d = len(tables.precision)
    curvature, apart = np.empty((d, d)), np.empty(d)
    for u in range(len(bounds) - 1):
        newton_system(outcomes, tables, prior[u], bounds[u], bounds[u + 1], vectors[u], curvature, apart)
        factor(curvature)
        for k in range(d):
            apart[k] = chance[u, k]
        backward(curvature, apart)
        for k in range(d):
            out[u, k] = vectors[u, k] + apart[k]


@njit(cache=True, nogil=True)
def newton_system(outcomes, tables, prior, first, last, x, curvature, gradient):  # type: ignore[no-untyped-def]
    """Gradient of the log posterior at x, and its negative second derivative (lower triangle)."""
    d, own = len(x), tables.vector.shape[1]
    for k in range(d):
        gradient[k] = -tables.precision[k] * (x[k] - prior[k])
        for j in range(d):
            curvature[k, j] = 0.0
        curvature[k, k] = tables.precision[k]
    for e in range(first, last):
        i = outcomes.item[e]
        odds = tables.click[i] + outcomes.click_offset[e]
        for k in range(own):
            odds += x[k] * tables.vector[i, k]
        by_type = own + tables.type[i] if tables.type[i] >= 0 else 0
        if by_type:
            odds += x[by_type]
        p = 1.0 / (1.0 + math.exp(-odds))
        slack, weight = outcomes.opened[e] - p, p * (1.0 - p)
        for k in range(own):
            gradient[k] += slack * tables.vector[i, k]
            for j in range(k + 1):
                curvature[k, j] += weight * tables.vector[i, k] * tables.vector[i, j]
        if by_type:
            gradient[by_type] += slack
            curvature[by_type, by_type] += weight
            for k in range(own):
                curvature[by_type, k] += weight * tables.vector[i, k]
        if outcomes.opened[e] and tables.slope != 0.0:
            odds = tables.long_view[i] + outcomes.view_offset[e]
            _agree(tables.vector[i], tables.slope, odds, outcomes.viewed[e], x, curvature, gradient)
        if outcomes.opened[e] and tables.like_slope != 0.0:
            odds = tables.like[i] + tables.like_viewed * outcomes.viewed[e] + x[d - 1]
            p = _agree(tables.vector[i], tables.like_slope, odds, outcomes.liked[e], x, curvature, gradient)
            gradient[d - 1] += outcomes.liked[e] - p
            curvature[d - 1, d - 1] += p * (1.0 - p)
            for k in range(own - 1):
                curvature[d - 1, k] += p * (1.0 - p) * tables.like_slope * tables.vector[i, k]


@njit(cache=True, nogil=True)
def _agree(vector, slope, odds, outcome, x, curvature, gradient):  # type: ignore[no-untyped-def]
    """What an outcome of something opened adds: its log odds are `odds` and, by slope, how user and item agree. Gives
    its probability.
    """
    d = len(vector) - 1  # without the user's own level
    for k in range(d):
        odds += x[k] * slope * vector[k]
    p = 1.0 / (1.0 + math.exp(-odds))
    slack, weight = (outcome - p) * slope, p * (1.0 - p) * slope * slope
    for k in range(d):
        gradient[k] += slack * vector[k]
        for j in range(k + 1):
            curvature[k, j] += weight * vector[k] * vector[j]
    return p


@njit(cache=True, nogil=True)
def factor(matrix):  # type: ignore[no-untyped-def]
    """Cholesky's factor of a positive definite matrix, in its lower triangle."""
    for k in range(len(matrix)):
        for j in range(k + 1):
            rest = matrix[k, j]
            for m in range(j):
                rest -= matrix[k, m] * matrix[j, m]
            matrix[k, j] = math.sqrt(rest) if j == k else rest / matrix[j, j]


@njit(cache=True, nogil=True)
def forward(lower, b):  # type: ignore[no-untyped-def]
    """b of lower x = b becomes x."""
    for k in range(len(b)):
        for m in range(k):
            b[k] -= lower[k, m] * b[m]
        b[k] /= lower[k, k]


@njit(cache=True, nogil=True)
def backward(lower, b):  # type: ignore[no-untyped-def]
    """b of transposed lower x = b becomes x."""
    for k in range(len(b) - 1, -1, -1):
        for m in range(k + 1, len(b)):
            b[k] -= lower[m, k] * b[m]
        b[k] /= lower[k, k]


@njit(cache=True, nogil=True)
def weighted(columns, weights, out):  # type: ignore[no-untyped-def]
    """Sum of each row's columns [n, c] by two weights each [c, 2], column after column: added to out [n, 2]."""
    for r in range(len(columns)):
        for c in range(columns.shape[1]):
            if columns[r, c] != 0.0:
                out[r, 0] += columns[r, c] * weights[c, 0]
                out[r, 1] += columns[r, c] * weights[c, 1]
