"""What a source is: anything that can say its days, and read one of them into canonical events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol

import pyarrow as pa

from recsys.events import DAY_MS
from recsys.settings import Settings

IdType = Literal["int", "str"]

# A row that could not be read into EVENT_SCHEMA: where it stood, why it was refused, what it said.
REJECTED_SCHEMA: Final = pa.schema([("origin", pa.string()), ("reason", pa.string()), ("text", pa.string())])

# Instants outside these years are misread units or broken clocks, not events.
EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01
LATEST_MS: Final = 4_102_444_800_000  # 2100-01-01


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
    def id_type(self) -> IdType:
        """How ids were written in the source, and so in reports: an id is always a string inside."""
        ...

    @property
    def utc_offset_ms(self) -> int:
        """Local calendar time minus UTC, in ms: day = (received_at + utc_offset_ms) // DAY_MS."""
        ...

    def first_day(self) -> str: ...

    def last_day(self) -> str: ...

    def read_day(self, day: str) -> DayOfEvents:
        """Every event received on `day` (YYYY-MM-DD); a day without any gives no rows, not an error."""
        ...

    def items(self) -> pa.Table: ...

    def users(self) -> pa.Table: ...


def open_source(settings: Settings) -> Source:
    """The source that the settings name.

    Raises:
        SourceError: when its folder is missing or holds nothing readable.
    """
    if settings.source == "simulator":
        from recsys.sources.simulator import Simulator

        return Simulator(days=settings.days, users=settings.users, seed=settings.seed)
    if settings.data is None:
        raise SourceError(f"the {settings.source} source needs a folder: set RECSYS_DATA")
    if not settings.data.is_dir():
        raise SourceError(f"RECSYS_DATA={settings.data} is not a folder: name the one that holds the data")
    if settings.source == "kuairand":
        from recsys.sources.kuairand import KuaiRand

        return KuaiRand(settings.data)
    from recsys.sources.files import Files

    return Files(settings.data)


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
