"""Features of the past on one machine: every row reads the log at its own position and instant."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numba import njit

from recsys.events import KINDS
from recsys.features import kernel, prefix
from recsys.features.catalog import ENGAGED, HISTORY_LENGTH, VIEWS
from recsys.features.layout import (
    G_OUT,
    G_TYPE,
    TILED,
    V_FIRST_GROUP,
    V_LAST_GROUP,
    V_WIDTH,
    Program,
    columns_of,
    compile_program,
    without_windows,
)
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
    items: Items,
    user_keys: np.ndarray,
    item_keys: np.ndarray,
    positions: np.ndarray,
    as_of: np.ndarray,
    shelf_keys: np.ndarray | None = None,
) -> tuple[kernel.Reads, np.ndarray]:
    """The rows in order of position, and the order: `reads[k]` is row `order[k]`."""
    positions = np.asarray(positions, np.int64)
    in_order = bool(np.all(positions[1:] >= positions[:-1]))
    order = np.arange(len(positions)) if in_order else np.argsort(positions, kind="stable")
    item = items.lookup(item_keys)
    shelves = np.zeros(len(positions), np.int64) if shelf_keys is None else shelf_keys
    columns = (user_keys, item_keys, item.category_key, item.creator_key, shelves, positions, as_of)
    return kernel.Reads(*(np.ascontiguousarray(np.asarray(c, np.int64)[order]) for c in columns)), order


def point_in_time(
    log: EventLog,
    items: Items,
    user_keys: np.ndarray,
    item_keys: np.ndarray,
    positions: np.ndarray,
    as_of: np.ndarray,
    shelf_keys: np.ndarray | None = None,
    *,
    threads: int = 1,
    program: Program = PROGRAM,
) -> np.ndarray:
    """Aggregates of each row at its position and instant, int64[n, columns of the program].

    Args:
        log: events in order of position
        items: attributes of the items asked for
        user_keys, item_keys: key64 of the ids, [n]
        positions: last position each row sees, [n]
        as_of: instant at which its windows end, UTC ms, [n]
        shelf_keys: key64 of the shelf each row is read for, [n]; None where it is not known
        threads: each takes the entities of an equal share of events and rows; the result is the same for any number
        program: the catalogue's, unless a benchmark asks for fewer columns
    """
    return swept(
        program, log, *rows_to_read(items, user_keys, item_keys, positions, as_of, shelf_keys), threads=threads
    )


def swept(program: Program, log: EventLog, reads: kernel.Reads, order: np.ndarray, *, threads: int = 1) -> np.ndarray:
    """`point_in_time` of rows that are in order of position, written to the rows that `order` gives."""
    log = EventLog(*(np.ascontiguousarray(column) for column in log))
    columns = int(program.groups[-1, G_OUT] + columns_of(program.groups[-1])) if len(program.groups) else 0
    out = np.zeros((len(order), columns), np.int64)
    events_packed = prefix.packed(log)
    in_time = np.argsort(log.occurred_at, kind="stable")
    in_log, in_rows = np.arange(len(log.position)), np.arange(len(order))
    running = without_windows(program)
    keys = log.user_key, log.item_key, log.category_key, log.creator_key, log.shelf_key
    with ThreadPoolExecutor(threads) as pool:
        for v in range(len(program.views)):
            row_keys = kernel.entity_keys(program.views, v, *reads[:5])
            rows, events, count = prefix.number_keys(row_keys, kernel.entity_keys(program.views, v, *keys))
            log_start, log_index = prefix.by_number(events, count, in_log)
            row_start, row_index = prefix.by_number(rows, count, in_rows)
            groups = program.groups[program.views[v, V_FIRST_GROUP] : program.views[v, V_LAST_GROUP]]
            sweeps: list[tuple[Callable[..., None], tuple]] = []
            if np.any(groups[:, G_TYPE] == TILED):
                time_index = prefix.by_number(events, count, in_time)[1]
                fixed = (program, v, events_packed, log_start, log_index, time_index, reads, row_start, row_index)
                sweeps.append((prefix.sweep_windows, fixed))
            if running.views[v, V_WIDTH]:
                sweeps.append(
                    (kernel.sweep_running, (running, v, log, log_start, log_index, reads, row_start, row_index))
                )
            bounds = shards(log_start + row_start, threads)
            waiting = [
                pool.submit(sweep, *fixed, first, last, order, out)
                for sweep, fixed in sweeps
                for first, last in pairwise(bounds)
            ]
            for done in waiting:
                done.result()
    return out


def shards(work: np.ndarray, count: int) -> list[int]:
    """Bounds of `count` ranges of entities with about equal work, given the running total of it."""
    if len(work) < 2:
        return [0, 0]
    inner = np.searchsorted(work, work[-1] * np.arange(1, count) // count)
    return [0, *map(int, inner), len(work) - 1]


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
