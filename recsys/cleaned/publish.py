"""From dbt's scratch database to the lake: every file written beside its place, then all of them renamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.cleaned.keyed import (
    CLEANED_EVENT_SCHEMA,
    DUPLICATE_SCHEMA,
    IMPRESSION_SCHEMA,
    QUARANTINE_SCHEMA,
    SEARCH_SCHEMA,
    SESSION_SCHEMA,
    keyed_events,
    keyed_items,
)
from recsys.cleaned.versions import item_history
from recsys.events import COUNTED_AS
from recsys.lake import Lake, replacing
from recsys.sources.negatives import Pool, with_negatives
from recsys.sources.source import day_number

# dbt model -> folder below lake/cleaned, schema, total order of the rows, so that a day has the same bytes each time
TABLES: dict[str, tuple[str, pa.Schema, str]] = {
    "cleaned_events": ("events", CLEANED_EVENT_SCHEMA, "position"),
    "impressions": ("impressions", IMPRESSION_SCHEMA, "position"),
    "sessions": ("sessions", SESSION_SCHEMA, "first_position"),
    "quarantine": ("quarantine", QUARANTINE_SCHEMA, "all"),
    "duplicates": ("duplicates", DUPLICATE_SCHEMA, "all"),
    "searches": ("searches", SEARCH_SCHEMA, "all"),
}
BROKEN_SHARE = 0.5  # a day of which more is broken is refused: its source is, not its rows
AT_ONCE = 250_000  # raw rows of days that are read together
NOT_BROKEN = ("no_consent", "sandbox_user", "stray_day")  # sound rows that are not used, or guests from another day


class CleaningError(RuntimeError):
    """A day cannot be cleaned or published; the message says why and what to do. The lake is as it was."""


def scratch(lake: Lake) -> Path:
    """The folder of dbt's database, compiled files and logs."""
    return lake.home / "dbt"


def publish(lake: Lake, days: Sequence[str]) -> dict[str, int]:
    """Replace those days of every cleaned table; returns the rows of each dbt model.

    Raises:
        CleaningError: when a day is mostly broken, or a file cannot be written. No file has been replaced then.
        LakeError: when the cleaned items are not there.
    """
    items = item_history(lake)
    rows = dict.fromkeys(TABLES, 0)
    try:
        with duckdb.connect(str(scratch(lake) / "scratch.duckdb"), read_only=True) as database, ExitStack() as renames:
            pool: Pool | None = None  # of negatives; a log that says what was shown needs none
            for some in _runs(_sound(database, days)):
                tables = {model: _by_day(database, model, order, some) for model, (_, _, order) in TABLES.items()}
                for day in some:
                    live = _counted(lake, day)
                    for model, (folder, schema, _) in TABLES.items():
                        keyed = tables[model][day]
                        if "user_key" in schema.names:
                            keyed = keyed_events(keyed, items, schema, live)
                        else:
                            keyed = keyed.cast(schema)
                        if model == "impressions" and keyed["sampling_rate"].null_count < keyed.num_rows:
                            pool = pool or Pool.of(lake.read(lake.table("cleaned", "items")), _first_seen(database))
                            keyed = with_negatives(keyed, pool)
                        rows[model] += keyed.num_rows
                        pq.write_table(
                            keyed,
                            renames.enter_context(replacing(lake.day(day, "cleaned", folder))),
                            compression="zstd",
                            compression_level=1,
                        )
    except OSError as error:
        raise CleaningError(
            f"cannot write the cleaned tables ({error}): free space below {lake.home}, then run again"
        ) from None
    return rows


def _runs(rows: Mapping[str, int]) -> Iterator[list[str]]:
    """Days, in runs of at most AT_ONCE rows (or one day): a query of one day reads the table of all."""
    run: list[str] = []
    held = 0
    for day, n in rows.items():
        if run and held + n > AT_ONCE:
            yield run
            run, held = [], 0
        run.append(day)
        held += n
    if run:
        yield run


def _by_day(database: duckdb.DuckDBPyConnection, model: str, order: str, days: Sequence[str]) -> dict[str, pa.Table]:
    """The rows of each of those days, in order."""
    table: pa.Table = database.execute(
        f"select received_day, * exclude (received_day) from {model} where list_contains($days, received_day)"
        f" order by {order if order == 'all' else f'received_day, {order}'}",
        {"days": [date.fromisoformat(day) for day in days]},
    ).to_arrow_table()
    number = table["received_day"].cast(pa.int32()).to_numpy()
    of_day = {day: np.searchsorted(number, [day_number(day), day_number(day) + 1]) for day in days}
    rest = table.drop_columns("received_day")
    return {day: rest.slice(start, end - start) for day, (start, end) in of_day.items()}


def _counted(lake: Lake, day: str) -> pa.Table | None:
    """position and COUNTED_AS of the events of that day that the service took; None without any."""
    path = lake.day(day, "raw", "events")
    if not set(COUNTED_AS) <= set(pq.read_schema(path).names):
        return None
    table = lake.read(path, ["position", *COUNTED_AS])
    return table.filter(pc.is_valid(table["category_key"]))


def publish_items(lake: Lake) -> int:
    """Replace the cleaned items; returns their number.

    Raises:
        CleaningError: when the file cannot be written.
    """
    with duckdb.connect(str(scratch(lake) / "scratch.duckdb"), read_only=True) as database:
        items = keyed_items(database.sql("select * from items").to_arrow_table())
    try:
        return lake.write(items, lake.table("cleaned", "items"))
    except OSError as error:
        raise CleaningError(
            f"cannot write the cleaned items ({error}): free space below {lake.home}, then run again"
        ) from None


def _first_seen(database: duckdb.DuckDBPyConnection) -> pa.Table:
    """When the log first spoke of each item: item_id, received_at."""
    return database.sql(
        "select item_id, min(received_at) as received_at from stg_events where item_id is not null group by item_id"
    ).to_arrow_table()


def _sound(database: duckdb.DuckDBPyConnection, days: Sequence[str]) -> dict[str, int]:
    """The raw rows of those days.

    Raises:
        CleaningError: a day is mostly broken.
    """
    counted = database.execute("select received_day, count(*) from judged_events group by all").fetchall()
    totals = {str(day): int(n) for day, n in counted}
    reasons: dict[str, list[tuple[str, int]]] = {}
    for day, reason, n in database.execute(
        f"select received_day, reason, count(*) from quarantine where reason not in {NOT_BROKEN}"
        " group by all order by 3 desc, 2"
    ).fetchall():
        reasons.setdefault(str(day), []).append((reason, n))
    for day in days:
        broken, total = sum(n for _, n in reasons.get(day, [])), totals.get(day, 0)
        if broken > BROKEN_SHARE * total:
            why = ", ".join(f"{reason} {n:,}" for reason, n in reasons[day])
            raise CleaningError(
                f"{day}: {broken:,} of {total:,} raw events are broken ({why}): nothing was replaced; "
                f"correct the source and materialize raw_events and cleaned_events of {day} again"
            )
    return {day: totals.get(day, 0) for day in days}
