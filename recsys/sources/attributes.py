"""What is said of users beside their ids: every other column of users.*, as words of the form `name=value`.

A value is a word by itself, whatever the type of its column was yesterday: text and numbers become `plan=premium` and
`age=34`, a list one word an entry, and a finite number also a word of its size (`age~6`: 32 to 63), since of a number
with many values no single one is seen often enough to learn from.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import polars as pl

from recsys.events import MAX_ID_BYTES, OFFSETS, UTC_OFFSET
from recsys.sources import values
from recsys.sources.tabular import Raw, Torn
from recsys.vocabulary import CONTROLS, MISSING_WORDS

MAX_WORDS: Final = 64  # about one user
MAX_VALUES: Final = 10_000  # of one column: with more it is an id, each word of which says nothing of anybody else
_WORDS: Final = pl.List(pl.String)


def attribute_words(raw: Raw, fields: Collection[str]) -> tuple[pl.Series, Torn]:
    """Words of each row, list<text> [n], sorted, of the columns that are none of `fields`; what could not be read."""
    names = dict.fromkeys(column.partition("@")[0] for column in raw.frame.columns)
    parts, refused = [], Torn()
    for name in names:
        if name and name not in fields:
            words, problems = _column(raw, name)
            parts.append(words)
            refused += problems
    every = pl.concat([pl.DataFrame(schema={"row": pl.Int64, "word": pl.String}), *parts]).unique().sort("row", "word")
    by_row = every.group_by("row").agg("word")
    rows = pl.DataFrame({"row": pl.int_range(len(raw.rows), eager=True)})
    said = rows.join(by_row, on="row", how="left", maintain_order="left")["word"].fill_null(
        pl.Series([[]], dtype=_WORDS)
    )
    many = said.list.len() > MAX_WORDS
    refused += raw.set_aside(values.why((many, f"over {MAX_WORDS} words about a user: the rest is left out")))
    return said.list.head(MAX_WORDS), refused


def _column(raw: Raw, name: str) -> tuple[pl.DataFrame, Torn]:
    """(row, word) of one attribute."""
    place = pl.int_range(len(raw.rows), eager=True)
    readings = [_entries(column) for column in raw.columns(name)]
    rows = pl.concat([pl.DataFrame({"row": place, "value": reading.value}) for reading in readings]).explode("value")
    rows = rows.with_columns(value=pl.col("value").str.strip_chars().str.to_lowercase())
    rows = rows.filter(~pl.col("value").is_in([word.lower() for word in MISSING_WORDS]))
    rows = rows.with_columns(word=pl.concat_str(pl.lit(f"{name}="), "value"))
    broken = rows.filter((pl.col("word").str.len_bytes() > MAX_ID_BYTES) | pl.col("word").str.contains(CONTROLS))
    is_broken = place.is_in(broken["row"].implode())
    reason = f"{name} is longer than {MAX_ID_BYTES} bytes or holds a control character: left out"
    refused = raw.set_aside(values.why((is_broken, reason)))
    refused += raw.set_aside(f"{name} " + values.first(*(reading.problem for reading in readings)) + ": left out")
    rows = rows.join(broken.select("row", "value"), on=["row", "value"], how="anti")
    if name == UTC_OFFSET:
        real = pl.col("value").is_in([str(minutes) for minutes in OFFSETS])
        reason = f"{name} is no whole number from {OFFSETS[0]} to {OFFSETS[-1]}: left out"
        refused += raw.set_aside(values.why((place.is_in(rows.filter(~real)["row"].implode()), reason)))
        rows = rows.filter(real)
    sizes = rows.select("row", word=_size(name)).drop_nulls()
    if (distinct := rows["value"].n_unique()) > MAX_VALUES:
        reason = f"{name} has {distinct:,} values: with more than {MAX_VALUES:,} it is an id, and is left out"
        return sizes, [*refused, {"origin": raw.origin, "reason": reason, "text": ""}]
    return pl.concat([rows.select("row", "word"), sizes]), refused


def _entries(column: pl.Series) -> values.Reading:
    """The values of each row as texts: a list, or text parted as tags are."""
    if column.dtype == pl.String or column.dtype.is_nested() or column.dtype == pl.Null:
        return values.tags([column])
    if isinstance(column.dtype, pl.Duration):
        column = values.durations([column]).value
    whole = column.cast(pl.String).str.replace(r"\.0+$", "")
    lists = pl.DataFrame({"value": whole}).select(pl.concat_list("value").list.drop_nulls()).to_series()
    return values.Reading(lists, pl.repeat(None, len(column), dtype=pl.String, eager=True))


def _size(name: str) -> pl.Expr:
    """The word of a finite number's size: how many bits its whole part has, below 2^62."""
    number = pl.col("value").cast(pl.Float64, strict=False)
    whole = pl.when(number.is_finite()).then(number.abs().floor().clip(0, 2**62))
    bits = pl.when(whole < 1).then(0).otherwise((whole.log(2.0) + 1e-9).floor().cast(pl.Int64) + 1)
    sign = pl.when(number < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    return pl.when(number.is_finite()).then(pl.concat_str(pl.lit(f"{name}~"), sign, bits.cast(pl.String)))
