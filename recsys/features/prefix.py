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
def packed(log):  # type: ignore[no-untyped-def]
    """position, occurred_at, lateness, watch_ms << 8 | kind of each event side by side, int64[n, 4]: one cache line."""
    out = np.empty((len(log.position), 4), np.int64)
    for i in range(len(log.position)):
        out[i, 0] = log.position[i]
        out[i, 1] = log.occurred_at[i]
        out[i, 2] = log.received_at[i] - log.occurred_at[i]
        out[i, 3] = log.watch_ms[i] << 8 | np.int64(log.kind[i])
    return out


@njit(cache=True, nogil=True)
def value_of(kinds, is_watch, packed_value):  # type: ignore[no-untyped-def]
    """What an event (its fourth number) adds to a measure. Scalars: a slice of a table costs more than the sum."""
    if kinds >> (packed_value & 255) & 1:
        return packed_value >> 8 if is_watch else np.int64(1)
    return np.int64(0)


@njit(cache=True, nogil=True)
def sweep_windows(  # type: ignore[no-untyped-def]
    program, v, events, log_start, log_index, time_index, reads, row_start, row_index, first, last, out_rows, out
):
    """Windowed columns of view `v` for the rows of entities [first:last], into out[n, A] at `out_rows`.

    events is `packed(log)`; log_index and time_index hold the entity's events in log order and in order of
    occurred_at; both begin at log_start. Rows of an entity are in order of position.

    Events that every window admits share one prefix sum of each distinct measure; the few later ones (2 % in our
    logs) are summed window by window.
    """
    groups = program.groups
    begin, end = program.views[v, V_FIRST_GROUP], program.views[v, V_LAST_GROUP]
    kinds = np.empty(64, np.int64)  # of the distinct measures of all windows
    is_watch = np.empty(64, np.int64)
    place = np.zeros((end - begin, 64), np.int64)  # group, its measure -> distinct measure
    width = 0
    prompt = np.int64(1) << 62  # lateness that every window admits
    for g in range(begin, end):
        if groups[g, G_TYPE] != TILED:
            continue
        prompt = min(prompt, groups[g, G_LENGTH])
        for m in range(groups[g, G_COUNT]):
            measure = program.measures[groups[g, G_FIRST] + m]
            at = 0
            while at < width and (kinds[at] != measure[M_KINDS] or is_watch[at] != measure[M_IS_WATCH]):
                at += 1
            if at == width:
                kinds[at], is_watch[at] = measure[M_KINDS], measure[M_IS_WATCH]
                width += 1
            place[g - begin, m] = at
    longest = np.int64(0)
    for k in range(first, last):
        longest = max(longest, log_start[k + 1] - log_start[k])
    position = np.empty(longest, np.int64)  # one entity's events in log order
    occurred = np.empty(longest, np.int64)  # and in order of time
    a_sums = np.zeros((longest + 1, width), np.int64)  # sums of its first j prompt events, in either order
    e_sums = np.zeros((longest + 1, width), np.int64)
    latest = np.empty(longest + 1, np.int64)  # greatest position among the first j prompt events in order of time
    late_log = np.empty(longest, np.int64)  # late events, in either order
    late_time = np.empty(longest, np.int64)
    late_latest = np.empty((end - begin, longest + 1), np.int64)  # by window, among admitted late events
    sums = np.zeros((end - begin, width), np.int64)  # of late events inside, by window
    out_prompt = np.zeros(end - begin, np.int64)  # prompt events in order of time that are out again, by window
    out_late = np.zeros(end - begin, np.int64)
    for k in range(first, last):
        start, n = log_start[k], log_start[k + 1] - log_start[k]
        if n == 0:
            continue
        late = np.int64(0)
        for j in range(n):
            e = log_index[start + j]
            position[j] = events[e, 0]
            value = events[e, 3]
            if events[e, 2] > prompt:
                late_log[late] = e
                late += 1
                value = 0  # of no kind
            for m in range(width):
                a_sums[j + 1, m] = a_sums[j, m] + value_of(kinds[m], is_watch[m], value)
        late = np.int64(0)
        latest[0] = -1
        for j in range(n):
            e = time_index[start + j]
            occurred[j] = events[e, 1]
            value = events[e, 3]
            latest[j + 1] = latest[j]
            if events[e, 2] > prompt:
                late_time[late] = e
                late += 1
                value = 0
            else:
                latest[j + 1] = max(latest[j], events[e, 0])
            for m in range(width):
                e_sums[j + 1, m] = e_sums[j, m] + value_of(kinds[m], is_watch[m], value)
        for w in range(end - begin):
            length = groups[begin + w, G_LENGTH]
            out_prompt[w] = out_late[w] = 0
            late_latest[w, 0] = -1
            for j in range(late):
                e = late_time[j]
                admitted = events[e, 0] if events[e, 2] <= length else np.int64(-1)
                late_latest[w, j + 1] = max(late_latest[w, j], admitted)
        sums[:] = 0
        a = c = np.int64(0)  # prompt and late events of log order that are in
        # Rows outside, windows inside: a row of `out` is touched once, the hot entity's prefix sums stay in the cache.
        for i in range(row_start[k], row_start[k + 1]):
            r = row_index[i]
            row, until, as_of = out_rows[r], reads.position[r], reads.as_of[r]
            while a < n and position[a] <= until:
                a += 1
            while c < late and events[late_log[c], 0] <= until:
                e = late_log[c]
                for w in range(end - begin):
                    if events[e, 2] <= groups[begin + w, G_LENGTH]:
                        for m in range(width):
                            sums[w, m] += value_of(kinds[m], is_watch[m], events[e, 3])
                c += 1
            for w in range(end - begin):
                g = begin + w
                if groups[g, G_TYPE] != TILED:
                    continue
                length, count, to = groups[g, G_LENGTH], groups[g, G_COUNT], groups[g, G_OUT]
                cut = (as_of - length) // groups[g, G_HOP] * groups[g, G_HOP]
                b, d = out_prompt[w], out_late[w]
                while b < n and occurred[b] < cut:
                    b += 1
                while b > 0 and occurred[b - 1] >= cut:
                    b -= 1
                while d < late and events[late_time[d], 1] < cut:
                    if events[late_time[d], 2] <= length:
                        for m in range(width):
                            sums[w, m] -= value_of(kinds[m], is_watch[m], events[late_time[d], 3])
                    d += 1
                while d > 0 and events[late_time[d - 1], 1] >= cut:
                    d -= 1
                    if events[late_time[d], 2] <= length:
                        for m in range(width):
                            sums[w, m] += value_of(kinds[m], is_watch[m], events[late_time[d], 3])
                out_prompt[w], out_late[w] = b, d
                if max(latest[b], late_latest[w, d]) <= until:
                    for m in range(count):
                        at = place[w, m]
                        out[row, to + m] = a_sums[a, at] - e_sums[b, at] + sums[w, at]
                    continue
                for j in range(a):
                    e = log_index[start + j]
                    if events[e, 1] >= cut and events[e, 2] <= length:
                        for m in range(count):
                            at = place[w, m]
                            out[row, to + m] += value_of(kinds[at], is_watch[at], events[e, 3])
