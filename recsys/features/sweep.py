"""Features of the past on one machine: every row reads the log at its own position and instant."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from recsys.compiled import njit
from recsys.events import KINDS
from recsys.features import kernel, prefix
from recsys.features.catalog import HISTORY_KINDS, HISTORY_LENGTH, VIEWS
from recsys.features.history import History
from recsys.features.layout import (
    V_FIRST_OUT,
    V_LAST_OUT,
    V_WIDTH,
    Program,
    alone,
    compile_program,
    has_windows,
    without_windows,
)
from recsys.features.log import Catalogue, EventLog, Reads, Rows

PROGRAM: Final[Program] = compile_program(VIEWS)
BATCH: Final = 1 << 14  # events and rows that are swept at once: what they need stays in the cache of a core


def read_positions(log: EventLog, instants: np.ndarray) -> np.ndarray:
    """Position at which an imported read at each instant reads, int64[n]: the last event with `received_at < instant`.

    Strictly before: rows that share its instant are not visible. Where received_at goes backwards, every event up to
    the position was received before the instant. 0 when there is none.
    """
    received = np.maximum.accumulate(log.received_at) if len(log.received_at) else log.received_at
    before = np.searchsorted(received, instants, side="left")
    return np.concatenate([np.zeros(1, np.int64), log.position])[before]


def rows_to_read(items: Catalogue, rows: Rows) -> tuple[Reads, np.ndarray]:
    """The rows in order of position, and the order: `reads[k]` is row `order[k]`."""
    positions = np.asarray(rows.position, np.int64)
    in_order = bool(np.all(positions[1:] >= positions[:-1]))
    order = np.arange(len(positions)) if in_order else np.argsort(positions, kind="stable")
    item = items.lookup(rows.item_key, rows.as_of)
    shelves = np.zeros(len(positions), np.int64) if rows.shelf_key is None else rows.shelf_key
    columns = (rows.user_key, rows.item_key, item.category_key, item.creator_key, shelves, positions, rows.as_of)
    return Reads(*(np.ascontiguousarray(np.asarray(c, np.int64)[order]) for c in columns)), order


def point_in_time(
    log: EventLog,
    items: Catalogue,
    rows: Rows,
    *,
    threads: int = 1,
    program: Program = PROGRAM,
) -> np.ndarray:
    """Aggregates of each row at its position and instant, int64[n, columns of the program].

    Args:
        log: events in order of position
        items: attributes of the items asked for, as of each instant where it knows their history
        rows: what is asked, [n]
        threads: each takes some entities at a time; the result is the same for any number
        program: the catalogue's, unless a benchmark asks for fewer columns
    """
    return swept(program, log, *rows_to_read(items, rows), threads=threads)


def swept(program: Program, log: EventLog, reads: Reads, order: np.ndarray, *, threads: int = 1) -> np.ndarray:
    """`point_in_time` of rows that are in order of position, written to the rows that `order` gives."""
    log = EventLog(*(np.ascontiguousarray(column) for column in log))
    out = np.zeros((len(order), int(program.views[-1, V_LAST_OUT]) if len(program.views) else 0), np.int64)
    events, in_time = prefix.packed(log), np.argsort(log.occurred_at, kind="stable")
    event_place, row_place = np.empty(len(in_time), np.int64), np.empty(len(order), np.int64)
    keys = log.user_key, log.item_key, log.category_key, log.creator_key, log.shelf_key
    scratch = threading.local()
    with ThreadPoolExecutor(threads) as pool:
        for v in range(len(program.views)):
            row_keys = kernel.entity_keys(program.views, v, *reads[:5])
            rows, numbers, count = prefix.number_keys(row_keys, kernel.entity_keys(program.views, v, *keys))
            start, index = prefix.by_number(numbers, count, event_place)
            row_start, row_index = prefix.by_number(rows, count, row_place)
            view = alone(program, v)
            in_order = prefix.in_order(numbers, start, in_time, event_place) if has_windows(view) else index
            sorted_ = _Sorted(view, without_windows(view), start, index, in_order, row_start, row_index)
            into = out[:, program.views[v, V_FIRST_OUT] : program.views[v, V_LAST_OUT]]
            work = partial(_sweep_batch, sorted_, events, reads, order, into, scratch)
            shares = pairwise(batches(start + row_start))
            list(pool.map(work, shares) if threads > 1 else map(work, shares))
    return out


class _Sorted(NamedTuple):
    """A view's events and rows, entity by entity: those of entity k at [start[k]:start[k + 1]] of an index."""

    windows: Program
    running: Program
    start: np.ndarray
    events: np.ndarray
    in_time: np.ndarray
    row_start: np.ndarray
    rows: np.ndarray


def _sweep_batch(
    of: _Sorted,
    events: np.ndarray,
    reads: Reads,
    order: np.ndarray,
    out: np.ndarray,
    scratch: threading.local,
    entities: tuple[int, int],
) -> None:
    first, last = entities
    index = of.events[of.start[first] : of.start[last]]
    row_index = of.rows[of.row_start[first] : of.row_start[last]]
    known, asked = _room(scratch, "known", len(index), 4), _room(scratch, "asked", len(row_index), 2)
    swept_rows = _room(scratch, "swept_rows", len(row_index), out.shape[1])
    swept_rows[:] = 0
    prefix.gather(events, index, reads, row_index, known, asked)
    if of.running.views[0, V_WIDTH]:  # first: it writes every column, those of windows as zeros
        kernel.sweep_running(of.running, known, of.start, asked, of.row_start, first, last, swept_rows)
    if has_windows(of.windows):
        prefix.sweep_windows(of.windows, known, of.start, of.in_time, asked, of.row_start, first, last, swept_rows)
    prefix.scatter(swept_rows, row_index, order, out)


def _room(scratch: threading.local, name: str, rows: int, width: int) -> np.ndarray:
    """int64[rows, width] in memory that the thread had before: first touch costs 1 ns a byte, as much as the sweep."""
    held = getattr(scratch, name, None)
    if held is None or len(held) < rows * width:
        held = np.empty(max(rows * width, 4 * BATCH), np.int64)
        setattr(scratch, name, held)
    return held[: rows * width].reshape(rows, width)


def batches(work: np.ndarray) -> list[int]:
    """Bounds of runs of entities with at most BATCH events and rows, given their running total; a hot one is alone."""
    bounds = [0]
    while bounds[-1] < len(work) - 1:
        following = int(np.searchsorted(work, work[bounds[-1]] + BATCH, side="right")) - 1
        bounds.append(max(following, bounds[-1] + 1))
    return bounds


def histories(log: EventLog, user_keys: np.ndarray, positions: np.ndarray, as_of: np.ndarray) -> History:
    """The last HISTORY_LENGTH events of HISTORY_KINDS of each row's user up to its position, in log order.

    `as_of` takes no part: a history is defined by the log's order alone, and is here so that all reads look alike.
    """
    kept = np.flatnonzero(np.isin(log.kind, [KINDS[kind] for kind in HISTORY_KINDS]) & (log.user_key != 0))
    by_user = kept[np.argsort(log.user_key[kept], kind="stable")]
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
