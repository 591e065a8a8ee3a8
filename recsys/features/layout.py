"""Feature views as integer tables: where each number of an entity lies in its packed state, and who reads it."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from recsys.events import KINDS
from recsys.features.definition import FIXED_POINT, PARTS, FeatureView, Measure

TILED, LIFETIME_SUM, LATEST, DECAYED, SESSION, RECENT = range(1, 7)
RECENT_FIELDS: Final = 3  # item_key, kind, occurred_at
DECAY_STEPS: Final = 64  # sub-buckets of a half-life
DECAY_REACH: Final = 15  # half-lives of lateness that a decayed sum admits
UNLIMITED: Final = 1 << 62

# columns of Program.views
V_PART_A, V_PART_B, V_WIDTH, V_FIRST_GROUP, V_LAST_GROUP, V_KINDS, V_FIRST_OUT, V_LAST_OUT = range(8)
# columns of Program.groups
G_TYPE, G_OFFSET, G_LENGTH, G_HOP, G_TILES, G_FIRST, G_COUNT, G_OUT, G_LATENESS, G_KINDS = range(10)
# columns of Program.measures
M_KINDS, M_IS_WATCH = range(2)


class Program(NamedTuple):
    """Views compiled for the kernel; int64 tables whose columns are named above."""

    views: np.ndarray  # [views, 8]
    groups: np.ndarray  # [groups, 10], those of a view adjacent: one per window, plus session and recent
    measures: np.ndarray  # [measures, 2], those of a group adjacent
    weights: np.ndarray  # [measures, 16]: weight of each kind, decayed measures only
    decay: np.ndarray  # [65]: round(2^(r/64) * 2^16)


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
        width, first_group, first_out = 0, len(groups), out

        def add(
            kind: int,
            cells: int,
            length: int,
            hop: int,
            tiles: int,
            of: tuple[Measure, ...],
            lateness: int,
            mask: int,
            columns: int,
        ) -> None:
            nonlocal width, out
            groups.append([kind, width, length, hop, tiles, len(measures), len(of), out, lateness, mask])
            width += cells
            out += columns
            for measure in of:
                measures.append([kinds_mask(measure.kinds), int(measure.op == "sum")])
                weights.append(_weights(measure))

        for aggregation in view.aggregations:
            mask = 0
            for measure in aggregation.measures:
                mask |= kinds_mask(measure.kinds)
            for window in aggregation.windows:
                # Runs of measures of one type share a group, so that columns keep the order of the declaration.
                for run in _runs(aggregation.measures, tiled=bool(window.hop_ms)):
                    kind, of = run
                    run_mask = 0
                    for measure in of:
                        run_mask |= kinds_mask(measure.kinds)
                    if kind == TILED:
                        cells = 3 + (1 + window.tiles) * len(of)
                        add(
                            kind,
                            cells,
                            window.length_ms,
                            window.hop_ms,
                            window.tiles,
                            of,
                            window.length_ms,
                            run_mask,
                            len(of),
                        )
                    elif kind == DECAYED:
                        add(kind, 2, window.length_ms, 0, 0, of, DECAY_REACH * window.length_ms, run_mask, 1)
                    else:
                        add(kind, len(of), 0, 0, 0, of, UNLIMITED, run_mask, len(of))
        if view.session is not None:
            add(SESSION, 3, view.session.gap.length_ms, 0, 0, (), UNLIMITED, kinds_mask(view.session.kinds), 2)
        if view.recent is not None:
            add(
                RECENT,
                1 + RECENT_FIELDS * view.recent.length,
                0,
                0,
                view.recent.length,
                (),
                UNLIMITED,
                kinds_mask(view.recent.kinds),
                0,
            )
        parts = [PARTS.index(part) for part in view.entity.parts] + [-1]
        mask = 0
        for group in groups[first_group:]:
            mask |= group[G_KINDS]
        view_rows.append([parts[0], parts[1], width, first_group, len(groups), mask, first_out, out])
    decay = np.array([round(2 ** (r / DECAY_STEPS) * FIXED_POINT) for r in range(DECAY_STEPS + 1)], np.int64)
    return Program(
        np.array(view_rows, np.int64).reshape(-1, 8),
        np.array(groups, np.int64).reshape(-1, 10),
        np.array(measures, np.int64).reshape(-1, 2),
        np.array(weights, np.int64).reshape(-1, 16),
        decay,
    )


def _runs(measures: tuple[Measure, ...], *, tiled: bool) -> list[tuple[int, tuple[Measure, ...]]]:
    runs: list[tuple[int, tuple[Measure, ...]]] = []
    for measure in measures:
        if measure.op == "decayed":
            runs.append((DECAYED, (measure,)))  # each has its own octave
            continue
        kind = LATEST if measure.op == "latest" else TILED if tiled else LIFETIME_SUM
        if runs and runs[-1][0] == kind:
            runs[-1] = (kind, (*runs[-1][1], measure))
        else:
            runs.append((kind, (measure,)))
    return runs


def _weights(measure: Measure) -> list[int]:
    row = [0] * 16
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
    return program._replace(views=view, groups=groups)


def has_windows(program: Program) -> bool:
    """Whether any of its views keeps a window."""
    return bool(np.any(program.groups[:, G_TYPE] == TILED))


def without_windows(program: Program) -> Program:
    """The same columns at the same places, but for windows and histories, whose groups are left out: a few cells."""
    views = program.views.copy()
    groups: list[np.ndarray] = []
    for view in views:
        width, first = 0, len(groups)
        for group in program.groups[view[V_FIRST_GROUP] : view[V_LAST_GROUP]]:
            if group[G_TYPE] not in (TILED, RECENT):
                moved = group.copy()
                moved[G_OFFSET] = width
                width += {DECAYED: 2, SESSION: 3}.get(int(group[G_TYPE]), int(group[G_COUNT]))
                groups.append(moved)
        view[V_WIDTH], view[V_FIRST_GROUP], view[V_LAST_GROUP] = width, first, len(groups)
    return program._replace(views=views, groups=np.array(groups, np.int64).reshape(-1, 10))
