"""Rows of somebody else's files as events, items and users; what cannot be read, with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl

from recsys.events import DAY_MS, ITEM_TYPES, KINDS, MAX_DESCRIPTION_BYTES, ROW, ROW_SEPARATOR, USER_SCHEMA, row_id
from recsys.sources import values
from recsys.sources.attributes import attribute_words
from recsys.sources.source import EARLIEST_MS
from recsys.sources.tabular import Raw, Torn
from recsys.sources.values import Reading
from recsys.vocabulary import LONG_DESCRIPTION, wrong_embedding

RATING: Final = "rating"  # the kind of a row that says a number
USER_FIELDS: Final = (*USER_SCHEMA.names, "valid_from")  # of users.*; every other column is an attribute
NAMES: Final = ("user_id", "item_id", "event_id", "request_id", "impression_id", "shelf", "device")


@dataclass(frozen=True)
class Words:
    """What a log's own words mean: its kinds, and from which rating on something was liked or disliked."""

    kinds: dict[str, str] = field(default_factory=dict)  # own word, lower case -> one of KINDS, or rating
    like: float = 4.0
    dislike: float = 2.0


def event_rows(raw: Raw, words: Words) -> tuple[pl.DataFrame, Torn]:
    """EVENT_SCHEMA's columns of the rows that can be read, with what they say of a `rating`, whether they are one
    (`is_rating`) and whether their instant names no zone (`is_zoneless`); the others.
    """
    names = {name: values.ids(raw.columns(name)) for name in NAMES}
    slot, watch = values.integers(raw.columns("slot")), values.durations(raw.columns("watch_ms"))
    occurred, received = values.instants(raw.columns("occurred_at")), values.instants(raw.columns("received_at"))
    query = values.texts(raw.columns("query"))
    consent, day = values.truths(raw.columns("consent")), values.days(raw.columns("date"))
    kind, no_kind, rating = _kinds(raw, words)
    frame = pl.DataFrame(
        {
            **{name: reading.value for name, reading in names.items()},
            "kind": kind,
            "slot": slot.value,
            "watch_ms": watch.value,
            "query": query.value,
            "occurred_at": occurred.value,
            "received_at": values.first(received.value, occurred.value),
            "date": day.value,
            "consent": consent.value,
            **rating,
            "is_zoneless": values.without_zone(raw.columns("occurred_at")),
        }
    )
    early = frame["date"].str.to_date("%Y-%m-%d").to_physical() < frame["occurred_at"] // DAY_MS - 1  # clocks differ
    too_early = "is before 26 April 1970"
    reason = values.first(
        _named("occurred_at", occurred.problem),
        values.why((frame["occurred_at"].is_null(), "occurred_at is missing")),
        values.why((frame["occurred_at"] < EARLIEST_MS, f"occurred_at {too_early}")),
        _named("received_at", received.problem),
        values.why((frame["received_at"] < EARLIEST_MS, f"received_at {too_early}")),
        no_kind,
        *(_named(name, reading.problem) for name, reading in names.items()),
        _named("slot", slot.problem),
        values.why((~slot.value.is_between(-(2**31), 2**31 - 1), "slot is no integer of 32 bits")),
        _named("watch_ms", watch.problem),
        _named("query", query.problem),
        _named("consent", consent.problem),
        _named("date", day.problem),
        values.why((early, "date is over a day before occurred_at: what is split by it would be learned too soon")),
    )
    refused = raw.set_aside(reason)
    return _completed(frame.filter(reason.is_null())), refused


def _completed(frame: pl.DataFrame) -> pl.DataFrame:
    """What a row does not say: its id is a hash of it, its day the UTC day, and its user consents."""
    words = pl.concat_str((pl.col(c).cast(pl.String).fill_null("") for c in ROW), separator=ROW_SEPARATOR)
    said = frame.select(words + pl.col("query").fill_null("")).to_series()
    nameless = frame["event_id"].is_null()
    hashes = [row_id(s) if n else None for n, s in zip(nameless, said, strict=True)]
    return frame.with_columns(
        event_id=values.first(frame["event_id"], pl.Series(hashes, dtype=pl.String)),
        date=pl.coalesce("date", pl.from_epoch("occurred_at", time_unit="ms").dt.strftime("%Y-%m-%d")),
        consent=pl.col("consent").fill_null(True),
        slot=pl.col("slot").cast(pl.Int32),
        position=pl.lit(None, pl.Int64),
        event_key=pl.lit(None, pl.String),
    )


def _kinds(raw: Raw, words: Words) -> tuple[pl.Series, pl.Series, dict[str, pl.Series]]:
    """The kind of each row, why there is none, and what it says of a rating."""
    ratings = values.numbers(raw.columns("rating"))
    said = values.ids(raw.columns("kind")).value if raw.has("kind") else pl.repeat(RATING, len(raw.rows), eager=True)
    own = said.unique().drop_nulls().to_list()
    meant = {word: words.kinds.get(word.lower(), word.lower()) for word in own}
    unknown = {
        word: f"kind {word[:40]!r} is unknown: use {', '.join(KINDS)}, or say with RECSYS_KINDS what it means"
        for word, kind in meant.items()
        if kind not in KINDS and kind != RATING
    }
    kind = said.replace_strict(meant, return_dtype=pl.String)
    is_rating = kind == RATING
    rated = values.where(
        ratings.value >= words.like, "like", values.where(ratings.value <= words.dislike, "dislike", "click")
    )
    problem = values.first(
        values.why((kind.is_null(), "kind is missing")),
        said.replace_strict(unknown, default=None, return_dtype=pl.String),
        values.where(is_rating, _named("rating", ratings.problem)),
        values.why((is_rating & ratings.value.is_null(), "rating is missing")),
    )
    return values.where(is_rating, rated, kind), problem, {"rating": ratings.value, "is_rating": is_rating}


