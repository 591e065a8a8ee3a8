"""What the rows of a training pull at the parameters of items: the gradient of their likelihood, in one pass.

Through torch each operation on a row writes an array of all rows, forwards and backwards: 97,000 rows took 34 ms of
CPU, here 9. Sums are in double precision.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from recsys.compiled import njit


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
    liked: np.ndarray  # uint8[n], of an opened one
    type: np.ndarray  # int64[n], which of the user's own levels by type counts; -1 none

    @staticmethod
    def of(
        item: np.ndarray,
        user: np.ndarray,
        context: np.ndarray,
        opened: np.ndarray,
        viewed: np.ndarray,
        liked: np.ndarray,
        type: np.ndarray,
    ) -> Rows:
        """Rows as they are learned from."""
        row, column = np.nonzero(context)
        there = np.searchsorted(row, np.arange(len(context) + 1))
        return Rows(item, user, context, there, column, context[row, column], opened, viewed, liked, type)


class Pull(NamedTuple):
    """Derivatives of the negative log likelihood, float64 of the parameters' shapes."""

    whole: np.ndarray  # [items, d + 3], of each item's vector and its levels of click, long view and like
    context: np.ndarray  # [c, 2]
    base: np.ndarray  # [3]
    slope: np.ndarray  # [2], of a vector for the long view and for the like
    viewed: np.ndarray  # [], of what a long view adds to a like


def pull(
    rows: Rows,
    users: np.ndarray,
    whole: np.ndarray,
    context: np.ndarray,
    base: np.ndarray,
    slope: np.ndarray,
    viewed: np.ndarray,
    *,
    views: bool,
    likes: bool,
) -> Pull:
    """Of all rows together.

    Args:
        users: float32[users, d + 1 + types], a vector and levels each; with likes one more
        whole, context, base, slope, viewed: the parameters, float32, as in `Pull`; without likes a level less
        views, likes: whether what was opened tells by its long views too, and by its likes
    """
    of = Pull(*(np.zeros(known.shape or 1) for known in (whole, context, base, slope, viewed)))
    _add_up(rows, users, whole, context, base, slope, np.float32(viewed), views, likes, *of)
    return of._replace(viewed=of.viewed[0])


@njit(cache=True, nogil=True)
def _add_up(  # type: ignore[no-untyped-def]
    rows, users, whole, weights, base, slope, viewed, views, likes, of_whole, of_context, of_base, of_slope, of_viewed
):
    d = whole.shape[1] - len(base)
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
            view = 1.0 / (1.0 + math.exp(-(view + slope[0] * match))) - rows.viewed[r]
            of_slope[0] += view * match
        else:
            view = 0.0
        told = click + slope[0] * view
        if likes and rows.opened[r]:
            like = base[2] + whole[i, d + 2] + users[u, users.shape[1] - 1] + viewed * rows.viewed[r]
            like = 1.0 / (1.0 + math.exp(-(like + slope[1] * match))) - rows.liked[r]
            of_slope[1] += like * match
            of_viewed[0] += like * rows.viewed[r]
            of_whole[i, d + 2] += like
            of_base[2] += like
            told += slope[1] * like
        for k in range(d):
            of_whole[i, k] += told * users[u, k]
        of_whole[i, d] += click
        of_whole[i, d + 1] += view
        of_base[0] += click
        of_base[1] += view
        for e in range(rows.there[r], rows.there[r + 1]):
            of_context[rows.column[e], 0] += click * rows.value[e]
            of_context[rows.column[e], 1] += view * rows.value[e]
