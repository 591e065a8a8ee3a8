"""Feature views as integer tables: where each number of an entity lies in its packed state, and who reads it.

An entity's cells begin with its columns as a read writes them (sums of windows as of the cut they were last read at),
so that a read is one copy; what the windows and the rest need to go on lies behind, the tiles last.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from recsys.events import KINDS
from recsys.features.definition import FIXED_POINT, PARTS, FeatureView, Measure

TILED, LIFETIME_SUM, LATEST, DECAYED, SESSION, RECENT, LAST = range(1, 8)
RECENT_FIELDS: Final = 3  # item_key, kind, occurred_at
DECAY_STEPS: Final = 64  # sub-buckets of a half-life
DECAY_REACH: Final = 15  # half-lives of lateness that a decayed sum admits
UNLIMITED: Final = 1 << 62
KIND_CODES: Final = 16  # codes of events.KINDS are below

# columns of Program.views; groups up to V_LAST_TILED are windows, up to V_LAST_LIVE change with the instant of a read
(
    V_PART_A, V_PART_B, V_WIDTH, V_FIRST_GROUP, V_LAST_GROUP, V_KINDS, V_FIRST_OUT, V_LAST_OUT, V_LAST_TILED,
    V_LAST_LIVE,
) = range(10)  # fmt: skip
# columns of Program.groups; G_OFFSET is where its own cells lie, G_COLUMN its columns, G_RING its tiles or history
(
    G_TYPE, G_OFFSET, G_LENGTH, G_HOP, G_TILES, G_FIRST, G_COUNT, G_OUT, G_LATENESS, G_KINDS, G_COLUMN, G_RING,
) = range(12)  # fmt: skip
# columns of Program.measures
M_KINDS, M_IS_WATCH = range(2)
# cells at G_OFFSET. Windows: head tile + 1, last evicted tile + 1, cut of the sums + 1. Decayed: sum on the grid of
# octave e, e + 1. Session: last instant, first instant, events. Recent: events ever.
OWN_CELLS: Final = {TILED: 3, LIFETIME_SUM: 0, LATEST: 0, LAST: 0, DECAYED: 2, SESSION: 3, RECENT: 1}


class Program(NamedTuple):
    """Views compiled for the kernel; int64 tables whose columns are named above."""

    views: np.ndarray  # [views, 10]
    groups: np.ndarray  # [groups, 12], those of a view adjacent: one per window, plus session and recent
    measures: np.ndarray  # [measures, 2], those of a group adjacent
    weights: np.ndarray  # [measures, KIND_CODES]: weight of each kind, decayed measures only
    decay: np.ndarray  # [65]: round(2^(r/64) * 2^16)
    hits: (
        np.ndarray
    )  # measure of its group << 1 | whether it takes watch_ms, for each that an event of a kind counts in
    hits_start: np.ndarray  # [groups * KIND_CODES + 1]: those of group g and kind k begin at [g * KIND_CODES + k]


def kinds_mask(kinds: tuple[str, ...]) -> int:
    """Bit `code` set for each kind."""
    return sum(1 << KINDS[kind] for kind in set(kinds))


def compile_program(views: tuple[FeatureView, ...]) -> Program:
    """The tables of these views. The columns of view after view are the columns of an aggregate row."""
    view_rows: list[list[int]] = []
    groups: list[list[int]] = []
    measures: list[list[int]] = []
    weights: list[list[int]] = []
    out = 0
    for view in views:
        first_group, first_out = len(groups), out

        def add(
            kind: int,
            of: tuple[Measure, ...],
            mask: int,
            columns: int,
            lateness: int,
            window: tuple[int, int, int] = (0, 0, 0),
        ) -> None:
            nonlocal out
            length, hop, tiles = window
            groups.append([kind, 0, length, hop, tiles, len(measures), len(of), out, lateness, mask, 0, 0])
            out += columns
            for measure in of:
                measures.append([kinds_mask(measure.kinds), int(measure.op == "sum")])
                weights.append(_weights(measure))

        for aggregation in view.aggregations:
            for window in aggregation.windows:
                # Runs of measures of one type share a group, so that columns keep the order of the declaration.
                for kind, of in _runs(aggregation.measures, tiled=bool(window.hop_ms)):
                    mask = kinds_mask(tuple(name for measure in of for name in measure.kinds))
                    if kind == TILED:
                        tiled = (window.length_ms, window.hop_ms, window.tiles)
                        add(kind, of, mask, len(of), window.length_ms, tiled)
                    elif kind == DECAYED:
                        add(kind, of, mask, 1, DECAY_REACH * window.length_ms, (window.length_ms, 0, 0))
                    else:
                        add(kind, of, mask, len(of), UNLIMITED)
        if view.session is not None:
            gap = (view.session.gap.length_ms, 0, 0)
            add(SESSION, (), kinds_mask(view.session.kinds), 2, UNLIMITED, gap)
        if view.recent is not None:
            add(RECENT, (), kinds_mask(view.recent.kinds), 0, UNLIMITED, (0, 0, view.recent.length))
        parts = [PARTS.index(part) for part in view.entity.parts] + [-1]
        view_rows.append([parts[0], parts[1], 0, first_group, len(groups), 0, first_out, out, 0, 0])
    decay = np.array([round(2 ** (r / DECAY_STEPS) * FIXED_POINT) for r in range(DECAY_STEPS + 1)], np.int64)
    return _placed(
        Program(
            np.array(view_rows, np.int64).reshape(-1, 10),
            np.array(groups, np.int64).reshape(-1, 12),
            np.array(measures, np.int64).reshape(-1, 2),
            np.array(weights, np.int64).reshape(-1, KIND_CODES),
            decay,
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
        )
    )


def _placed(program: Program) -> Program:
    """The same program with each group given its cells and hits, and each view its width, kinds and bounds."""
    for view in program.views:
        groups = program.groups[view[V_FIRST_GROUP] : view[V_LAST_GROUP]]
        rank = np.select([groups[:, G_TYPE] == TILED, np.isin(groups[:, G_TYPE], (DECAYED, SESSION))], [0, 1], 2)
        groups[:] = groups[np.argsort(rank, kind="stable")]
        view[V_LAST_TILED] = view[V_FIRST_GROUP] + np.sum(rank == 0)
        view[V_LAST_LIVE] = view[V_FIRST_GROUP] + np.sum(rank <= 1)
        groups[:, G_COLUMN] = groups[:, G_OUT] - view[V_FIRST_OUT]
        at = view[V_LAST_OUT] - view[V_FIRST_OUT]
        for group in groups:
            group[G_OFFSET] = at
            at += OWN_CELLS[int(group[G_TYPE])]
        for group in groups:
            group[G_RING] = at
            at += group[G_TILES] * (RECENT_FIELDS if group[G_TYPE] == RECENT else group[G_COUNT])
        view[V_WIDTH] = at if len(groups) else 0
        view[V_KINDS] = np.bitwise_or.reduce(groups[:, G_KINDS], initial=0)
    hits: list[int] = []
    start = [0]
    for group in program.groups:
        of = program.measures[group[G_FIRST] : group[G_FIRST] + group[G_COUNT]]
        for kind in range(KIND_CODES):
            hits += [m << 1 | int(is_watch) for m, (kinds, is_watch) in enumerate(of) if kinds >> kind & 1]
            start.append(len(hits))
    return program._replace(hits=np.array(hits, np.int64), hits_start=np.array(start, np.int64))


def _runs(measures: tuple[Measure, ...], *, tiled: bool) -> list[tuple[int, tuple[Measure, ...]]]:
    runs: list[tuple[int, tuple[Measure, ...]]] = []
    for measure in measures:
        if measure.op in ("decayed", "last"):  # each decayed one has its own octave
            runs.append((DECAYED if measure.op == "decayed" else LAST, (measure,)))
            continue
        kind = LATEST if measure.op == "latest" else TILED if tiled else LIFETIME_SUM
        if runs and runs[-1][0] == kind:
            runs[-1] = (kind, (*runs[-1][1], measure))
        else:
            runs.append((kind, (measure,)))
    return runs


def _weights(measure: Measure) -> list[int]:
    row = [0] * KIND_CODES
    for kind, weight in zip(measure.kinds, measure.weights, strict=False):
        row[KINDS[kind]] = weight
    return row


def alone(program: Program, v: int) -> Program:
    """Only view `v`, its columns counted from 0."""
    view = program.views[v : v + 1].copy()
    groups = program.groups[view[0, V_FIRST_GROUP] : view[0, V_LAST_GROUP]].copy()
    groups[:, G_OUT] -= view[0, V_FIRST_OUT]
    view[0, V_LAST_OUT] -= view[0, V_FIRST_OUT]
    view[0, [V_FIRST_GROUP, V_LAST_GROUP, V_FIRST_OUT]] = 0, len(groups), 0
    return _placed(program._replace(views=view, groups=groups))


def has_windows(program: Program) -> bool:
    """Whether any of its views keeps a window."""
    return bool(np.any(program.groups[:, G_TYPE] == TILED))


def without_windows(program: Program) -> Program:
    """The program of one view less its windows and history: the same columns at the same places, and a few cells."""
    groups = program.groups[(program.groups[:, G_TYPE] != TILED) & (program.groups[:, G_TYPE] != RECENT)].copy()
    views = program.views.copy()
    views[0, V_LAST_GROUP] = len(groups)
    return _placed(program._replace(views=views, groups=groups))
