"""The fold: the state of every entity, and the log applied to it event by event, by the kernel's compiled functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from recsys.features.kernel import BLOCK, Reads, apply_events, merge, rehash, scan_rows
from recsys.features.layout import G_COUNT, G_OUT, G_TYPE, TILED, V_WIDTH, Program
from recsys.features.log import EventLog

U_ENTITIES, U_CELLS, U_POSITION = range(3)


class State(NamedTuple):
    """Everything known at `used[U_POSITION]`; arrays may have spare room at their ends."""

    table: np.ndarray  # int64[2^k, 2], open-addressed: key (0 is free), first cell of its run
    cells: np.ndarray  # int64[...], zero where unused
    used: np.ndarray  # int64[3]: entities, cells, position of the last applied event


def new_state(entities: int = 1 << 10, cells: int = 1 << 16) -> State:
    """An empty state with room for about that much; it grows by itself."""
    slots = 1 << max(4, int(2 * entities - 1).bit_length())
    return State(np.zeros((slots, 2), np.int64), np.zeros(cells, np.int64), np.zeros(3, np.int64))


def scan_logs(program: Program, logs: Sequence[EventLog], reads: Reads, rows: np.ndarray, out: np.ndarray) -> None:
    """`scan_rows` of a log in pieces: each gives its sums, and none has to be copied to the others."""
    total = np.zeros_like(out)
    for log in logs:
        scan_rows(program, log, reads, rows, out)
        total += out
    for group in program.groups[program.groups[:, G_TYPE] == TILED]:
        columns = slice(group[G_OUT], group[G_OUT] + group[G_COUNT])
        out[rows, columns] = total[rows, columns]


def grown(program: Program, state: State) -> State:
    """The same state with twice the room where it is short of it."""
    table, cells, used = state
    widths = BLOCK * int(program.views[:, V_WIDTH].sum())
    if used[U_ENTITIES] + BLOCK * len(program.views) > len(table) // 2:
        larger = np.zeros((2 * len(table), 2), np.int64)
        rehash(table, larger)
        table = larger
    if used[U_CELLS] + widths > len(cells):
        more = np.zeros(max(2 * len(cells), len(cells) + widths), np.int64)
        more[: used[U_CELLS]] = cells[: used[U_CELLS]]
        cells = more
    return State(table, cells, used)


def roomy(state: State) -> State:
    """The same state, its table a third full at most: a sixth is filled before whoever maps it has to copy it."""
    if 3 * state.used[U_ENTITIES] <= len(state.table):
        return state
    larger = np.zeros((2 * len(state.table), 2), np.int64)
    rehash(state.table, larger)
    return state._replace(table=larger)


def applied(program: Program, state: State, log: EventLog) -> State:
    """The state after these events (its arrays change in place, and are replaced when they grow)."""
    done = apply_events(program, state, log, 0, len(log.position))
    while done < len(log.position):
        state = grown(program, state)
        done = apply_events(program, state, log, done, len(log.position))
    return state


def replayed(program: Program, log: EventLog, reads: Reads, columns: int) -> np.ndarray:
    """Read every row at its position by applying the log event by event, int64[n, columns]: the audit of the sweep.

    `reads` must be in order of position. Rows that ask for an instant so far behind the log that tiles they need are
    gone look at the events themselves.
    """
    state, cursor = new_state(), np.zeros(2, np.int64)
    out, exact = np.zeros((len(reads.as_of), columns), np.int64), np.ones(len(reads.as_of), np.bool_)
    while not merge(program, state, log, reads, cursor, out, exact):
        state = grown(program, state)
    for r in np.flatnonzero(~exact):
        scan_rows(program, log, reads, np.array([r]), out)
    return out
