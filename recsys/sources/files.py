"""A folder of somebody's own logs: events and items (and users) as Parquet, CSV or JSON, in the schema below."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, NamedTuple

import polars as pl
import pyarrow as pa

from recsys.events import (
    ATTRIBUTE_SCHEMA,
    DAY_MS,
    EVENT_SCHEMA,
    ITEM_SCHEMA,
    ITEM_TYPES,
    KINDS,
    MAX_DESCRIPTION_BYTES,
    USER_SCHEMA,
    VALID_ITEM_SCHEMA,
)
from recsys.sources.derived import Heartbeats, Rules, one_play_a_view, with_derived
from recsys.sources.folder import look_into
from recsys.sources.rows import RATING, Words, embeddings_of, event_rows, item_rows, user_rows
from recsys.sources.source import DayOfEvents, SourceError, day_name, day_number, rejected_rows, rows_by_day
from recsys.sources.tabular import EVERY, Raw, Torn, read_table

# table -> column -> (required, what it holds and what an absent one means)
FILE_COLUMNS: Final[dict[str, dict[str, tuple[bool, str]]]] = {
    "events": {
        "kind": (True, f"one of {', '.join(KINDS)}, or what RECSYS_KINDS maps to one; not needed beside `rating`"),
        "user_id": (True, "text or integer"),
        "item_id": (True, "text or integer"),
        "occurred_at": (True, "when it happened: UTC milliseconds, or ISO 8601 (UTC where it names no zone)"),
        "received_at": (False, "when your log learned of it; else occurred_at"),
        "event_id": (False, "the same for a repeated delivery; else a hash of the row"),
        "request_id": (False, "the slate (one answer, one page) the item was part of"),
        "impression_id": (
            False,
            "event_id of the impression that an outcome answers; else the latest of that pair",
        ),
        "shelf": (False, "surface: feed, podcasts, ..."),
        "device": (False, "android, web, ..."),
        "slot": (False, "place in the slate, 0 first"),
        "watch_ms": (False, "plays: milliseconds watched"),
        "query": (False, "searches: the words; a search needs no item_id"),
        "date": (False, "day YYYY-MM-DD by which to split, at most one before occurred_at; else its UTC day"),
        "consent": (False, "false: never used; else true"),
        "rating": (False, "of a row of kind `rating`, or of every row where there is no kind: a number"),
    },
    "items": {
        "item_id": (True, "text or integer"),
        "item_type": (False, f"one of {', '.join(ITEM_TYPES)}; else video"),
        "creator_id": (False, "who made it"),
        "category": (False, "the main one; else the first tag"),
        "tags": (False, "a list, or text parted by commas, else by \\|, else by semicolons"),
        "title": (False, "shown in answers; its words are read as those of the next three are"),
        "description": (False, f"text of at most {MAX_DESCRIPTION_BYTES:,} bytes"),
        "creator_name": (False, "of at most 256 bytes"),
        "language": (False, "`de`, or `de-CH`, which is read as `de`"),
        "embedding": (
            False,
            "by your own text, image or audio model: a list of finite numbers, as many as most rows have; also text "
            "parted by commas, blanks or \\|",
        ),
        "duration_ms": (False, "else 0, unknown"),
        "published_at": (False, "as occurred_at; else 0, unknown"),
        "is_available": (False, "false: never recommended; else true"),
        "valid_from": (False, "as occurred_at; several rows of an item, each from its instant on; else by the days"),
    },
    "users": {
        "user_id": (True, "text or integer"),
        "registered_at": (False, "as occurred_at; else 0, unknown"),
        "valid_from": (False, "as occurred_at; several rows of a user, each from its instant on; else by the days"),
        "any other": (False, "an attribute: text, numbers, or several values as in tags (country, age_band, tastes)"),
    },
}


def schema_as_markdown() -> str:
    """The tables of FILE_COLUMNS for the README."""
    lines = []
    for table, columns in FILE_COLUMNS.items():
        lines += [f"`{table}`", "", "| column | | holds |", "| --- | --- | --- |"]
        lines += [f"| `{name}` | {'required' if due else ''} | {words} |" for name, (due, words) in columns.items()]
        lines.append("")
    return "\n".join(lines)


class Said(NamedTuple):
    """How a log says things: what no event tells any more."""

    zoneless: float  # share of the instants that name no zone
    least: float | None  # the smallest rating; None where no row is one
    most: float | None
    unrated: list[str]  # kinds of rows that say a rating and are none


class Files:
    """A folder with `events.<ext>` or files below `events/`, likewise `items`, optionally `users`.

    Args:
        words: what the log's own words mean.

    Raises:
        SourceError: there are no events or no items.
    """

    name = "files"
    utc_offset_ms = 0

    def __init__(self, folder: Path, words: Words | None = None, heartbeats: Heartbeats = "none") -> None:
        self.folder, self.words, self.heartbeats = folder, words or Words(), heartbeats
        self._found = look_into(folder, list(FILE_COLUMNS))
        for table in ("events", "items"):
            if not self._found.tables[table]:
                others = f" (it has {', '.join(self._found.unread)[:200]})" if self._found.unread else ""
                raise SourceError(
                    f"{folder} holds no {table}{others}: put {table}.parquet, {table}.csv, {table}.jsonl or "
                    f"{table}.json there, or a folder {table}/"
                )

    def days(self) -> dict[str, int]:
        return self._rows

    def digests(self) -> dict[str, str]:
        rows = self._events.hash_rows(seed=1) // 2**24  # of 40 bits: the sum of a day of 16 million fits into 64
        said = self._events.select(rows, day=pl.col("received_at") // DAY_MS)
        by_day = said.group_by("day").agg(pl.col(rows.name).sum()).iter_rows()
        return {day_name(day): f"{pl.__version__}:{digest:x}" for day, digest in by_day}

    def first_day(self) -> str:
        return min(self._rows)

    def last_day(self) -> str:
        return max(self._rows)

    def read_day(self, day: str) -> DayOfEvents:
        of_day = pl.col("received_at") // DAY_MS == day_number(day)
        rejected = self._rejected if day == self.first_day() else self._rejected.slice(0, 0)
        kept = self._events.filter(of_day).height  # of the source's own rows: heartbeats of one view are one event
        events = self._views.filter(of_day).to_arrow().cast(EVENT_SCHEMA)
        return DayOfEvents(
            with_derived(events, self._durations, self.derives), rejected, kept + rejected.num_rows, kept
        )

    @cached_property
    def derives(self) -> Rules:
        """What the events of this log imply."""
        return Rules.of(self.kinds)

    @cached_property
    def kinds(self) -> list[str]:
        return self._events["kind"].drop_nulls().unique().to_list()

    @cached_property
    def _views(self) -> pl.DataFrame:
        return one_play_a_view(self._events, self.heartbeats)

    @cached_property
    def _durations(self) -> dict[str, int]:
        items = self.items()
        return dict(zip(items["item_id"].to_pylist(), items["duration_ms"].to_pylist(), strict=True))

    def events(self) -> pl.DataFrame:
        """Every event of the log as it stands there, EVENT_SCHEMA."""
        return self._events

    @property
    def said(self) -> Said:
        return self._read_events[2]

    def items(self) -> pa.Table:
        schema = VALID_ITEM_SCHEMA if "valid_from" in self._items.columns else ITEM_SCHEMA
        return self._items.select(schema.names).to_arrow().cast(schema)

    def users(self) -> pa.Table:
        if self._found.tables["users"]:
            valid_from = pl.col("valid_from").fill_null(0)
            frame = self._read_users[0].filter(valid_from <= time.time_ns() // 1_000_000)
            frame = frame.sort(valid_from, maintain_order=True).unique("user_id", keep="last", maintain_order=True)
        else:
            ids = self._events["user_id"].drop_nulls().unique().sort()
            frame = pl.DataFrame({"user_id": ids}).with_columns(registered_at=pl.lit(0, pl.Int64))
        return frame.select(USER_SCHEMA.names).to_arrow().cast(USER_SCHEMA)

    def attributes(self) -> pa.Table:
        rows = self._read_users[0] if self._found.tables["users"] else None
        if rows is None or not (rows["attributes"].list.len() > 0).any():
            return ATTRIBUTE_SCHEMA.empty_table()
        return rows.select(ATTRIBUTE_SCHEMA.names).to_arrow().cast(ATTRIBUTE_SCHEMA)

    def refused(self, table: Literal["items", "users"]) -> pa.Table:
        """What could not be read of the items or the users: REJECTED_SCHEMA, one row a value."""
        if table == "users" and not self._found.tables["users"]:
            return rejected_rows([])
        return rejected_rows(self._read_users[1] if table == "users" else self._read_items[1])

    def files(self) -> dict[str, list[str]]:
        """The files that are read, of each table, by their paths below the folder."""
        return {table: [file.origin for file in files] for table, files in self._found.tables.items()}

    def ignored(self) -> list[str]:
        """A line for every thing below the folder that is not read."""
        lines = []
        if self._found.unread:
            unread, tables = self._found.unread, ", ".join(FILE_COLUMNS)
            lines.append(f"{_some(unread, 5)}: {len(unread)} below the folder that are no {tables}")
        _ = self._events, self.users()
        return lines + [
            f"{table}: the columns {_some([name or '(without a name)' for name in names])}, which nobody knows"
            for table, names in self._kept_out.items()
        ]

    @cached_property
    def _kept_out(self) -> dict[str, dict[str, None]]:
        """Columns that nobody knows, by table."""
        return {}

    def _raw(self, table: str) -> Iterator[Raw]:
        columns = FILE_COLUMNS[table]
        needed = [name for name, (due, _) in columns.items() if due and name != "kind"]
        for file in self._found.tables[table]:
            raw = read_table(file, EVERY if table == "users" else list(columns), needed, fields=columns)
            if table == "events" and len(raw.rows) and not (raw.has("kind") or raw.has(RATING)):
                raise SourceError(f"{file.origin} lacks the column kind (or rating): it says not what happened")
            for name in raw.ignored:
                self._kept_out.setdefault(table, {})[name] = None
            yield raw

    @property
    def rewritten(self) -> dict[str, int]:
        """Items and users of whom one file has rows that say different things, without `valid_from`."""
        users = self._read_users[2] if self._found.tables["users"] else 0
        return {"items": self._read_items[2], "users": users}

    @cached_property
    def _read_items(self) -> tuple[pl.DataFrame, Torn, int]:
        raws = list(self._raw("items"))
        files = zip(raws, embeddings_of(raws), strict=True)
        frames, refused = _gathered((raw, *item_rows(raw, embedding)) for raw, embedding in files)
        rewritten = sum(_rewritten(frame.drop("id_is_integer"), "item_id") for frame in frames)
        items = pl.concat(frames)
        if not items.height:
            raise SourceError(f"{self.folder} holds no readable item{_mostly(refused)}: see docs/files.md")
        first_written = pl.col("id_is_integer").first().over("item_id")
        items = items.with_columns(first_written).unique(["item_id", "valid_from"], keep="last", maintain_order=True)
        return (items if items["valid_from"].count() else items.drop("valid_from")), refused, rewritten

    @cached_property
    def _read_users(self) -> tuple[pl.DataFrame, Torn, int]:
        frames, refused = _gathered((raw, *user_rows(raw)) for raw in self._raw("users"))
        return pl.concat(frames), refused, sum(_rewritten(frame, "user_id") for frame in frames)

    @cached_property
    def _read_events(self) -> tuple[pl.DataFrame, pa.Table, Said]:
        _ = self._items  # a broken catalogue is told before the events cost their time
        frames, refused = _gathered((raw, *event_rows(raw, self.words)) for raw in self._raw("events"))
        events = pl.concat(frames)
        if not events.height:
            why = _mostly(refused) or f" (no row in {', '.join(self.files()['events'])[:200]})"
            raise SourceError(f"{self.folder} holds no readable event{why}: see docs/files.md")
        rating = pl.col("rating")
        least, most = events.filter("is_rating").select(rating.min(), rating.max().alias("most")).row(0)
        unrated = events.filter(rating.is_not_null(), ~pl.col("is_rating"))["kind"].unique().sort()
        said = Said(events.select(pl.col("is_zoneless").mean()).item(), least, most, unrated.to_list())
        return events.select(EVENT_SCHEMA.names), rejected_rows(refused), said

    @cached_property
    def _rows(self) -> dict[str, int]:
        return rows_by_day(self._events["received_at"].to_numpy(), self.utc_offset_ms)

    @property
    def _items(self) -> pl.DataFrame:
        return self._read_items[0]

    @property
    def _events(self) -> pl.DataFrame:
        return self._read_events[0]

    @property
    def _rejected(self) -> pa.Table:
        return self._read_events[1]


def _some(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _gathered(files: Iterable[tuple[Raw, pl.DataFrame, Torn]]) -> tuple[list[pl.DataFrame], Torn]:
    """The rows of each file, and all that was set aside."""
    frames, refused = [], []
    for raw, frame, unread in files:
        frames.append(frame)
        refused += raw.torn + unread
    return frames, refused


def _rewritten(frame: pl.DataFrame, name: str) -> int:
    """How many ids have rows of no instant that say different things."""
    several = frame.filter(pl.col("valid_from").is_null(), pl.col(name).is_duplicated())
    told = several.with_columns(said=several.hash_rows()).group_by(name).agg(pl.col("said").n_unique())
    return told.filter(pl.col("said") > 1).height


def _mostly(refused: Torn) -> str:
    """The reason of most rows: the first one may be that of a single torn line."""
    if not refused:
        return ""
    reason, rows = Counter(row["reason"] for row in refused).most_common(1)[0]
    origin = next(row["origin"] for row in refused if row["reason"] == reason)
    return f" ({rows:,} of {len(refused):,}, first {origin}: {reason})"
