"""What a source is: anything that can say its days, and read one of them into canonical events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol

import numpy as np
import pyarrow as pa

from recsys.events import DAY_MS
from recsys.sources.derived import Rules
from recsys.vocabulary import END_INSTANT_MS, FIRST_INSTANT_MS

# A row that could not be read into EVENT_SCHEMA: where it stood, why it was refused, what it said.
REJECTED_SCHEMA: Final = pa.schema([("origin", pa.string()), ("reason", pa.string()), ("text", pa.string())])

EARLIEST_MS: Final = FIRST_INSTANT_MS  # both may be an event's
LATEST_MS: Final = END_INSTANT_MS - 1


class SourceError(RuntimeError):
    """The data folder cannot be used; one line that says which file, what is wrong and what to do."""


@dataclass(frozen=True)
class DayOfEvents:
    """One local day of a source, in the order the source has it.

    `rows_read` counts the source's own rows that belong to the day, `rows_kept` those that became events: what is
    missing between them stands in `rejected`, so rows_read == rows_kept + rejected.num_rows.
    """

    events: pa.Table  # EVENT_SCHEMA, position null
    rejected: pa.Table  # REJECTED_SCHEMA
    rows_read: int
    rows_kept: int


class Source(Protocol):
    """Canonical events by local day of `received_at`, and the items and users they speak of."""

    @property
    def name(self) -> str: ...

    @property
    def utc_offset_ms(self) -> int:
        """Local calendar time minus UTC, in ms: day = (received_at + utc_offset_ms) // DAY_MS."""
        ...

    @property
    def derives(self) -> Rules:
        """What its events imply, and `read_day` adds: the service adds it to what it is told."""
        ...

    @property
    def kinds(self) -> Collection[str]:
        """Kinds of its own events, where what they imply goes by them; else none."""
        ...

    def days(self) -> Mapping[str, int]:
        """Rows by local day of `received_at`, in order of the days; a day without rows is not among them."""
        ...

    def digests(self) -> Mapping[str, str]:
        """A word of each day's rows, in whatever order: another one where any of them changed. Only those of one
        version of polars compare (what stands before the colon). None where days never change.
        """
        ...

    def first_day(self) -> str: ...

    def last_day(self) -> str: ...

    def read_day(self, day: str) -> DayOfEvents:
        """Every event received on `day` (YYYY-MM-DD); a day without any gives no rows, not an error."""
        ...

    def items(self) -> pa.Table: ...

    def users(self) -> pa.Table: ...

    def attributes(self) -> pa.Table:
        """What is said of users, ATTRIBUTE_SCHEMA; no rows where nothing is."""
        ...

    def refused(self, table: Literal["items", "users"]) -> pa.Table:
        """Values of the catalogue or of the users that could not be read, REJECTED_SCHEMA."""
        ...


def day_number(day: str) -> int:
    """Days since the epoch of a calendar day written YYYY-MM-DD.

    Raises:
        SourceError: when it is no calendar day.
    """
    try:
        return int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1000 // DAY_MS
    except ValueError:
        raise SourceError(f"{day!r} is not a day: write it as YYYY-MM-DD") from None


def day_name(number: int) -> str:
    """The calendar day, YYYY-MM-DD, of days since the epoch."""
    return datetime.fromtimestamp(number * DAY_MS / 1000, UTC).strftime("%Y-%m-%d")


def rows_by_day(received_at: np.ndarray, utc_offset_ms: int) -> dict[str, int]:
    """Rows of each local day that has any; `received_at` is int64 [n], UTC ms."""
    numbers, counts = np.unique((received_at + utc_offset_ms) // DAY_MS, return_counts=True)
    return {day_name(int(number)): int(rows) for number, rows in zip(numbers, counts, strict=True)}


def check_columns(origin: str, columns: Iterable[str], required: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a file whose columns are not the documented ones.

    Raises:
        SourceError: naming the file and the missing or unknown columns.
    """
    have, known = list(columns), list(known)
    if missing := [c for c in required if c not in have]:
        raise SourceError(f"{origin} lacks the column {', '.join(missing)}: it has {', '.join(have)}")
    if unknown := [c for c in have if c not in known]:
        raise SourceError(
            f"{origin} has an unknown column {', '.join(unknown)}: remove or rename it ({', '.join(known)})"
        )


def rejected_rows(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([dict(row) for row in rows], REJECTED_SCHEMA)
