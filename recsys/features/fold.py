"""The fold: the state of every entity, and the log applied to it event by event, by the kernel's compiled functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from recsys.features.kernel import BLOCK, apply_events, merge, rehash, scan_rows
from recsys.features.layout import G_COUNT, G_OUT, G_TYPE, TILED, V_WIDTH, Program
from recsys.features.log import EventLog, Reads

U_ENTITIES, U_CELLS, U_POSITION, U_YOUNG = range(4)
YOUNG: Final = 1 << 12  # slots at first


class State(NamedTuple):
    """Everything known at `used[U_POSITION]`; arrays may have spare room at their ends.

    What is mapped from a snapshot stays as it is there, and workers share its pages: an entity of which an event comes
    gets a run of its own behind those of the snapshot, and a slot among the `young`.
    """

    table: np.ndarray  # int64[2^k, 2], open-addressed: key (0 is free), first cell of its run
    cells: np.ndarray  # int64[...], zero where unused
    used: np.ndarray  # int64[4]: entities, cells, position of the last applied event, young entities
    # int64[2^k, 3], as `table`: key, first cell of its run here, and in the snapshot (-1); no row: all is written there
    young: np.ndarray = np.zeros((0, 3), np.int64)


def new_state(entities: int = 1 << 10, cells: int = 1 << 16) -> State:
    """An empty state with room for about that much; it grows by itself."""
    slots = 1 << max(4, int(2 * entities - 1).bit_length())
    return State(np.zeros((slots, 2), np.int64), np.zeros(cells, np.int64), np.zeros(4, np.int64))


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
    table, cells, used, young = state
    widths = BLOCK * int(program.views[:, V_WIDTH].sum())
    if len(young) and used[U_YOUNG] + BLOCK * len(program.views) > len(young) // 2:
        young = _doubled(young)
    if not len(young) and used[U_ENTITIES] + BLOCK * len(program.views) > len(table) // 2:
        table = _doubled(table)
    if used[U_CELLS] + widths > len(cells):
        more = np.zeros(max(2 * len(cells), len(cells) + widths), np.int64)
        more[: used[U_CELLS]] = cells[: used[U_CELLS]]
        cells = more
    return State(table, cells, used, young)


def _doubled(table: np.ndarray) -> np.ndarray:
    larger = np.zeros((2 * len(table), table.shape[1]), np.int64)
    rehash(table, larger)
    return larger


def mapped(table: np.ndarray, cells: np.ndarray, used: np.ndarray) -> State:
    """The state of a snapshot, of which nothing is written."""
    return State(table, cells, np.array([*used[:U_YOUNG], 0]), np.zeros((YOUNG, 3), np.int64))


def settled(state: State) -> State:
    """The same state as if nothing had been mapped: runs are written back, those of new entities follow in their order.

    Its arrays take the place of the given one's, which are written.
    """
    table, cells, used, young = state
    if not len(young):
        return state
    young = young[young[:, 0] != 0]
    young = young[np.argsort(young[:, 1])]  # they lie side by side, in the order in which they came
    key, run, before = young.T
    end = int(used[U_CELLS])
    width = np.diff(run, append=end)
    new = before < 0
    begin = int(run[0]) if len(run) else end
    home = np.where(new, begin + np.cumsum(np.where(new, width, 0)) - width, before)
    moved = cells[begin:end].copy()
    cells[begin:end] = 0
    within = np.arange(len(moved)) - np.repeat(run - begin, width)
    cells[np.repeat(home, width) + within] = moved
    while 2 * used[U_ENTITIES] > len(table):
        table = _doubled(table)
    rehash(np.stack([key, home], axis=1)[new], table)
    return State(table, cells, np.array([used[U_ENTITIES], begin + width[new].sum(), used[U_POSITION]]))


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
