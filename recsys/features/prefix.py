"""The fast sweep: `F = A(p) - E(cut)`, a sum in log order less a sum in event-time order, entity by entity.

It holds whenever every admitted event that happened before the cut has a position at or before the row's, which the
lateness rule gives for reads made at the log's own pace (docs/consistency.md, 3). Each row checks it, and one for
which it does not hold is summed event by event, so the result is exact for any position and instant.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from recsys.compiled import njit
from recsys.events import KINDS, QUERY_MASK, SEARCH
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
)

SEARCH_CODE: Final = KINDS[SEARCH]


@njit(cache=True, nogil=True)
def number_keys(row_keys, event_keys):  # type: ignore[no-untyped-def]
    """Dense numbers of the rows' keys, in order of appearance, and the same numbers for the events.

    Returns int64[rows], int64[events] and their count; -1 for the key 0, and for an event that no row asks for.
    """
    slots = np.int64(1 << 12)
    table = np.zeros((slots, 2), np.int64)  # key, number; grows with the keys, which often are few: it stays in cache
    rows = np.full(len(row_keys), np.int64(-1))
    count = np.int64(0)
    for i in range(len(row_keys)):
        key = row_keys[i]
        if key == 0:
            continue
        slot = key & (slots - 1)
        while table[slot, 0] != 0 and table[slot, 0] != key:
            slot = (slot + 1) & (slots - 1)
        if table[slot, 0] == 0:
            if 2 * count >= slots:
                larger = np.zeros((4 * slots, 2), np.int64)
                for old in range(slots):
                    if table[old, 0] != 0:
                        slot = table[old, 0] & (4 * slots - 1)
                        while larger[slot, 0] != 0:
                            slot = (slot + 1) & (4 * slots - 1)
                        larger[slot] = table[old]
                table, slots = larger, 4 * slots
                slot = key & (slots - 1)
                while table[slot, 0] != 0:
                    slot = (slot + 1) & (slots - 1)
            table[slot, 0], table[slot, 1] = key, count
            count += 1
        rows[i] = table[slot, 1]
    events = np.full(len(event_keys), np.int64(-1))
    for i in range(len(event_keys)):
        key = event_keys[i]
        if key == 0:
            continue
        slot = key & (slots - 1)
        while table[slot, 0] != 0 and table[slot, 0] != key:
            slot = (slot + 1) & (slots - 1)
        if table[slot, 0] == key:
            events[i] = table[slot, 1]
    return rows, events, count


@njit(cache=True, nogil=True)
def by_number(numbers, count, place):  # type: ignore[no-untyped-def]
    """Counting sort, stable: start int64[count + 1], and the indices of number k at [start[k]:start[k + 1]].

    `place` int64[n] takes where each index went. O(n), which a comparison sort of a log that is in order already is
    not.
    """
    start = np.zeros(count + 1, np.int64)
    for i in range(len(numbers)):
        if numbers[i] >= 0:
            start[numbers[i] + 1] += 1
    for k in range(count):
        start[k + 1] += start[k]
    at = start.copy()
    index = np.empty(start[count], np.int64)
    for i in range(len(numbers)):
        if numbers[i] >= 0:
            place[i] = at[numbers[i]]
            index[place[i]] = i
            at[numbers[i]] += 1
    return start, index


@njit(cache=True, nogil=True)
def in_order(numbers, start, order, place):  # type: ignore[no-untyped-def]
    """Places of `by_number`, number by number, in another order of their indices."""
    at = start.copy()
    places = np.empty(start[-1], np.int64)
    for j in range(len(order)):
        i = order[j]
        if numbers[i] >= 0:
            places[at[numbers[i]]] = place[i]
            at[numbers[i]] += 1
    return places


@njit(cache=True, nogil=True)
def packed(log):  # type: ignore[no-untyped-def]
    """position, occurred_at, lateness, value << 8 | kind of each event side by side, int64[n, 4]: one cache line. The
    value of a search is its words, of 54 bits, that of any other event its watch_ms.
    """
    out = np.empty((len(log.position), 4), np.int64)
    for i in range(len(log.position)):
        out[i, 0] = log.position[i]
        out[i, 1] = log.occurred_at[i]
        out[i, 2] = log.received_at[i] - log.occurred_at[i]
        value = log.item_key[i] & QUERY_MASK if log.kind[i] == SEARCH_CODE else log.watch_ms[i]
        out[i, 3] = value << 8 | np.int64(log.kind[i])
    return out


@njit(cache=True, nogil=True)
def gather(events, event_index, reads, row_index, known, asked):  # type: ignore[no-untyped-def]
    """Bring some entities' events (packed) and rows (position, as_of) together, into known[m, 4] and asked[n, 2].

    They lie all over the log. In loops this short the processor has a dozen cold lines on their way at once, which in
    the sweep itself it had not: this halves its time for items.
    """
    for j in range(len(event_index)):
        e = event_index[j]
        for c in range(4):
            known[j, c] = events[e, c]
    for j in range(len(row_index)):
        asked[j, 0] = reads.position[row_index[j]]
        asked[j, 1] = reads.as_of[row_index[j]]


@njit(cache=True, nogil=True)
def scatter(values, row_index, out_rows, out):  # type: ignore[no-untyped-def]
    """Put found[n, columns] into the rows of out[..., columns] where they belong."""
    for j in range(len(row_index)):
        row = out_rows[row_index[j]]
        for c in range(values.shape[1]):
            out[row, c] = values[j, c]


@njit(cache=True, nogil=True)
def value_of(kinds, is_watch, packed_value):  # type: ignore[no-untyped-def]
    """What an event (its fourth number) adds to a measure. Scalars: a slice of a table costs more than the sum."""
    if kinds >> (packed_value & 255) & 1:
        return packed_value >> 8 if is_watch else np.int64(1)
    return np.int64(0)


@njit(cache=True, nogil=True)
def sweep_windows(program, known, start, in_time, asked, row_start, first, last, out):  # type: ignore[no-untyped-def]
    """Windowed columns of a view for the rows of entities [first:last], into out[rows of these, columns], zeros before.

    program: of one view. known, asked: what `gather` brought of them, entity by entity as start and row_start say; rows
    of an entity are in order of position. in_time: places of all events in order of occurred_at (`in_order`).

    Events that every window admits share one prefix sum of each distinct measure; the few later ones (2 % in our
    logs) are summed window by window.
    """
    groups = program.groups
    windows = len(groups)
    kinds = np.empty(64, np.int64)  # of the distinct measures of all windows
    is_watch = np.empty(64, np.int64)
    place = np.zeros((windows, 64), np.int64)  # group, its measure -> distinct measure
    width = 0
    prompt = np.int64(1) << 62  # lateness that every window admits
    for g in range(windows):
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
            place[g, m] = at
    longest = np.int64(0)
    for k in range(first, last):
        longest = max(longest, start[k + 1] - start[k])
    occurred = np.empty(longest, np.int64)  # of one entity's events, in order
    e_sums = np.zeros((longest + 1, width), np.int64)  # sums of its first j prompt events in order of time
    a_sums = np.zeros(width, np.int64)  # of its prompt events in log order up to the row's position
    latest = np.empty(longest + 1, np.int64)  # greatest position among the first j prompt events in order of time
    late_log = np.empty(longest, np.int64)  # late events, in either order
    late_time = np.empty(longest, np.int64)
    late_latest = np.empty((windows, longest + 1), np.int64)  # by window, among admitted late events
    sums = np.zeros((windows, width), np.int64)  # of late events inside, by window
    out_prompt = np.zeros(windows, np.int64)  # prompt events in order of time that are out again, by window
    out_late = np.zeros(windows, np.int64)
    for k in range(first, last):
        base, n = start[k] - start[first], start[k + 1] - start[k]
        if n == 0:
            continue
        late = np.int64(0)
        for j in range(base, base + n):
            if known[j, 2] > prompt:
                late_log[late] = j
                late += 1
        late = np.int64(0)
        latest[0] = -1
        for j in range(n):
            e = in_time[start[k] + j] - start[first]
            occurred[j] = known[e, 1]
            value = known[e, 3]
            latest[j + 1] = latest[j]
            if known[e, 2] > prompt:
                late_time[late] = e
                late += 1
                value = 0  # of no kind
            else:
                latest[j + 1] = max(latest[j], known[e, 0])
            for m in range(width):
                e_sums[j + 1, m] = e_sums[j, m] + value_of(kinds[m], is_watch[m], value)
        for w in range(windows):
            length = groups[w, G_LENGTH]
            out_prompt[w] = out_late[w] = 0
            late_latest[w, 0] = -1
            for j in range(late):
                e = late_time[j]
                admitted = known[e, 0] if known[e, 2] <= length else np.int64(-1)
                late_latest[w, j + 1] = max(late_latest[w, j], admitted)
        sums[:] = 0
        a_sums[:] = 0
        a = base  # events of log order from here on, and late ones from c on, are not in yet
        c = np.int64(0)
        # Rows outside, windows inside: a row of `out` is touched once, the hot entity's prefix sums stay in the cache.
        for r in range(row_start[k] - row_start[first], row_start[k + 1] - row_start[first]):
            until, as_of = asked[r, 0], asked[r, 1]
            while a < base + n and known[a, 0] <= until:
                if known[a, 2] <= prompt:
                    for m in range(width):
                        a_sums[m] += value_of(kinds[m], is_watch[m], known[a, 3])
                a += 1
            while c < late and known[late_log[c], 0] <= until:
                e = late_log[c]
                for w in range(windows):
                    if known[e, 2] <= groups[w, G_LENGTH]:
                        for m in range(width):
                            sums[w, m] += value_of(kinds[m], is_watch[m], known[e, 3])
                c += 1
            for w in range(windows):
                if groups[w, G_TYPE] != TILED:
                    continue
                length, count, to = groups[w, G_LENGTH], groups[w, G_COUNT], groups[w, G_OUT]
                cut = (as_of - length) // groups[w, G_HOP] * groups[w, G_HOP]
                b, d = out_prompt[w], out_late[w]
                while b < n and occurred[b] < cut:
                    b += 1
                while b > 0 and occurred[b - 1] >= cut:
                    b -= 1
                while d < late and known[late_time[d], 1] < cut:
                    if known[late_time[d], 2] <= length:
                        for m in range(width):
                            sums[w, m] -= value_of(kinds[m], is_watch[m], known[late_time[d], 3])
                    d += 1
                while d > 0 and known[late_time[d - 1], 1] >= cut:
                    d -= 1
                    if known[late_time[d], 2] <= length:
                        for m in range(width):
                            sums[w, m] += value_of(kinds[m], is_watch[m], known[late_time[d], 3])
                out_prompt[w], out_late[w] = b, d
                if max(latest[b], late_latest[w, d]) <= until:
                    for m in range(count):
                        at = place[w, m]
                        out[r, to + m] = a_sums[at] - e_sums[b, at] + sums[w, at]
                    continue
                for e in range(base, a):
                    if known[e, 1] >= cut and known[e, 2] <= length:
                        for m in range(count):
                            at = place[w, m]
                            out[r, to + m] += value_of(kinds[at], is_watch[at], known[e, 3])