def embeddings_of(raws: Sequence[Raw]) -> list[Reading]:
    """The embeddings of each file of items. Those of another length than most rows of all files have, or that say
    nothing, cannot be read.
    """
    read = [values.vectors(raw.columns("embedding")) for raw in raws]
    lengths = Counter(n for reading in read for n in reading.value.list.len().drop_nulls().to_list())
    due = max(lengths, key=lambda n: lengths[n], default=0)
    judged = []
    for reading in read:
        said = [None if row is None else np.array(row, np.float64) for row in reading.value.to_list()]
        wrong = [None if row is None else wrong_embedding(row, due) for row in said]
        problem = values.first(reading.problem, pl.Series(wrong, dtype=pl.String))
        judged.append(Reading(values.where(problem.is_null(), reading.value.cast(pl.List(pl.Float32))), problem))
    return judged


def item_rows(raw: Raw, embedding: Reading) -> tuple[pl.DataFrame, Torn]:
    """VALID_ITEM_SCHEMA's columns of the rows that name an item, and whatever could not be read.

    Args:
        embedding: of `embeddings_of`
    """
    item_id = values.ids(raw.columns("item_id"))
    item_type = values.ids(raw.columns("item_type")).value.str.to_lowercase()
    creator, category = values.ids(raw.columns("creator_id")), values.ids(raw.columns("category"))
    tags, title = values.tags(raw.columns("tags")), values.texts(raw.columns("title"))
    duration = values.durations(raw.columns("duration_ms"))
    published, available = values.instants(raw.columns("published_at")), values.truths(raw.columns("is_available"))
    valid = values.instants(raw.columns("valid_from"))
    language, creator_name = values.ids(raw.columns("language")), values.ids(raw.columns("creator_name"))
    description = values.texts(raw.columns("description"))
    is_long = description.value.str.len_bytes() > MAX_DESCRIPTION_BYTES
    negative = duration.value < 0
    known = item_type.is_in(list(ITEM_TYPES)).fill_null(True)
    frame = pl.DataFrame(
        {
            "item_id": item_id.value,
            "item_type": values.where(known, item_type).fill_null("video"),
            "creator_id": creator.value,
            "category": values.first(category.value, tags.value.list.first()),
            "tags": tags.value,
            "title": title.value,
            "duration_ms": values.where(~negative, duration.value).fill_null(0),
            "published_at": _since_1970(published),
            "is_available": values.where(available.problem.is_null(), available.value.fill_null(True)).fill_null(False),
            "valid_from": values.where(valid.value < 0, 0, valid.value),
            "language": language.value,
            "description": values.where(~is_long, description.value),
            "creator_name": creator_name.value,
            "embedding": embedding.value,
            "id_is_integer": values.are_integers(raw.columns("item_id"), item_id.value, raw.is_typed("item_id")),
        }
    )
    nameless = values.first(
        _named("item_id", item_id.problem), values.why((item_id.value.is_null(), "item_id is missing"))
    )
    refused = raw.set_aside(nameless)
    for problem in (
        values.why((~known, f"item_type is none of {', '.join(ITEM_TYPES)}: read as video")),
        _named("creator_id", creator.problem, "read as unknown"),
        _named("category", category.problem, "read as unknown"),
        _named("tags", tags.problem, "left out"),
        _named("title", title.problem, "left out"),
        _named("duration_ms", duration.problem, "read as unknown"),
        values.why((negative, "duration_ms is negative: read as unknown")),
        _named("published_at", published.problem, "read as unknown"),
        _named("is_available", available.problem, "read as false"),
        _named("valid_from", valid.problem, "read as not said"),
        _named("language", language.problem, "left out"),
        _named("description", description.problem, "left out"),
        values.why((is_long, f"description {LONG_DESCRIPTION}: left out")),
        _named("creator_name", creator_name.problem, "left out"),
        _named("embedding", embedding.problem, "left out"),
    ):
        refused += raw.set_aside(values.where(nameless.is_null(), problem))
    return frame.filter(nameless.is_null()), refused


def user_rows(raw: Raw) -> tuple[pl.DataFrame, Torn]:
    """USER_SCHEMA's columns, `valid_from` and `attributes` of rows that name a user, and whatever could not be read.

    `valid_from` is null where it is not said.
    """
    user_id, registered = values.ids(raw.columns("user_id")), values.instants(raw.columns("registered_at"))
    valid = values.instants(raw.columns("valid_from"))
    attributes, unworded = attribute_words(raw, USER_FIELDS)
    columns = {"registered_at": _since_1970(registered), "valid_from": valid.value, "attributes": attributes}
    frame = pl.DataFrame({"user_id": user_id.value, **columns})
    nameless = values.first(
        _named("user_id", user_id.problem), values.why((user_id.value.is_null(), "user_id is missing"))
    )
    unread = _named("registered_at", registered.problem, "read as unknown")
    refused = raw.set_aside(nameless) + raw.set_aside(values.where(nameless.is_null(), unread))
    undated = _named("valid_from", valid.problem, "read as not said")
    refused += raw.set_aside(values.where(nameless.is_null(), undated)) + unworded
    return frame.filter(nameless.is_null()), refused


def _since_1970(instant: Reading) -> pl.Series:
    """0 is for unknown, so what is older than 1970 is of its first millisecond."""
    return values.where(instant.value < 0, 1, instant.value).fill_null(0)


def _named(name: str, problem: pl.Series, ending: str = "") -> pl.Series:
    if problem.null_count() == len(problem):
        return problem
    return f"{name} " + problem + (f": {ending}" if ending else "")
