"""The fast sweep: `F = A(p) - E(cut)`, a sum in log order less a sum in event-time order, entity by entity.

It holds whenever every admitted event that happened before the cut has a position at or before the row's, which the
lateness rule gives for reads made at the log's own pace (docs/consistency.md, 3). Each row checks it, and one for
which it does not hold is summed event by event, so the result is exact for any position and instant.

Compiled functions here call none of another file (see kernel.py on numba's cache).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recsys.features.layout import (
    G_COUNT,
    G_FIRST,
    G_HOP,
    G_LENGTH,
    G_OUT,
    G_TYPE,
    M_IS_WATCH,
    M_KINDS,
    TILED,
    V_FIRST_GROUP,
    V_LAST_GROUP,
)


@njit(cache=True, nogil=True)
def number_keys(row_keys, event_keys):  # type: ignore[no-untyped-def]
    """Dense numbers of the rows' keys, in order of appearance, and the same numbers for the events.

    Returns int64[rows], int64[events] and their count; -1 for the key 0, and for an event that no row asks for.
    """
    slots = np.int64(16)
    while slots < 2 * len(row_keys):
        slots *= 2
    mask = slots - 1
    keys = np.zeros(slots, np.int64)
    numbers = np.zeros(slots, np.int64)
    rows = np.full(len(row_keys), np.int64(-1))
    count = np.int64(0)
    for i in range(len(row_keys)):
        key = row_keys[i]
        if key == 0:
            continue
        slot = key & mask
        while keys[slot] != 0 and keys[slot] != key:
            slot = (slot + 1) & mask
        if keys[slot] == 0:
            keys[slot] = key
            numbers[slot] = count
            count += 1
        rows[i] = numbers[slot]
    events = np.full(len(event_keys), np.int64(-1))
    for i in range(len(event_keys)):
        key = event_keys[i]
        if key == 0:
            continue
        slot = key & mask
        while keys[slot] != 0 and keys[slot] != key:
            slot = (slot + 1) & mask
        if keys[slot] == key:
            events[i] = numbers[slot]
    return rows, events, count


@njit(cache=True, nogil=True)
def by_number(numbers, count, order):  # type: ignore[no-untyped-def]
    """Counting sort, stable in `order`: start int64[count + 1] and the indices of number k at [start[k]:start[k + 1]].

    O(n), which a comparison sort of a log that is in order already is not.
    """
    start = np.zeros(count + 1, np.int64)
    for i in range(len(numbers)):
        if numbers[i] >= 0:
            start[numbers[i] + 1] += 1
    for k in range(count):
        start[k + 1] += start[k]
    at = start.copy()
    index = np.empty(start[count], np.int64)
    for j in range(len(order)):
        i = order[j]
        if numbers[i] >= 0:
            index[at[numbers[i]]] = i
            at[numbers[i]] += 1
    return start, index


@njit(cache=True, nogil=True)
def sweep_windows(  # type: ignore[no-untyped-def]
    program, v, log, log_start, log_index, time_index, reads, row_start, row_index, first, last, out_rows, out
):
    """Windowed columns of view `v` for the rows of entities [first:last], into out[n, A] at `out_rows`.

    log_index and time_index hold the entity's events in log order and in order of occurred_at; both begin at
    log_start. Rows of an entity are in order of position.
    """
    longest = np.int64(0)
    for k in range(first, last):
        longest = max(longest, log_start[k + 1] - log_start[k])
    position = np.empty(longest, np.int64)  # one entity's events in log order
    bit = np.empty(longest, np.int64)
    occurred = np.empty(longest, np.int64)
    lateness = np.empty(longest, np.int64)
    watch = np.empty(longest, np.int64)
    bit_t = np.empty(longest, np.int64)  # and in order of time
    occurred_t = np.empty(longest, np.int64)
    lateness_t = np.empty(longest, np.int64)
    watch_t = np.empty(longest, np.int64)
    latest = np.empty(longest + 1, np.int64)  # greatest position among the first j admitted events in order of time
    sums = np.zeros(64, np.int64)
    for k in range(first, last):
        n = log_start[k + 1] - log_start[k]
        if n == 0:
            continue
        for j in range(n):
            e = log_index[log_start[k] + j]
            position[j] = log.position[e]
            bit[j] = np.int64(1) << np.int64(log.kind[e])
            occurred[j] = log.occurred_at[e]
            lateness[j] = log.received_at[e] - log.occurred_at[e]
            watch[j] = log.watch_ms[e]
            e = time_index[log_start[k] + j]
            bit_t[j] = np.int64(1) << np.int64(log.kind[e])
            occurred_t[j] = log.occurred_at[e]
            lateness_t[j] = log.received_at[e] - log.occurred_at[e]
            watch_t[j] = log.watch_ms[e]
        for g in range(program.views[v, V_FIRST_GROUP], program.views[v, V_LAST_GROUP]):
            group = program.groups[g]
            if group[G_TYPE] != TILED:
                continue
            length, hop, count, to = group[G_LENGTH], group[G_HOP], group[G_COUNT], group[G_OUT]
            measures = program.measures[group[G_FIRST] : group[G_FIRST] + count]
            latest[0] = -1
            for j in range(n):
                admitted = lateness_t[j] <= length
                at = log.position[time_index[log_start[k] + j]] if admitted else np.int64(-1)
                latest[j + 1] = max(latest[j], at)
            sums[:count] = 0
            a = np.int64(0)  # events of log order that are in
            b = np.int64(0)  # events of time order that are out again
            for i in range(row_start[k], row_start[k + 1]):
                r = row_index[i]
                until = reads.position[r]
                cut = (reads.as_of[r] - length) // hop * hop
                while a < n and position[a] <= until:
                    if lateness[a] <= length:
                        for m in range(count):
                            if measures[m, M_KINDS] & bit[a]:
                                sums[m] += watch[a] if measures[m, M_IS_WATCH] else 1
                    a += 1
                while b < n and occurred_t[b] < cut:
                    if lateness_t[b] <= length:
                        for m in range(count):
                            if measures[m, M_KINDS] & bit_t[b]:
                                sums[m] -= watch_t[b] if measures[m, M_IS_WATCH] else 1
                    b += 1
                while b > 0 and occurred_t[b - 1] >= cut:
                    b -= 1
                    if lateness_t[b] <= length:
                        for m in range(count):
                            if measures[m, M_KINDS] & bit_t[b]:
                                sums[m] += watch_t[b] if measures[m, M_IS_WATCH] else 1
                row = out_rows[r]
                if latest[b] <= until:
                    for m in range(count):
                        out[row, to + m] = sums[m]
                    continue
                for j in range(a):
                    if occurred[j] >= cut and lateness[j] <= length:
                        for m in range(count):
                            if measures[m, M_KINDS] & bit[j]:
                                out[row, to + m] += watch[j] if measures[m, M_IS_WATCH] else 1
