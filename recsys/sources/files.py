"""A folder of your own logs: events and items (and users) as Parquet, CSV or JSON lines, in the schema below."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import xxhash

from recsys.events import DAY_MS, EVENT_SCHEMA, ITEM_SCHEMA, ITEM_TYPES, KINDS, USER_SCHEMA
from recsys.sources.source import (
    EARLIEST_MS,
    LATEST_MS,
    REJECTED_SCHEMA,
    DayOfEvents,
    IdType,
    SourceError,
    day_name,
    day_number,
    rejected_rows,
)
from recsys.sources.tabular import SUFFIXES, read_table

# table -> column -> (required, what it holds and what an absent one means)
SCHEMA: Final[dict[str, dict[str, tuple[bool, str]]]] = {
    "events": {
        "kind": (True, f"one of {', '.join(KINDS)}"),
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
        "date": (False, "calendar day YYYY-MM-DD by which to split; else the UTC day of occurred_at"),
        "consent": (False, "false: never used; else true"),
    },
    "items": {
        "item_id": (True, "text or integer"),
        "item_type": (False, f"one of {', '.join(ITEM_TYPES)}; else video"),
        "creator_id": (False, "who made it"),
        "category": (False, "the main one; else the first tag"),
        "tags": (False, "a list, or text parted by commas"),
        "title": (False, "shown in answers"),
        "duration_ms": (False, "else 0, unknown"),
        "published_at": (False, "as occurred_at; else 0, unknown"),
        "is_available": (False, "false: never recommended; else true"),
    },
    "users": {
        "user_id": (True, "text or integer"),
        "registered_at": (False, "as occurred_at; else 0, unknown"),
    },
}
INTEGERS: Final = ("slot", "watch_ms")
TEXTS: Final = ("kind", "user_id", "item_id", "event_id", "request_id", "impression_id", "shelf", "device")


def schema_as_markdown() -> str:
    """The tables of SCHEMA for the README."""
    lines = []
    for table, columns in SCHEMA.items():
        lines += [f"`{table}`", "", "| column | | holds |", "| --- | --- | --- |"]
        lines += [f"| `{name}` | {'required' if due else ''} | {words} |" for name, (due, words) in columns.items()]
        lines.append("")
    return "\n".join(lines)


class Files:
    """A folder with `events.<ext>` or `events/*.<ext>`, `items.<ext>`, optionally `users.<ext>`."""

    name = "files"
    utc_offset_ms = 0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not self._paths("events"):
            raise SourceError(
                f"{folder} holds no events: put events.parquet, events.csv or events.jsonl there, or a folder events/"
            )
        if not self._paths("items"):
            raise SourceError(f"{folder} holds no items: put items.parquet, items.csv or items.jsonl there")

    @property
    def id_type(self) -> IdType:
        ids = pl.concat([self._events["user_id"], self._events["item_id"]]).drop_nulls().unique()
        return "int" if ids.str.contains(r"^(0|[1-9]\d{0,17})$").all() else "str"

    def first_day(self) -> str:
        return day_name(int(self._events["received_at"].min()) // DAY_MS)  # type: ignore[arg-type]

    def last_day(self) -> str:
        return day_name(int(self._events["received_at"].max()) // DAY_MS)  # type: ignore[arg-type]

    def read_day(self, day: str) -> DayOfEvents:
        events = self._events.filter(pl.col("received_at") // DAY_MS == day_number(day))
        rejected = self._rejected if day == self.first_day() else self._rejected.slice(0, 0)
        kept = events.height
        return DayOfEvents(events.to_arrow().cast(EVENT_SCHEMA), rejected, kept + rejected.num_rows, kept)

    def items(self) -> pa.Table:
        frame = self._whole("items")
        tags = _tags(frame)
        category = pl.coalesce(_text(frame, "category"), tags.list.first())
        item_type = _text(frame, "item_type").fill_null("video")
        result = frame.select(
            item_id=_text(frame, "item_id"),
            item_type=item_type,
            creator_id=_text(frame, "creator_id"),
            category=category,
            tags=tags,
            title=_text(frame, "title"),
            duration_ms=_integer(frame, "duration_ms").fill_null(0),
            published_at=_instant(frame, "published_at").fill_null(0),
            is_available=_truth(frame, "is_available").fill_null(True),
        )
        wrong = result.filter(~pl.col("item_type").is_in(list(ITEM_TYPES)))["item_type"]
        if len(wrong):
            raise SourceError(f"items: item_type {wrong[0]!r} is unknown: use {', '.join(ITEM_TYPES)}")
        if result["item_id"].null_count():
            raise SourceError(f"items: {result['item_id'].null_count()} rows have no item_id: fill or remove them")
        return result.unique("item_id", keep="last", maintain_order=True).to_arrow().cast(ITEM_SCHEMA)

    def users(self) -> pa.Table:
        if not self._paths("users"):
            ids = self._events["user_id"].drop_nulls().unique().sort()
            frame = pl.DataFrame({"user_id": ids}).with_columns(registered_at=pl.lit(0, pl.Int64))
        else:
            table = self._whole("users")
            frame = table.select(
                user_id=_text(table, "user_id"), registered_at=_instant(table, "registered_at").fill_null(0)
            ).unique("user_id", keep="last", maintain_order=True)
        return frame.to_arrow().cast(USER_SCHEMA)

    def _paths(self, table: str) -> list[Path]:
        single = [self.folder / f"{table}{suffix}" for suffix in SUFFIXES]
        found = [path for path in single if path.is_file()]
        several = self.folder / table
        return found or sorted(p for p in several.glob("*") if p.suffix in SUFFIXES and p.is_file())

    def _whole(self, table: str) -> pl.DataFrame:
        """A table in which a broken line is an error: it is small, and without it events would lose their items."""
        frames = []
        columns = SCHEMA[table]
        for path in self._paths(table):
            frame, torn = read_table(path, list(columns), [c for c, (due, _) in columns.items() if due])
            if torn:
                raise SourceError(f"{torn[0]['origin']}: {torn[0]['reason']}: repair or remove the line")
            frames.append(frame)
        return pl.concat(frames, how="diagonal_relaxed")

    @cached_property
    def _parsed(self) -> tuple[pl.DataFrame, pa.Table]:
        frames, refused = [], []
        columns = SCHEMA["events"]
        for path in self._paths("events"):
            raw, torn = read_table(path, list(columns), [c for c, (due, _) in columns.items() if due])
            refused += torn
            typed = _typed(raw, path.name)
            broken = typed.filter(pl.col("reason").is_not_null())
            refused += broken.select(REJECTED_SCHEMA.names).to_dicts()
            frames.append(typed.filter(pl.col("reason").is_null()).select(EVENT_SCHEMA.names))
        events = pl.concat(frames)
        if not events.height:
            first = f" (first: {refused[0]['origin']}: {refused[0]['reason']})" if refused else ""
            raise SourceError(f"{self.folder} holds no readable event{first}: see the schema in the README")
        return events, rejected_rows(refused)

    @property
    def _events(self) -> pl.DataFrame:
        return self._parsed[0]

    @property
    def _rejected(self) -> pa.Table:
        return self._parsed[1]


def _typed(raw: pl.DataFrame, origin: str) -> pl.DataFrame:
    """EVENT_SCHEMA columns, and `origin`, `reason` (null for a readable row), `text` of each row."""
    occurred, received = _instant(raw, "occurred_at"), _instant(raw, "received_at")
    first_line = 2 if origin.endswith(".csv") else 1
    frame = raw.with_row_index("row", offset=first_line).with_columns(
        **{f"{name}#": _text(raw, name) for name in TEXTS},
        **{f"{name}#": _integer(raw, name) for name in INTEGERS},
        **{"occurred#": occurred, "given#": received, "received#": pl.coalesce(received, occurred)},
        **{"consent#": _truth(raw, "consent")},
        **{"date#": _text(raw, "date").str.to_date("%Y-%m-%d", strict=False).dt.strftime("%Y-%m-%d")},
    )

    def unreadable(name: str, column: str, words: str) -> list[pl.Expr]:
        if name not in raw.columns:
            return []
        return [pl.when(pl.col(name).is_not_null() & pl.col(column).is_null()).then(pl.lit(f"{name} is {words}"))]

    reasons = [
        *unreadable("occurred_at", "occurred#", "neither milliseconds nor ISO 8601"),
        pl.when(pl.col("occurred#").is_null()).then(pl.lit("occurred_at is missing")),
        *unreadable("received_at", "given#", "neither milliseconds nor ISO 8601"),
        pl.when(~pl.col("received#").is_between(EARLIEST_MS, LATEST_MS)).then(
            pl.lit("received_at is not between 2000 and 2100: give UTC milliseconds")
        ),
        *(e for name in INTEGERS for e in unreadable(name, f"{name}#", "no integer")),
        *unreadable("consent", "consent#", "neither true nor false"),
        *unreadable("date", "date#", "no day as YYYY-MM-DD"),
    ]
    identity = ["occurred", *INTEGERS, *(c for c in TEXTS if c != "event_id")]
    content = pl.concat_str((pl.col(f"{c}#").cast(pl.String).fill_null("") for c in identity), separator="\x1f")
    hashed = content.map_elements(lambda s: xxhash.xxh3_128_hexdigest(s.encode()), return_dtype=pl.String)
    return frame.with_columns(reason=pl.coalesce(*reasons, pl.lit(None, pl.String))).select(
        *(pl.col(f"{c}#").alias(c) for c in TEXTS if c != "event_id"),
        *(pl.col(f"{c}#").alias(c) for c in INTEGERS),
        event_id=pl.coalesce("event_id#", hashed),
        occurred_at=pl.col("occurred#"),
        received_at=pl.col("received#"),
        date=pl.coalesce(pl.col("date#"), pl.from_epoch("occurred#", time_unit="ms").dt.strftime("%Y-%m-%d")),
        consent=pl.col("consent#").fill_null(True),
        position=pl.lit(None, pl.Int64),
        reason="reason",
        origin=pl.format("{}:{}", pl.lit(origin), "row"),
        text=pl.concat_str([pl.col(c).cast(pl.String) for c in raw.columns], separator=",", ignore_nulls=True),
    )


def _text(frame: pl.DataFrame, name: str) -> pl.Expr:
    if name not in frame.columns:
        return pl.lit(None, pl.String)
    return pl.col(name).cast(pl.String)


def _integer(frame: pl.DataFrame, name: str) -> pl.Expr:
    if name not in frame.columns:
        return pl.lit(None, pl.Int64)
    number = pl.col(name).cast(pl.Float64, strict=False)
    return pl.when(number == number.round()).then(number.cast(pl.Int64, strict=False))


def _truth(frame: pl.DataFrame, name: str) -> pl.Expr:
    if name not in frame.columns:
        return pl.lit(None, pl.Boolean)
    word = pl.col(name).cast(pl.String).str.to_lowercase()
    return pl.when(word.is_in(["true", "1"])).then(True).when(word.is_in(["false", "0"])).then(False)


def _tags(frame: pl.DataFrame) -> pl.Expr:
    if "tags" not in frame.columns:
        return pl.lit(None, pl.List(pl.String))
    if isinstance(frame.schema["tags"], pl.List):
        return pl.col("tags").cast(pl.List(pl.String))
    parts = pl.col("tags").cast(pl.String).fill_null("").str.split(",")
    return parts.list.eval(pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != ""))


def _instant(frame: pl.DataFrame, name: str) -> pl.Expr:
    """UTC milliseconds, null where the value is none or no instant."""
    if name not in frame.columns:
        return pl.lit(None, pl.Int64)
    kind = frame.schema[name]
    if isinstance(kind, pl.Datetime):
        return pl.col(name).dt.epoch("ms")
    if kind == pl.Date:
        return pl.col(name).cast(pl.Datetime("ms")).dt.epoch("ms")
    if kind.is_numeric():
        return pl.col(name).cast(pl.Int64, strict=False)
    text = pl.col(name).cast(pl.String).str.strip_chars().str.replace(" ", "T")
    iso = (
        pl.when(text.str.contains(r"T.*(Z|[+-]\d{2}:?\d{2})$"))
        .then(text)
        .when(text.str.contains("T"))
        .then(pl.concat_str(text, pl.lit("Z")))
        .otherwise(pl.concat_str(text, pl.lit("T00:00:00Z")))
    )
    read = iso.str.to_datetime("%+", time_unit="ms", time_zone="UTC", strict=False).dt.epoch("ms")
    return pl.coalesce(text.cast(pl.Int64, strict=False), read)
