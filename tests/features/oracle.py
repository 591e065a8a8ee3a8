"""The slow, obvious meaning of every aggregate, written twice without the kernel: plain Python, and DuckDB SQL.

Both look at every event for every row. They read the catalogue's declarations and nothing else of the engine.
"""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from recsys.events import KINDS
from recsys.features.catalog import HISTORY_KINDS, HISTORY_LENGTH, VIEWS
from recsys.features.definition import FeatureView, Measure, Window
from recsys.features.log import EventLog, Items

NAMES = {code: kind for kind, code in KINDS.items()}
Event = dict[str, Any]


def events_of(log: EventLog) -> list[Event]:
    columns = {name: column.tolist() for name, column in zip(log._fields, log, strict=True)}
    events = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [event | {"kind": NAMES[event["kind"]]} for event in events]


def rows_of(
    items: Items,
    users: np.ndarray,
    keys: np.ndarray,
    positions: np.ndarray,
    as_of: np.ndarray,
    shelves: np.ndarray | None = None,
) -> list[Event]:
    item = items.lookup(keys)
    shelves = np.zeros(len(users), np.int64) if shelves is None else shelves
    columns = (users, keys, item.category_key, item.creator_key, shelves, positions, as_of)
    names = ("user_key", "item_key", "category_key", "creator_key", "shelf_key", "position", "as_of")
    return [dict(zip(names, map(int, values), strict=True)) for values in zip(*columns, strict=True)]


def by_hand(log: EventLog, items: Items, *rows: np.ndarray, views: tuple[FeatureView, ...] = VIEWS) -> np.ndarray:
    """Aggregates of rows (users, items, positions, as_of, shelves), int64[n, columns of the views]."""
    events = events_of(log)
    out = []
    for row in rows_of(items, *rows):
        seen = [event for event in events if event["position"] <= row["position"]]
        values: list[int] = []
        for view in views:
            parts = [f"{part}_key" for part in view.entity.parts]
            mine = [e for e in seen if all(row[part] and e[part] == row[part] for part in parts)]
            for aggregation in view.aggregations:
                for window in aggregation.windows:
                    values += [_value(mine, measure, window, row["as_of"]) for measure in aggregation.measures]
            if view.session is not None:
                values += _session(mine, view.session.kinds, view.session.gap.length_ms, row["as_of"])
        out.append(values)
    return np.array(out, np.int64).reshape(len(out), -1)


def _value(events: list[Event], measure: Measure, window: Window, as_of: int) -> int:
    chosen = [e for e in events if e["kind"] in measure.kinds]
    if measure.op == "latest":
        return max((e["occurred_at"] for e in chosen), default=0)
    if measure.op == "decayed":
        return _decayed(chosen, measure, window.length_ms, as_of)
    if window.hop_ms:
        since = (as_of - window.length_ms) // window.hop_ms * window.hop_ms
        chosen = [
            e for e in chosen if e["occurred_at"] >= since and e["received_at"] - e["occurred_at"] <= window.length_ms
        ]
    return sum(e["watch_ms"] for e in chosen) if measure.op == "sum" else len(chosen)


