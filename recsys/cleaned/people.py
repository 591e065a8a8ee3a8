"""What was said of users, and from when: an append-only table, from which users as of any instant follow.

As with items (versions.py) a version has two instants. `valid_from` says who wins: the later word. `known_from` says
who sees it: it is never before the first day that was taken in with the version, so a changed attribute is an event,
and no row of a day that is in changes.
"""

from __future__ import annotations

from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from recsys.events import ATTRIBUTE_SCHEMA
from recsys.features.people import NO_ONE, People
from recsys.lake import Lake

PEOPLE_SCHEMA: Final = pa.schema(
    [
        *((name, ATTRIBUTE_SCHEMA.field(name).type) for name in ("user_id", "attributes")),
        ("said_from", pa.int64()),  # `valid_from` as the source says it; null where it says none
        ("valid_from", pa.int64()),  # UTC ms; 0: from always
        ("known_from", pa.int64()),  # UTC ms, >= valid_from
    ]
)
_SAID: Final = ["user_id", "said_from"]


def appended(before: pa.Table | None, given: pa.Table, start: int) -> pa.Table:
    """The versions (PEOPLE_SCHEMA) with what is new in what a source says; none is changed, the same again adds none.

    Args:
        before: the versions so far
        given: ATTRIBUTE_SCHEMA; the last row of a user (and instant) wins
        start: `versions.starts_at` of this reading
    """
    known = _frame(PEOPLE_SCHEMA.empty_table() if before is None else before.cast(PEOPLE_SCHEMA))
    said = _frame(given).rename({"valid_from": "said_from"}).filter(pl.col("user_id").is_not_null())
    said = said.unique(_SAID, keep="last", maintain_order=True).with_columns(
        pl.col("attributes").fill_null([]).list.sort()
    )
    last = known.unique(_SAID, keep="last", maintain_order=True).select(*_SAID, before="attributes")
    new = said.join(last, on=_SAID, how="left", nulls_equal=True, maintain_order="left")
    new = new.filter(pl.col("attributes").ne_missing(pl.col("before"))).drop("before")
    is_known = pl.col("user_id").is_in(known["user_id"].implode())
    since = pl.coalesce("said_from", pl.when(is_known).then(start).otherwise(0))
    new = new.with_columns(valid_from=since, known_from=pl.max_horizontal(since, pl.lit(start)))
    return pl.concat([known, new.select(known.columns)]).to_arrow().cast(PEOPLE_SCHEMA)


def shares(said: pa.Table) -> dict[str, float]:
    """Share of the users of a table (user_id, attributes) of whom each attribute is said, by name in order."""
    rows = _frame(said).select("user_id", word="attributes").explode("word").drop_nulls()
    rows = rows.with_columns(name=pl.col("word").str.extract("^([^=~]*)=")).drop_nulls()
    users = rows.group_by("name").agg(pl.col("user_id").n_unique()).sort("name")
    everybody = max(1, pc.count_distinct(said["user_id"]).as_py())
    return {name: count / everybody for name, count in users.iter_rows()}


def people_of(lake: Lake) -> People:
    """The users of a lake as of any instant; nobody's where nothing was said."""
    path = lake.table("raw", "user_attributes")
    if not path.exists():
        return NO_ONE
    return versions_of(lake.read(path))


def versions_of(table: pa.Table) -> People:
    """The users of a table of versions (PEOPLE_SCHEMA), in the order in which they were appended."""
    versions = _frame(table).with_row_index("place").sort("user_id", "known_from", "place")
    stands = pl.col("valid_from") >= pl.col("valid_from").cum_max().over("user_id")  # an older word may come later
    versions = versions.filter(stands)
    return People.of(versions["user_id"].to_list(), versions["known_from"].to_numpy(), versions["attributes"].to_list())


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
