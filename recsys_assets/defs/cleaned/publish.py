"""From dbt's scratch database to the lake: every file written beside its place, then all of them renamed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.lake import Lake, replacing
from recsys.sources.keyed import (
    CLEANED_EVENT_SCHEMA,
    DUPLICATE_SCHEMA,
    IMPRESSION_SCHEMA,
    QUARANTINE_SCHEMA,
    SESSION_SCHEMA,
    ItemKeys,
    keyed_events,
    keyed_items,
)

# dbt model -> folder below lake/cleaned, schema, total order of the rows, so that a day has the same bytes each time
TABLES: dict[str, tuple[str, pa.Schema, str]] = {
    "cleaned_events": ("events", CLEANED_EVENT_SCHEMA, "position"),
    "impressions": ("impressions", IMPRESSION_SCHEMA, "position"),
    "sessions": ("sessions", SESSION_SCHEMA, "first_position"),
    "quarantine": ("quarantine", QUARANTINE_SCHEMA, "all"),
    "duplicates": ("duplicates", DUPLICATE_SCHEMA, "all"),
}
BROKEN_SHARE = 0.5  # a day of which more is broken is refused: its source is, not its rows


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
    items = ItemKeys.of(lake.read(lake.table("cleaned", "items"), ["item_id", "category_key", "creator_key"]))
    rows = dict.fromkeys(TABLES, 0)
    try:
        with duckdb.connect(str(scratch(lake) / "scratch.duckdb"), read_only=True) as database, ExitStack() as renames:
            for day in days:
                _refuse_broken(database, day)
                for model, (folder, schema, order) in TABLES.items():
                    table = database.sql(
                        f"select * exclude (received_day) from {model}"
                        f" where received_day = date '{day}' order by {order}"
                    ).to_arrow_table()
                    keyed = keyed_events(table, items, schema) if "user_key" in schema.names else table.cast(schema)
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


def _refuse_broken(database: duckdb.DuckDBPyConnection, day: str) -> None:
    reasons = database.execute(
        f"select reason, count(*) from quarantine where received_day = date '{day}' and reason != 'no_consent'"
        " group by reason order by 2 desc, 1"
    ).fetchall()
    broken = sum(n for _, n in reasons)
    total = database.execute(f"select count(*) from judged_events where received_day = date '{day}'").fetchall()[0][0]
    if broken > BROKEN_SHARE * total:
        why = ", ".join(f"{reason} {n:,}" for reason, n in reasons)
        raise CleaningError(
            f"{day}: {broken:,} of {total:,} raw events are broken ({why}): nothing was replaced; "
            f"correct the source and materialize raw_events and cleaned_events of {day} again"
        )
