"""Point-in-time build of 20 window features, beside its peers: `python -m benchmarks.features_sweep [events]`.

5 measures x 4 windows of one entity, for every impression of a Zipf log. All peers are given the same prefix-sum form
(A - E) or the window itself, and must return the same numbers. One CPU each; CPU seconds of the process.

Two peers get an easier task. RANGE frames know one order, so their log has no late events. Feast computes no windows:
it joins rows that are ready-made, and is counted on the rows that come back.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks import feast_environment
from benchmarks.features_world import ZipfWorld, zipf_world
from recsys.events import KINDS
from recsys.features import sweep
from recsys.features.catalog import CLICKS, IMPRESSIONS, ITEM, LIKES, LONG_VIEWS, PLAYS, SEEN, SKIPS, USER, WATCH
from recsys.features.definition import DAY, HOUR, MONTH, WEEK, Aggregation, Entity, FeatureView, Window
from recsys.features.layout import compile_program
from recsys.features.log import EventLog, Rows

MEASURES, WINDOWS = (IMPRESSIONS, CLICKS, LONG_VIEWS, SKIPS, WATCH), (HOUR, DAY, WEEK, MONTH)


def view(entity: Entity) -> FeatureView:
    return FeatureView(entity, (Aggregation(MEASURES, WINDOWS),))


def ours(world: ZipfWorld, entity: Entity, rows: int) -> np.ndarray:
    columns = (column[:rows] for column in world.rows[:4])
    return sweep.point_in_time(world.log, world.items, Rows(*columns), program=compile_program((view(entity),)))


def values(world: ZipfWorld) -> dict[str, np.ndarray]:
    """Each measure's value of each event, int64."""
    return {
        m.name: np.where(
            np.isin(world.log.kind, [KINDS[k] for k in m.kinds]), world.log.watch_ms if m.op == "sum" else 1, 0
        )
        for m in MEASURES
    }