def _decayed(events: list[Event], measure: Measure, half_life: int, as_of: int) -> int:
    """One rounding at the very end: floor of the exact sum on the grid of the last octave."""
    events = [e for e in events if e["received_at"] - e["occurred_at"] <= 15 * half_life]
    if not events:
        return 0

    def step(instant: int) -> int:
        return round(2 ** ((instant % half_life) * 64 // half_life / 64) * 65536)

    last = max(e["occurred_at"] // half_life for e in events)
    weights = dict(zip(measure.kinds, measure.weights, strict=True))
    total = 0
    for e in events:
        total += weights[e["kind"]] * step(e["occurred_at"]) << (64 + e["occurred_at"] // half_life - last)
    total >>= 64 - 16  # 16 fractional bits of the octave
    later = as_of // half_life - last
    return (total >> later) // step(as_of) if later >= 0 else total // 65536


def _session(events: list[Event], kinds: tuple[str, ...], gap: int, as_of: int) -> list[int]:
    first = last = count = 0
    for e in events:
        if e["kind"] not in kinds:
            continue
        if count == 0 or e["occurred_at"] - last > gap:
            first, last, count = e["occurred_at"], e["occurred_at"], 0
        first, last, count = min(first, e["occurred_at"]), max(last, e["occurred_at"]), count + 1
    return [first, count] if count and as_of - last <= gap else [0, 0]


def history_by_hand(log: EventLog, user_key: int, position: int) -> list[tuple[int, int, int]]:
    return [
        (e["item_key"], KINDS[e["kind"]], e["occurred_at"])
        for e in events_of(log)
        if e["position"] <= position and e["user_key"] == user_key and e["kind"] in HISTORY_KINDS
    ][-HISTORY_LENGTH:]


def by_sql(log: EventLog, items: Items, *rows: np.ndarray) -> dict[str, np.ndarray]:
    """The windowed, lifetime, latest and decayed columns by DuckDB: column -> int64[n]."""
    events = pa.table(dict(zip(log._fields, log, strict=True)))
    reads = pa.Table.from_pylist([row | {"r": r} for r, row in enumerate(rows_of(items, *rows))])
    database = duckdb.connect()
    database.register("events", events)
    database.register("reads", reads)
    database.execute("set threads = 1")
    found: dict[str, np.ndarray] = {}
    for view in VIEWS:
        columns = [
            f"{_sql(measure, window)} as {view.entity.name}_{measure.name}_{measure.op}_{window.name}"
            for aggregation in view.aggregations
            for window in aggregation.windows
            for measure in aggregation.measures
        ]
        on = " and ".join(f"r.{part}_key = e.{part}_key and r.{part}_key != 0" for part in view.entity.parts)
        table = database.sql(
            f"select {', '.join(columns)} from reads r left join events e on e.position <= r.position and {on}"
            " group by r.r order by r.r"
        ).to_arrow_table()
        found |= {name: table[name].to_numpy() for name in table.column_names}
    return found


def _sql(measure: Measure, window: Window) -> str:
    kinds = f"e.kind in ({', '.join(str(KINDS[kind]) for kind in measure.kinds)})"
    if measure.op == "latest":
        return f"coalesce(max(e.occurred_at) filter ({kinds}), 0)"
    if measure.op == "decayed":
        return _decayed_sql(measure, window.length_ms, kinds)
    value = "e.watch_ms" if measure.op == "sum" else "1"
    if window.hop_ms:
        # instants are positive, where // rounds as floor does
        since = f"((any_value(r.as_of) - {window.length_ms}) // {window.hop_ms} * {window.hop_ms})"
        since = since.replace("any_value(r.as_of)", "r.as_of")
        kinds += f" and e.occurred_at >= {since} and e.received_at - e.occurred_at <= {window.length_ms}"
    return f"coalesce(sum({value}) filter ({kinds}), 0)::bigint"


def _decayed_sql(measure: Measure, half_life: int, kinds: str) -> str:
    weight = "case e.kind " + " ".join(
        f"when {KINDS[kind]} then {weight}" for kind, weight in zip(measure.kinds, measure.weights, strict=True)
    )
    weight += " end"
    admitted = f"{kinds} and e.received_at - e.occurred_at <= {15 * half_life}"

    def step(instant: str) -> str:
        return f"round(pow(2, ({instant} % {half_life} * 64 // {half_life}) / 64.0) * 65536)::hugeint"

    octave = f"e.occurred_at // {half_life}"
    last = f"max({octave}) filter ({admitted})"
    # Octaves counted from one a year back, so that the shift stays within 128 bits; then floors, as one.
    base = f"(min({octave}) filter ({admitted}))"
    total = (
        f"list_sum([x[1] * pow(2, x[2] - {base})::hugeint"
        f" for x in list([({weight})::hugeint * {step('e.occurred_at')}, ({octave})::hugeint]) filter ({admitted})])"
    )
    grid = f"(({total})::hugeint * 65536) // pow(2, {last} - {base})::hugeint"
    now = f"(any_value(r.as_of) // {half_life})"
    later = f"greatest({now} - {last}, 0)"
    divisor = f"case when {now} < {last} then 65536 else {step('any_value(r.as_of)')} end"
    return f"coalesce((({grid}) // pow(2, {later})::hugeint // ({divisor}))::bigint, 0)"
