"""Features of the past on one machine: every row reads the log at its own position and instant."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import njit

from recsys.events import KINDS
from recsys.features import kernel
from recsys.features.catalog import AGGREGATES, ENGAGED, HISTORY_LENGTH, VIEWS
from recsys.features.layout import Program, compile_program
from recsys.features.log import EventLog, Items

PROGRAM: Final[Program] = compile_program(VIEWS)


class History(NamedTuple):
    """Engaged events user by user in log order; row r holds `[start[r]:stop[r]]`, at most HISTORY_LENGTH of them."""

    item_key: np.ndarray  # int64[m]
    kind: np.ndarray  # int8[m]
    occurred_at: np.ndarray  # int64[m]
    start: np.ndarray  # int64[n]
    stop: np.ndarray  # int64[n]


def read_positions(log: EventLog, instants: np.ndarray) -> np.ndarray:
    """Position at which an imported read at each instant reads, int64[n]: the last event with `received_at < instant`.

    Strictly before: rows that share its instant are not visible. Where received_at goes backwards, every event up to
    the position was received before the instant. 0 when there is none.
    """
    received = np.maximum.accumulate(log.received_at) if len(log.received_at) else log.received_at
    before = np.searchsorted(received, instants, side="left")
    return np.concatenate([np.zeros(1, np.int64), log.position])[before]


def rows_to_read(
    items: Items, user_keys: np.ndarray, item_keys: np.ndarray, positions: np.ndarray, as_of: np.ndarray
) -> tuple[kernel.Reads, np.ndarray]:
    """The rows in order of position, and the order: `reads[k]` is row `order[k]`."""
    order = np.argsort(positions, kind="stable")
    item = items.lookup(item_keys)
    columns = (user_keys, item_keys, item.category_key, item.creator_key, positions, as_of)
    return kernel.Reads(*(np.ascontiguousarray(np.asarray(c, np.int64)[order]) for c in columns)), order


def point_in_time(
    log: EventLog, items: Items, user_keys: np.ndarray, item_keys: np.ndarray, positions: np.ndarray, as_of: np.ndarray
) -> np.ndarray:
    """Aggregates of each row at its position and instant, int64[n, len(AGGREGATES)].

    Args:
        log: events in order of position
        items: attributes of the items asked for
        user_keys, item_keys: key64 of the ids, [n]
        positions: last position each row sees, [n]
        as_of: instant at which its windows end, UTC ms, [n]
    """
    reads, order = rows_to_read(items, user_keys, item_keys, positions, as_of)
    out = np.empty((len(order), len(AGGREGATES)), np.int64)
    out[order] = kernel.replayed(PROGRAM, log, reads, len(AGGREGATES))
    return out


def histories(log: EventLog, user_keys: np.ndarray, positions: np.ndarray, as_of: np.ndarray) -> History:
    """The last HISTORY_LENGTH engaged events of each row's user up to its position, in log order.

    `as_of` takes no part: a history is defined by the log's order alone, and is here so that all reads look alike.
    """
    engaged = np.flatnonzero(np.isin(log.kind, [KINDS[kind] for kind in ENGAGED]) & (log.user_key != 0))
    by_user = engaged[np.argsort(log.user_key[engaged], kind="stable")]
    user, position = log.user_key[by_user], log.position[by_user]
    first = np.searchsorted(user, user_keys, side="left")
    last = np.searchsorted(user, user_keys, side="right")
    stop = np.empty(len(user_keys), np.int64)
    stops_within(position, first, last, np.asarray(positions, np.int64), stop)
    return History(
        log.item_key[by_user],
        log.kind[by_user],
        log.occurred_at[by_user],
        start=np.maximum(first, stop - HISTORY_LENGTH),
        stop=stop,
    )


@njit(cache=True, nogil=True)
def stops_within(position, first, last, until, stop):  # type: ignore[no-untyped-def]
    """In each run [first:last] of ascending positions, the end of those <= until."""
    for r in range(len(until)):
        stop[r] = first[r] + np.searchsorted(position[first[r] : last[r]], until[r], side="right")
