"""What was said of items, and from when: an append-only table, from which items as of any instant follow.

A version has two instants. `valid_from` says who wins: the later word, whoever says it. `known_from` says who sees it:
a read at an instant sees the versions with `known_from` at or before it. It is never before the first day that was
taken in with the version, so nothing that is said later changes what was computed earlier (docs/adr/0005).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from recsys.cleaned.keyed import keyed_items
from recsys.events import DAY_MS, ITEM_SCHEMA, VALID_ITEM_SCHEMA, whole_items
from recsys.features.log import ItemHistory, history_of
from recsys.lake import Lake
from recsys.sources.source import day_number

VERSION_SCHEMA: Final = pa.schema(
    [
        *ITEM_SCHEMA,
        ("valid_from", pa.int64()),  # UTC ms; 0: from always
        ("known_from", pa.int64()),  # UTC ms, >= valid_from
        ("said_from", pa.int64()),  # `valid_from` as the catalogue itself says it; null where it says none
        ("position", pa.int64()),  # of the record in the online log; null for what the catalogue says
    ]
)
SINCE_SCHEMA: Final = pa.schema([*ITEM_SCHEMA, ("since", pa.int64())])
_FIELDS: Final = tuple(name for name in ITEM_SCHEMA.names if name not in ("item_id", "id_is_integer"))


def starts_at(taken: Sequence[str], asked: Sequence[str], utc_offset_ms: int) -> int:
    """Start (UTC ms) of the first day that is taken in with what the catalogue says now; 0 before any was.

    Days that were taken in without it keep what they saw: it is the first new day, or the newest day taken in again,
    or else the day after all of them. Only where every day is taken in again is it the first.

    Args:
        taken: days that are taken in already, in order
        asked: days that are taken in now, in order; none when the catalogue is read for itself
    """
    if not taken:
        return 0
    new = [day for day in asked if day not in set(taken)]
    if new and new[0] > taken[-1]:
        number = day_number(new[0])
    elif not new and set(taken) == set(asked):
        number = day_number(taken[0])
    else:
        number = day_number(taken[-1]) + int(not asked or asked[-1] != taken[-1])
    return number * DAY_MS - utc_offset_ms


def appended(before: pa.Table | None, given: pa.Table, told: pa.Table, start: int) -> pa.Table:
    """The versions (VERSION_SCHEMA) with what is new in a catalogue and in what the service was told; none is changed.

    The same catalogue again adds nothing.

    Args:
        before: the versions so far
        given: the catalogue, ITEM_SCHEMA and perhaps `valid_from`; the last row of an id (and instant) wins
        told: told.TOLD_SCHEMA, everything the service was told so far
        start: `starts_at` of this reading
    """
    known = _frame(VERSION_SCHEMA.empty_table() if before is None else whole_items(before, VERSION_SCHEMA))
    heard = _frame(told).filter(pl.col("item_id").is_not_null())
    live = heard.filter(pl.col("position") > 0).join(known.select("position").drop_nulls(), on="position", how="anti")
    live = live.with_columns(known_from=pl.max_horizontal("valid_from", pl.lit(start)), said_from=_none())
    known = pl.concat([known, live.select(known.columns)])

    said = _frame(whole_items(given, VALID_ITEM_SCHEMA)).rename({"valid_from": "said_from"})
    said = said.filter(pl.col("item_id").is_not_null() & (pl.col("item_id") != ""))
    said = said.unique(["item_id", "said_from"], keep="last", maintain_order=True)
    catalogue = known.filter(pl.col("position").is_null())
    last = catalogue.unique(["item_id", "said_from"], keep="last", maintain_order=True)
    new = _differing(said, last, ["item_id", "said_from"])

    latest = known.group_by("item_id").agg(
        is_known=pl.lit(True),
        undated=pl.col("valid_from").filter(pl.col("position").is_null() & pl.col("said_from").is_null()).max(),
        told=pl.col("valid_from").filter(pl.col("position").is_not_null()).max() + 1,
    )
    # a catalogue that says for the first time what the service or the archive had said brings no news
    echoes = heard.join(catalogue.select("item_id"), on="item_id", how="anti").with_columns(said_from=_none())
    fresh = _differing(new, echoes, ["item_id", "said_from"]).select("item_id", "said_from", is_news=pl.lit(True))
    new = new.join(latest, on="item_id", how="left", maintain_order="left")
    new = new.join(fresh, on=["item_id", "said_from"], how="left", nulls_equal=True, maintain_order="left")
    is_first = pl.col("is_known").is_null() | pl.col("is_news").is_null()
    rule = pl.when(is_first).then(0).otherwise(pl.max_horizontal(pl.lit(start), "undated", "told"))
    new = new.with_columns(valid_from=pl.coalesce("said_from", rule), position=_none())
    new = new.with_columns(known_from=pl.max_horizontal("valid_from", pl.lit(start)))
    return pl.concat([known, new.select(known.columns)]).to_arrow().cast(VERSION_SCHEMA)


def timeline(versions: pa.Table) -> pa.Table:
    """What each item was from which instant on (SINCE_SCHEMA), by item_id and `since`.

    A row of the catalogue without an instant of its own says what changed in it since the row before; what did not
    change stays as it is known meanwhile. Every other version says all of the item.
    """
    frame = _frame(whole_items(versions, VERSION_SCHEMA)).with_columns(of_item=pl.len().over("item_id"))
    rows = frame.filter(pl.col("of_item") == 1).select(*ITEM_SCHEMA.names, since="known_from")
    several = frame.filter(pl.col("of_item") > 1).sort("item_id", "known_from", maintain_order=True)
    states: list[dict[str, Any]] = []
    for row in several.iter_rows(named=True):
        if not states or states[-1]["item_id"] != row["item_id"]:
            state: dict[str, Any] = {}
            catalogue: dict[str, Any] = {}
            newest = row["valid_from"]
            type_of_id = row["id_is_integer"]
        type_of_id = row["id_is_integer"] if type_of_id is None else type_of_id  # as it first came
        changes = {name: row[name] for name in _FIELDS}
        if row["position"] is None and row["said_from"] is None:
            before, catalogue = catalogue, changes
            changes = {name: value for name, value in changes.items() if name not in before or before[name] != value}
        if state and row["valid_from"] < newest:
            continue  # an older word that came later
        newest, state = row["valid_from"], state | changes
        states.append({"item_id": row["item_id"], **state, "id_is_integer": type_of_id, "since": row["known_from"]})
    made = pl.concat([rows, _frame(pa.Table.from_pylist(states, SINCE_SCHEMA))])
    made = made.unique(["item_id", "since"], keep="last", maintain_order=True).sort("item_id", "since")
    return made.to_arrow().cast(SINCE_SCHEMA)


def as_of(since: pa.Table, instant: int) -> pa.Table:
    """The items (ITEM_SCHEMA) of a `timeline` as they were at an instant, one row each."""
    frame = _frame(since).filter(pl.col("since") <= instant)
    held = frame.unique("item_id", keep="last", maintain_order=True)
    return held.select(ITEM_SCHEMA.names).to_arrow().cast(ITEM_SCHEMA)


def item_history(lake: Lake) -> ItemHistory:
    """The items of a lake as of any instant; a lake that kept no versions has them as they are, from always.

    Raises:
        LakeError: there are no items.
    """
    path = lake.table("raw", "item_versions")
    if path.exists():
        return history_of(timeline(lake.read(path)))
    return history_of(lake.read(lake.table("cleaned", "items"), ITEM_SCHEMA.names))


def items_before(lake: Lake, instant: int) -> pa.Table:
    """The cleaned items, each as it was known just before an instant; one that was not known then as it is now."""
    now, path = lake.read(lake.table("cleaned", "items")), lake.table("raw", "item_versions")
    if not path.exists():
        return now
    past = as_of(timeline(lake.read(path)), instant - 1)
    past = keyed_items(past.filter(pc.is_in(past["item_id"], value_set=now["item_id"].combine_chunks())))
    others = now.filter(pc.invert(pc.is_in(now["item_id"], value_set=past["item_id"].combine_chunks())))
    return pa.concat_tables([past, others.cast(past.schema)]).sort_by("item_id").combine_chunks()


def heard(lake: Lake) -> pa.Table | None:
    """What the lake's items have heard of what a service was told (store.told.TOLD_SCHEMA), in order of position; None
    where it keeps no versions.
    """
    path = lake.table("raw", "item_versions")
    if not path.exists():
        return None
    versions = whole_items(lake.read(path), VERSION_SCHEMA)
    told = versions.filter(pc.is_valid(versions["position"])).sort_by("position")
    return told.select([*ITEM_SCHEMA.names, "valid_from", "position"])


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _none() -> pl.Expr:
    return pl.lit(None, pl.Int64)


def _differing(rows: pl.DataFrame, others: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """The rows that equal none of the others with their keys, in order."""
    place = rows.with_row_index("place")
    both = place.join(others.select(*keys, *_FIELDS), on=keys, how="inner", nulls_equal=True, suffix=" before")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name} before")) for name in _FIELDS)
    return place.join(both.filter(same).select("place"), on="place", how="anti").sort("place").drop("place")
