"""What the rows of a training pull at the parameters of items: the gradient of their likelihood, in one pass.

Through torch each operation on a row writes an array of all rows, forwards and backwards: 97,000 rows took 34 ms of
CPU, here 9. Sums are in double precision.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit


class Rows(NamedTuple):
    """n impressions, user by user: what does not change while items are learned."""

    item: np.ndarray  # int64[n], row of the item tables
    user: np.ndarray  # int64[n], row of the users' vectors
    context: np.ndarray  # float32[n, c]
    there: np.ndarray  # int64[n + 1]: the entries of its rows that are not 0, seven of thirty, row by row
    column: np.ndarray  # int64, of each
    value: np.ndarray  # float32, of each
    opened: np.ndarray  # uint8[n]
    viewed: np.ndarray  # uint8[n], of an opened one: viewed long
    type: np.ndarray  # int64[n], which of the user's own levels by type counts; -1 none

    @staticmethod
    def of(
        item: np.ndarray,
        user: np.ndarray,
        context: np.ndarray,
        opened: np.ndarray,
        viewed: np.ndarray,
        type: np.ndarray,
    ) -> Rows:
        """Rows as they are learned from."""
        row, column = np.nonzero(context)
        there = np.searchsorted(row, np.arange(len(context) + 1))
        return Rows(item, user, context, there, column, context[row, column], opened, viewed, type)


class Pull(NamedTuple):
    """Derivatives of the negative log likelihood, float64 of the parameters' shapes."""

    whole: np.ndarray  # [items, d + 2], of each item's vector and its two levels
    context: np.ndarray  # [c, 2]
    base: np.ndarray  # [2]
    slope: np.ndarray  # []


def pull(
    rows: Rows,
    users: np.ndarray,
    whole: np.ndarray,
    context: np.ndarray,
    base: np.ndarray,
    slope: np.ndarray,
    *,
    views: bool,
) -> Pull:
    """Of all rows together.

    Args:
        users: float32[users, d + 1 + types], a vector and levels each
        whole, context, base, slope: the parameters, float32, as in `Pull`
        views: whether what was opened tells by its long views too
    """
    of_whole, of_context, of_base = np.zeros(whole.shape), np.zeros(context.shape), np.zeros(2)
    of_slope = _add_up(rows, users, whole, context, base, np.float32(slope), views, of_whole, of_context, of_base)
    return Pull(of_whole, of_context, of_base, np.asarray(of_slope))


@njit(cache=True, nogil=True)
def _add_up(rows, users, whole, weights, base, slope, views, of_whole, of_context, of_base):  # type: ignore[no-untyped-def]
    d, of_slope = whole.shape[1] - 2, 0.0
    for r in range(len(rows.item)):
        i, u = rows.item[r], rows.user[r]
        match, click, view = 0.0, base[0] + whole[i, d] + users[u, d], base[1] + whole[i, d + 1]
        if rows.type[r] >= 0:
            click += users[u, d + 1 + rows.type[r]]
        for k in range(d):
            match += users[u, k] * whole[i, k]
        for e in range(rows.there[r], rows.there[r + 1]):
            click += rows.value[e] * weights[rows.column[e], 0]
            view += rows.value[e] * weights[rows.column[e], 1]
        click = 1.0 / (1.0 + math.exp(-(click + match))) - rows.opened[r]
        if views and rows.opened[r]:
            view = 1.0 / (1.0 + math.exp(-(view + slope * match))) - rows.viewed[r]
            of_slope += view * match
        else:
            view = 0.0
        both = click + slope * view
        for k in range(d):
            of_whole[i, k] += both * users[u, k]
        of_whole[i, d] += click
        of_whole[i, d + 1] += view
        of_base[0] += click
        of_base[1] += view
        for e in range(rows.there[r], rows.there[r + 1]):
            of_context[rows.column[e], 0] += click * rows.value[e]
            of_context[rows.column[e], 1] += view * rows.value[e]
    return of_slope
