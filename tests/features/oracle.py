"""The slow, obvious meaning of every aggregate, without the kernel: the stranger's Python, and DuckDB SQL.

Both go by the page alone and look at every event for every row. Of the catalogue only the order of the columns is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from recsys.events import KINDS
from recsys.features.catalog import AGGREGATES
from recsys.features.log import EventLog, Items
from tests.features import stranger
from tests.features.stranger import COLUMNS, PARTS, Column

NAMES = {code: kind for kind, code in KINDS.items()}


def log_of(log: EventLog) -> stranger.Log:
    columns = {name: column.tolist() for name, column in zip(log._fields, log, strict=True)}
    events = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    told = [event | {"kind": NAMES[event["kind"]], "item": event["item_key"]} for event in events]
    return stranger.Log([event | entities(event) for event in told])


def entities(row: dict[str, Any]) -> dict[str, int | None]:
    return {part: row[f"{part}_key"] or None for part in PARTS}


def rows_of(
    items: Items,
    users: np.ndarray,
    keys: np.ndarray,
    positions: np.ndarray,
    as_of: np.ndarray,
    shelves: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    item = items.lookup(keys)
    shelves = np.zeros(len(users), np.int64) if shelves is None else shelves
    columns = (users, keys, item.category_key, item.creator_key, shelves, positions, as_of)
    names = ("user_key", "item_key", "category_key", "creator_key", "shelf_key", "position", "as_of")
    return [dict(zip(names, map(int, values), strict=True)) for values in zip(*columns, strict=True)]


def by_hand(
    log: EventLog,
    items: Items,
    *rows: np.ndarray,
    columns: Sequence[Column] = COLUMNS,
    order: Sequence[str] = AGGREGATES,
) -> np.ndarray:
    """Aggregates of rows (users, items, positions, as_of, shelves), int64[n, order]."""
    events = log_of(log)
    counted = [stranger.aggregates(events, row | entities(row), columns) for row in rows_of(items, *rows)]
    return np.array([[row[name] for name in order] for row in counted], np.int64).reshape(len(counted), -1)


def history_by_hand(log: EventLog, user_key: int, position: int) -> list[tuple[int, int, int]]:
    """Item, kind's code and instant of a user's last events."""
    told = stranger.history(log_of(log), {"user": user_key or None, "position": position})
    return [(item, KINDS[kind], instant) for item, kind, instant in told]


def by_sql(log: EventLog, items: Items, *rows: np.ndarray) -> dict[str, np.ndarray]:
    """The windowed, lifetime, latest and decayed columns by DuckDB: column -> int64[n]."""
    events = pa.table(dict(zip(log._fields, log, strict=True)))
    reads = pa.Table.from_pylist([row | {"r": r} for r, row in enumerate(rows_of(items, *rows))])
    database = duckdb.connect()
    database.register("events", events)
    database.register("reads", reads)
    database.execute("set threads = 1")
    columns_of: dict[str, np.ndarray] = {}
    for parts, columns in groupby(COLUMNS, key=lambda column: column.parts):
        told = [f"{_sql(c)} as {c.name}" for c in columns if not c.how.startswith("session")]
        on = " and ".join(f"r.{part}_key = e.{part}_key and r.{part}_key != 0" for part in parts)
        table = database.sql(
            f"select {', '.join(told)} from reads r left join events e on e.position <= r.position and {on}"
            " group by r.r order by r.r"
        ).to_arrow_table()
        columns_of |= {name: table[name].to_numpy() for name in table.column_names}
    return columns_of


def _sql(column: Column) -> str:
    kinds = f"e.kind in ({', '.join(str(KINDS[kind]) for kind in column.weights)})"
    if column.how == "latest instant":
        return f"coalesce(max(e.occurred_at) filter ({kinds}), 0)"
    if column.how == "decayed sum":
        return _decayed_sql(column, kinds)
    if column.how == "last words":
        return f"coalesce(arg_max(e.item_key & {stranger.WORDS_MASK}, e.position) filter ({kinds}), 0)"
    value = "e.watch_ms" if column.how == "sum of watch_ms" else "1"
    if column.hop:
        # instants are positive, where // rounds as floor does
        since = f"((r.as_of - {column.length}) // {column.hop} * {column.hop})"
        kinds += f" and e.occurred_at >= {since} and e.received_at - e.occurred_at <= {column.length}"
    return f"coalesce(sum({value}) filter ({kinds}), 0)::bigint"


def _decayed_sql(column: Column, kinds: str) -> str:
    half_life = column.length
    weight = "case e.kind " + " ".join(f"when {KINDS[kind]} then {weight}" for kind, weight in column.weights.items())
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