def keyed(world: ZipfWorld, entity: Entity, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Events' keys, and the rows' keys, positions, instants."""
    users, items, positions, as_of = (column[:rows] for column in world.rows[:4])
    is_user = entity == USER
    return (world.log.user_key if is_user else world.log.item_key), users if is_user else items, positions, as_of


def by_pandas(world: ZipfWorld, entity: Entity, rows: int) -> np.ndarray:
    key, row_key, position, as_of = keyed(world, entity, rows)
    lateness = world.log.received_at - world.log.occurred_at
    out = np.zeros((rows, 20), np.int64)
    of = values(world)
    for w, window in enumerate(WINDOWS):
        admitted = lateness <= window.length_ms
        names = list(of)
        frame = pd.DataFrame({"key": key, "position": world.log.position, "at": world.log.occurred_at} | of)[admitted]
        cut = (as_of - window.length_ms) // window.hop_ms * window.hop_ms
        for column, wanted, sign in (("position", position, 1), ("at", cut - 1, -1)):
            known = frame.sort_values(column, kind="stable")
            known[names] = known.groupby("key")[names].cumsum()
            asked = pd.DataFrame({"key": row_key, column: wanted, "r": np.arange(rows)}).sort_values(
                column, kind="stable"
            )
            joined = pd.merge_asof(asked, known[["key", column, *names]], on=column, by="key")
            out[joined["r"], w * 5 : w * 5 + 5] += sign * joined[names].fillna(0).to_numpy().astype(np.int64)
    return out


def by_polars(world: ZipfWorld, entity: Entity, rows: int) -> np.ndarray:
    key, row_key, position, as_of = keyed(world, entity, rows)
    lateness = world.log.received_at - world.log.occurred_at
    out = np.zeros((rows, 20), np.int64)
    of = values(world)
    names = list(of)
    for w, window in enumerate(WINDOWS):
        admitted = lateness <= window.length_ms
        frame = pl.DataFrame({"key": key, "position": world.log.position, "at": world.log.occurred_at} | of).filter(
            admitted
        )
        cut = (as_of - window.length_ms) // window.hop_ms * window.hop_ms
        for column, wanted, sign in (("position", position, 1), ("at", cut - 1, -1)):
            known = frame.sort(column).with_columns(pl.col(n).cum_sum().over("key") for n in names)
            asked = pl.DataFrame({"key": row_key, column: wanted, "r": np.arange(rows)}).sort(column)
            joined = asked.join_asof(known, on=column, by="key", check_sortedness=False).sort("r")
            out[:, w * 5 : w * 5 + 5] += sign * joined.select(pl.col(names).fill_null(0)).to_numpy()
    return out


def _duckdb(world: ZipfWorld, entity: Entity, rows: int) -> duckdb.DuckDBPyConnection:
    key, row_key, position, as_of = keyed(world, entity, rows)
    database = duckdb.connect()
    database.execute("set threads = 1")
    lateness = world.log.received_at - world.log.occurred_at
    events = {"key": key, "position": world.log.position, "at": world.log.occurred_at, "lateness": lateness} | values(
        world
    )
    database.register("events_given", pa.table(events))
    database.register("rows_given", pa.table({"r": np.arange(rows), "key": row_key, "position": position, "s": as_of}))
    database.execute("create table events as from events_given; create table asked as from rows_given")
    return database


def by_duckdb_asof(world: ZipfWorld, entity: Entity, rows: int) -> np.ndarray:
    database, out = _duckdb(world, entity, rows), np.zeros((rows, 20), np.int64)
    names = [m.name for m in MEASURES]
    for w, window in enumerate(WINDOWS):
        cut = f"(s - {window.length_ms}) // {window.hop_ms} * {window.hop_ms} - 1"
        for column, wanted, sign in (("position", "position", 1), ('"at"', cut, -1)):
            sums = ", ".join(f"sum({n}) over (partition by key order by {column})::bigint as {n}" for n in names)
            table = database.sql(
                f"with known as (select key, {column} as c, {sums} from events where lateness <= {window.length_ms}),"
                f" wanted as (select r, key, {wanted} as c from asked)"
                f" select {', '.join(f'coalesce(known.{n}, 0) as {n}' for n in names)}"
                " from wanted asof left join known on wanted.key = known.key and wanted.c >= known.c order by r"
            ).to_arrow_table()
            out[:, w * 5 : w * 5 + 5] += sign * np.stack([table[n].to_numpy() for n in names], axis=1)
    return out


def by_duckdb_join(world: ZipfWorld, entity: Entity, rows: int) -> np.ndarray:
    """The definition as one would write it: join every event of the key, sum by window."""
    database = _duckdb(world, entity, rows)
    columns = ", ".join(
        f'coalesce(sum({m.name}) filter (e."at" >= (s - {w.length_ms}) // {w.hop_ms} * {w.hop_ms}'
        f" and lateness <= {w.length_ms}), 0)::bigint as {m.name}_{w.name}"
        for w in WINDOWS
        for m in MEASURES
    )
    table = database.sql(
        f"select {columns} from asked a left join events e on e.key = a.key and e.position <= a.position"
        f' and e."at" >= s - {MONTH.length_ms + MONTH.hop_ms} group by r order by r'
    ).to_arrow_table()
    return np.stack([table[name].to_numpy() for name in table.column_names], axis=1)


def by_duckdb_range(world: ZipfWorld, entity: Entity, rows: int) -> np.ndarray:
    """The same windows as frames over one timeline of events and rows: exact where nothing is late."""
    database = _duckdb(world, entity, rows)
    names = [m.name for m in MEASURES]
    frames = ", ".join(
        f'coalesce(sum({n}) over (partition by key order by "at" range between'
        f' ("at" - ("at" - {w.length_ms}) // {w.hop_ms} * {w.hop_ms}) preceding and 1 preceding), 0)::bigint'
        f" as {n}_{w.name}"
        for w in WINDOWS
        for n in names
    )
    table = database.sql(
        f'with timeline as (select -1 as r, key, "at", {", ".join(names)} from events union all'
        f" select r, key, s, {', '.join('0' for _ in names)} from asked)"
        f" select * exclude (r) from (select r, {frames} from timeline) where r >= 0 order by r"
    ).to_arrow_table()
    return np.stack([table[name].to_numpy() for name in table.column_names], axis=1)


def by_feast(world: ZipfWorld, entity: Entity, truth: np.ndarray, offline: str) -> tuple[float, int, int]:
    """Rows per CPU second of Feast's historical retrieval; rows asked and rows returned.

    Raises:
        NoFeast: it cannot take part, or does not come to an end.
    """
    _, row_key, _, as_of = keyed(world, entity, len(truth))
    _, first = np.unique(np.stack([row_key, as_of]), axis=1, return_index=True)  # it keeps one of equal rows
    asked = np.random.default_rng(3).choice(first, min(FEAST_ROWS, len(first)), replace=False)
    instants = pa.array(as_of * 1000).cast(pa.timestamp("us", tz="UTC"))
    columns = {name: truth[first, c] for c, name in enumerate(view(entity).columns)}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ready = {"key": row_key[first], "at": instants.take(pa.array(first)), **columns}
        pq.write_table(pa.table(ready), folder / "rows.parquet")
        wanted = {"key": row_key[asked], "event_timestamp": instants.take(pa.array(asked)), "r": asked}
        pq.write_table(pa.table(wanted), folder / "asked.parquet")
        told = feast_environment.ask("historical", folder, offline, FEAST_SECONDS)
    if not told["same"]:
        raise SystemExit(f"Feast ({offline}) returns other values than were written")
    return told["returned"] / told["cpu_s"], told["asked"], told["returned"]


PEERS: dict[str, tuple[Callable[[ZipfWorld, Entity, int], np.ndarray], int]] = {
    "this sweep": (ours, 0),
    "polars join_asof on prefix sums": (by_polars, 0),
    "pandas merge_asof on prefix sums": (by_pandas, 0),
    "DuckDB prefix sums + ASOF": (by_duckdb_asof, 0),
    "DuckDB RANGE frames": (by_duckdb_range, 20_000),
    "DuckDB join and filter": (by_duckdb_join, 2_000),
}
FEAST_ROWS, FEAST_SECONDS = 20_000, 240


def wide(console: Console, world: ZipfWorld, rows: int) -> None:
    """40 features, 8 measures x 5 windows: the whole call, and of it the compiled sweep with its gather and scatter."""
    windows = (*WINDOWS, Window("14d", WEEK.length_ms * 2, WEEK.hop_ms))
    spent = [0.0]

    def timed(work: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            began = time.process_time()
            work(*arguments)
            spent[0] += time.process_time() - began

        return call

    for entity in (USER, ITEM):
        program = compile_program((FeatureView(entity, (Aggregation((*MEASURES, PLAYS, LIKES, SEEN), windows),)),))
        kept, rates = sweep._sweep_batch, []
        try:
            sweep._sweep_batch = timed(kept)
            for _ in range(3):
                spent[0], began = 0.0, time.process_time()
                sweep.point_in_time(world.log, world.items, Rows(*world.rows[:4]), program=program)
                rates.append((rows / (time.process_time() - began) / 1e6, rows / spent[0] / 1e6))
        finally:
            sweep._sweep_batch = kept
        whole, alone = max(rates)[0], max(r[1] for r in rates)
        console.print(f"40 features by {entity.name}: {whole:.2f} M rows per CPU second, the sweep alone {alone:.2f} M")


def with_parquet(folder: Path, world: ZipfWorld) -> float:
    """Rows per CPU second from a file of events to a file of 20 features."""
    pq.write_table(pa.table(dict(zip(world.log._fields, world.log, strict=True))), folder / "events.parquet")
    program, best = compile_program((view(USER),)), 0.0
    for _ in range(3):
        began = time.process_time()
        table = pq.read_table(folder / "events.parquet")
        log = EventLog(*(column.to_numpy() for column in table.columns))
        aggregates = sweep.point_in_time(log, world.items, Rows(*world.rows[:4]), program=program)
        columns = np.ascontiguousarray(aggregates.T)
        features = pa.table(dict(zip(view(USER).columns, columns, strict=True)))
        pq.write_table(features, folder / "features.parquet", compression="zstd", compression_level=1)
        best = max(best, len(aggregates) / (time.process_time() - began))
    return best


def main(events: int = 1_000_000) -> None:
    console = Console(width=110)
    ours(zipf_world(50, 50, 1_000), USER, 10)  # compile
    table = Table(title="20 window features, thousand rows per CPU second")
    for name in ("method", "user key", "item key (hot)", "rows", "x slower"):
        table.add_column(name, justify="left" if name == "method" else "right")
    world = zipf_world(24_000, 6_000, events)
    rows = len(world.rows[0])
    truth = {entity: ours(world, entity, rows) for entity in (USER, ITEM)}
    punctual = zipf_world(24_000, 6_000, events, late=0.0)
    first: list[float] = []
    for name, (method, limit) in PEERS.items():
        n = min(rows, limit or rows)
        rates = []
        for entity in (USER, ITEM):
            given = punctual if method is by_duckdb_range else world
            began = time.process_time()
            counted = method(given, entity, n)
            rates.append(n / (time.process_time() - began) / 1000)
            due = truth[entity][:n] if given is world else ours(given, entity, n)
            if not np.array_equal(counted, due):
                raise SystemExit(f"{name} differs from the sweep on {np.sum(counted != due)} values")
        first = first or rates
        slower = " / ".join(f"{a / b:,.0f}" for a, b in zip(first, rates, strict=True))
        table.add_row(name, *(f"{rate:,.0f}" for rate in rates), f"{n:,}", slower)
    for offline in ("duckdb", "dask"):
        cells, told = [], []
        for entity, ours_here in zip((USER, ITEM), first, strict=True):
            try:
                rate, asked, returned = by_feast(world, entity, truth[entity], offline)
            except feast_environment.NoFeast as why:
                console.print(f"without Feast ({offline}, {entity.name} key): {why}")
                cells, told = [*cells, "-"], [*told, "-"]
                continue
            lost = "" if returned == asked else f" ({asked - returned:,} of {asked:,} rows lost)"
            cells, told = [*cells, f"{rate / 1000:,.1f}{lost}"], [*told, f"{ours_here * 1000 / rate:,.0f}"]
        table.add_row(f"Feast {offline}, join of ready-made rows", *cells, f"{FEAST_ROWS:,}", " / ".join(told))
    console.print(table)
    wide(console, world, rows)
    with tempfile.TemporaryDirectory() as folder:
        rate = with_parquet(Path(folder), world) / 1e6
    console.print(f"events from Parquet, 20 features by user to Parquet: {rate:.2f} M rows per CPU second")
    scale = []
    for size in (events, 2 * events):
        larger, took = zipf_world(24_000, 6_000, size), []
        for _ in range(3):
            began = time.process_time()
            ours(larger, ITEM, len(larger.rows[0]))
            took.append(time.process_time() - began)
        scale.append(min(took))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    console.print(
        f"{events:,} -> {2 * events:,} events: {scale[1] / scale[0]:.2f} times the CPU; peak memory {peak:.1f} GB"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
