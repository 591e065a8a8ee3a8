"""Which files below a folder hold which table, and which hold none."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from recsys.sources.source import SourceError

FORMATS: Final = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
}
COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class TableFile:
    """One file of a table. `origin` names it in messages: its path below the folder."""

    path: Path
    origin: str
    format: str  # parquet, csv, json
    compression: str | None  # gzip, zstd
    partitions: dict[str, str | None] = field(default_factory=dict)  # of the folders it lies in (date=2026-11-02)


@dataclass(frozen=True)
class Folder:
    """What a folder holds: the files of each table in the order of `_place`, and the files of none."""

    tables: dict[str, list[TableFile]]
    unread: list[str]


def look_into(folder: Path, tables: Sequence[str]) -> Folder:
    """The files of each table: `<table>.<ext>` and everything, however deep, below `<table>/`.

    Hidden files, and those that Spark and Hive write for themselves, are left out.

    Raises:
        SourceError: a folder cannot be listed, a name is not UTF-8, or a table is one that only its own engine reads
            right.
    """
    files_of: dict[str, list[TableFile]] = {name: [] for name in tables}
    unread = []
    for path in sorted(_listed(folder)):
        if _hidden(path.name):
            continue
        table, _, _ = path.name.lower().partition(".")
        if path.is_dir():
            if table not in files_of:
                unread.append(f"{_readable(path.relative_to(folder))}/")
                continue
            below = _files_below(path)
        else:
            below = iter([path])
        for file in below:
            read = _table_file(file, file.relative_to(folder))
            if read is None or table not in files_of or (file == path and not _names(path.name, table)):
                unread.append(_readable(file.relative_to(folder)))
            else:
                _check_name(file)
                files_of[table].append(read)
    return Folder({name: sorted(files, key=_place) for name, files in files_of.items()}, sorted(unread))


def _place(file: TableFile) -> tuple[list[str | int], str]:
    """By path, numbers by their value: of an item in part-9 and in part-10 the later word is part-10's."""
    parts = re.split("([0-9]+)", file.origin)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], file.origin


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror or error}") from None


def _readable(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "replace")


def _check_name(path: Path) -> None:
    """A file of other bytes than UTF-8 in its path could be told in no report, and is opened by not every reader."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise SourceError(f"the name {_readable(path)} is not UTF-8: rename it") from None


def _hidden(name: str) -> bool:
    return name.startswith((".", "_")) or name.endswith(".crc")


def _names(file: str, table: str) -> bool:
    """Whether the name is the table's and its endings, as events.csv.gz, and not as events.old.csv."""
    return all(f".{ending}" in FORMATS | COMPRESSIONS for ending in file.lower().split(".")[1:])


def _engine(place: Path, folders: Sequence[str]) -> str | None:
    """Whose table it is, where only its own engine knows which rows of the files still stand."""
    if "_delta_log" in folders:
        return "a Delta"
    if ".hoodie" in folders:
        return "a Hudi"
    is_iceberg = "metadata" in folders and any((place / "metadata").glob("*.metadata.json"))
    return "an Iceberg" if is_iceberg else None


def _files_below(folder: Path) -> Iterator[Path]:
    """Every file, links followed, each folder once."""
    seen: set[str] = set()

    def stop(error: OSError) -> None:
        raise SourceError(f"{error.filename} cannot be read: {error.strerror or error}")

    for place, folders, files in os.walk(folder, followlinks=True, onerror=stop):
        if engine := _engine(Path(place), folders):
            raise SourceError(
                f"{place} is {engine} table, whose files hold removed rows too: export it as plain Parquet"
            )
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(f for f in folders if not _hidden(f))
        if real in seen:
            continue
        seen.add(real)
        yield from (Path(place, name) for name in sorted(files) if not _hidden(name))


def _table_file(path: Path, origin: Path) -> TableFile | None:
    endings = [e.lower() for e in path.suffixes]
    compression = COMPRESSIONS.get(endings[-1]) if endings else None
    ending = endings[-2:-1] if compression else endings[-1:]
    form = FORMATS.get(ending[0]) if ending else None
    if form is None:
        return None
    pairs = (part.partition("=") for part in origin.parent.parts if "=" in part)
    partitions = {
        unquote(key).strip().lower(): None if value == _NO_VALUE else unquote(value) for key, _, value in pairs
    }
    return TableFile(path, origin.as_posix(), form, compression, partitions)
