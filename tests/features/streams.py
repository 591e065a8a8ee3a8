"""Random event streams for the feature tests: small worlds in which ties, repeats and late events are common."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from recsys.events import DAY_MS, HOUR_MS, ITEM_SCHEMA, KINDS, MINUTE_MS, key64
from recsys.features.log import EventLog, Items, Rows, items_from_table
from recsys.features.sweep import read_positions

START = 1_650_000_000_000
NOW = START + 45 * DAY_MS  # after every stream
CATEGORIES, CREATORS = ("news", "music", "sport"), ("ada", "bo", "cy", "di")


def item_table(count: int) -> pa.Table:
    """`count` items; the third has neither category nor creator."""
    return pa.Table.from_pylist(
        [
            {
                "item_id": f"i{i}",
                "item_type": ("video", "podcast")[i % 2],
                "creator_id": None if i == 2 else CREATORS[i % len(CREATORS)],
                "category": None if i == 2 else CATEGORIES[i % len(CATEGORIES)],
                "tags": [],
                "title": None,
                "duration_ms": 0 if i == 1 else 10_000 * (i + 1),
                "published_at": START - i * DAY_MS,
                "is_available": True,
            }
            for i in range(count)
        ],
        schema=ITEM_SCHEMA,
    )


SHELF_KEYS = np.concatenate([np.zeros(1, np.int64), key64(["feed", "podcasts"])])  # 0: not known


def user_keys(count: int) -> np.ndarray:
    return key64(f"u{i}" for i in range(count))


def random_log(
    seed: int,
    events: int,
    *,
    users: int = 6,
    items: int = 5,
    days: float = 40.0,
    late: float = 0.2,
    backwards: float = 0.0,
) -> tuple[EventLog, Items, pa.Table]:
    """A log with ties in time, late and very late events, and (`backwards`) a receiving clock that jumps back."""
    rng = np.random.default_rng(seed)
    table = item_table(items)
    catalogue = items_from_table(table)
    span = int(days * DAY_MS)
    received = np.sort(START + rng.integers(0, span, events) // 60_000 * 60_000)  # whole minutes: many ties
    jumps = rng.random(events) < backwards
    received = np.where(jumps, received - rng.integers(0, 3 * DAY_MS, events), received)
    lateness = np.where(
        rng.random(events) < late,
        rng.choice([HOUR_MS - 1, HOUR_MS, HOUR_MS + 1, DAY_MS, 7 * DAY_MS, 8 * DAY_MS, 30 * DAY_MS], events),
        rng.integers(0, 5_000, events),
    )
    item_keys = key64(f"i{i}" for i in rng.integers(0, items, events))
    attributes = catalogue.lookup(item_keys)
    log = EventLog(
        position=np.cumsum(rng.integers(1, 4, events)) + 100,
        kind=rng.choice(list(KINDS.values()), events).astype(np.int8),
        user_key=user_keys(users)[rng.integers(0, users, events)],
        item_key=item_keys,
        category_key=attributes.category_key,
        creator_key=attributes.creator_key,
        shelf_key=SHELF_KEYS[rng.integers(0, len(SHELF_KEYS), events)],
        occurred_at=received - lateness,
        received_at=received,
        watch_ms=rng.integers(0, 60_000, events),
    )
    return log, catalogue, table


def random_rows(seed: int, rows: int, log: EventLog, *, users: int = 7, items: int = 6) -> Rows:
    """Imported reads, reads at tile edges and at any instant."""
    rng = np.random.default_rng(seed)
    low, high = int(log.received_at.min()), int(log.received_at.max()) + 2 * DAY_MS
    as_of = rng.integers(low, high, rows)
    edge = rng.random(rows) < 0.3
    as_of = np.where(edge, as_of // (5 * 60_000) * (5 * 60_000), as_of)
    as_of = np.where(rng.random(rows) < 0.1, rng.choice(log.received_at, rows), as_of)
    chosen = rng.integers(0, len(log.position), rows)
    soon = rng.random(rows) < 0.15  # the same user, while the session runs or just after it
    pauses = rng.choice([MINUTE_MS, 20 * MINUTE_MS, 30 * MINUTE_MS, 30 * MINUTE_MS + 1], rows)
    as_of = np.where(soon, log.occurred_at[chosen] + pauses, as_of)
    positions = np.where(soon, log.position[chosen], read_positions(log, as_of))
    anywhere = ~soon & (rng.random(rows) < 0.2)  # a position and an instant that have nothing to do with each other
    positions = np.where(anywhere, rng.choice(log.position, rows), positions)
    return Rows(
        np.where(soon, log.user_key[chosen], user_keys(users)[rng.integers(0, users, rows)]),
        key64(f"i{i}" for i in rng.integers(0, items, rows)),
        positions,
        as_of,
        SHELF_KEYS[rng.integers(0, len(SHELF_KEYS), rows)],
    )


class World(NamedTuple):
    """A log, its items, and rows (users, items, positions, as_of, shelves) that read it."""

    log: EventLog
    items: Items
    rows: tuple[np.ndarray, ...]


# Distances in time at which something happens: ties, hops, ends of windows, and one millisecond to either side.
EDGES = sorted(
    {
        edge + d
        for edge in (0, 5 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS, DAY_MS, 7 * DAY_MS, 28 * DAY_MS, 29 * DAY_MS)
        for d in (-1, 0, 1)
        if edge + d >= 0
    }
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Small worlds, shrinkable: few keys, instants at the edges, late events, a clock that may go backwards."""
    items = items_from_table(item_table(3))
    begin = START // DAY_MS * DAY_MS + draw(st.sampled_from(EDGES))
    events = draw(
        st.lists(
            st.tuples(
                st.sampled_from(sorted(KINDS.values())),
                st.integers(0, 2),  # user, 0 is none
                st.integers(0, 2),
                st.sampled_from([*EDGES, -DAY_MS]),  # since the event before it
                st.sampled_from([0, 0, *EDGES, 200 * DAY_MS]),  # lateness
                st.integers(0, 2),
                st.integers(1, 3),
                st.integers(0, 2),  # shelf, 0 is none
            ),
            max_size=40,
        )
    )
    kind, user, item, gap, late, watch, step, shelf = (
        (np.array(c, np.int64) for c in zip(*events, strict=True))
        if events
        else (np.zeros(0, np.int64) for _ in range(8))
    )
    users = np.concatenate([np.zeros(1, np.int64), user_keys(2)])
    received = begin + np.cumsum(gap)
    attributes = items.lookup(key64(f"i{i}" for i in range(3)))
    log = EventLog(
        np.cumsum(step),
        kind.astype(np.int8),
        users[user],
        key64(f"i{i}" for i in range(3))[item],
        attributes.category_key[item],
        attributes.creator_key[item],
        SHELF_KEYS[shelf],
        np.maximum(received - late, 0),
        received,
        watch,
    )
    reads = draw(
        st.lists(
            st.tuples(
                st.integers(0, 2),
                st.integers(0, 3),
                st.integers(0, max(1, len(events) - 1)),
                st.sampled_from([-d for d in EDGES] + EDGES),
                st.integers(0, 2),
                st.booleans(),
            ),
            min_size=1,
            max_size=8,
        )
    )
    as_of = np.array(
        [(received[min(at, len(events) - 1)] if events else begin) + d for _, _, at, d, *_ in reads], np.int64
    )
    anywhere = np.array([log.position[min(at, len(events) - 1)] if events else 0 for _, _, at, *_ in reads], np.int64)
    imported = np.array([flag for *_, flag in reads])
    return World(
        log,
        items,
        (
            users[[u for u, *_ in reads]],
            key64(f"i{i}" for _, i, *_ in reads),
            np.where(imported, read_positions(log, as_of), anywhere),
            as_of,
            SHELF_KEYS[[shelf for *_, shelf, _ in reads]],
        ),
    )
