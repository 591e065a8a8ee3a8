"""Histories as a network of tastes reads them: a bag of events for each kind of event, in which an event counts half as
much for every HALF_LIFE events that followed it. What it makes of them: taste_network.py.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from recsys.compiled import njit
from recsys.events import KINDS
from recsys.features.catalog import HISTORY_KINDS, HISTORY_LENGTH
from recsys.features.history import History
from recsys.features.log import rows_in

HALF_LIFE: Final = 30.0  # events
BAGS: Final = len(HISTORY_KINDS)
_WEIGHTS: Final = np.exp2(-np.arange(HISTORY_LENGTH) / HALF_LIFE).astype(np.float32)  # newest first
_BAG: Final = np.zeros(max(KINDS.values()) + 1, np.int64)  # by kind
_BAG[[KINDS[kind] for kind in HISTORY_KINDS]] = np.arange(BAGS)


def events_of(item_keys: np.ndarray, item_key: np.ndarray, history: History) -> tuple[np.ndarray, ...]:
    """The columns of `taste_network.Bags` as arrays, by the rows of the table of `item_keys` (sorted); a history of
    several rows comes once.
    """
    first, whose = history.distinct()
    start, stop = history.start[first], history.stop[first]
    rows = np.empty(int((stop - start).sum()), np.int64)
    starts, weights = np.empty(len(first) * BAGS, np.int64), np.empty(len(rows), np.float32)
    mass = np.empty((len(first), BAGS), np.float32)
    _fill(item_keys, history.item_key, history.kind, start, stop, rows, starts, weights, mass)
    return rows_in(item_keys, item_key), whose, rows, starts, weights, mass


@njit(cache=True, nogil=True)
def _fill(known, item_key, kind, start, stop, rows, starts, weights, mass):  # type: ignore[no-untyped-def]
    """The columns of `Bags` by history, without an array of events between: sums in double precision, then rounded."""
    at = 0
    for h in range(len(start)):
        total, sizes = 0.0, np.zeros(BAGS, np.int64)
        for i in range(start[h], stop[h]):
            total += _WEIGHTS[stop[h] - 1 - i]
            sizes[_BAG[kind[i]]] += 1
        whole = np.float32(total) + np.float32(1.0)
        for b in range(BAGS):
            starts[h * BAGS + b] = at
            at += sizes[b]
        place, sums = starts[h * BAGS : (h + 1) * BAGS].copy(), np.zeros(BAGS)
        for i in range(start[h], stop[h]):
            bag = _BAG[kind[i]]
            weight = _WEIGHTS[stop[h] - 1 - i] / whole
            found = np.searchsorted(known, item_key[i])
            rows[place[bag]] = found + 1 if found < len(known) and known[found] == item_key[i] else 0
            weights[place[bag]] = weight
            sums[bag] += weight
            place[bag] += 1
        mass[h] = sums
