"""Where tables lie below RECSYS_HOME, and how a file is replaced without a reader ever seeing half of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


class LakeError(RuntimeError):
    """A table is missing or unreadable; the message says which asset writes it."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path` in one step, on failure nothing changes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def content_hash(path: Path) -> str:
    """sha256 of a file, or of a folder's files and their names."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        named = [(file.relative_to(path).as_posix(), content_hash(file)) for file in files]
        return hashlib.sha256(json.dumps(named).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """What was written to a file, or which names a folder has, is on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append one JSON line, durably; a line that a killed writer left torn stays alone."""
    torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write(("\n" if torn else "") + json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


@dataclass(frozen=True)
class Lake:
    """The folders of one RECSYS_HOME. A day-partitioned table is a folder of `<YYYY-MM-DD>.parquet`."""

    home: Path

    def table(self, *name: str) -> Path:
        """File of an unpartitioned table, e.g. `table("cleaned", "items")`."""
        return self.home.joinpath("lake", *name).with_suffix(".parquet")

    def day(self, day: str, *name: str) -> Path:
        """File of one day of a partitioned table, e.g. `day("2026-01-05", "cleaned", "events")`."""
        return self.home.joinpath("lake", *name, f"{day}.parquet")

    def days(self, *name: str) -> list[str]:
        """Days a partitioned table has, in order."""
        return sorted(p.stem for p in self.home.joinpath("lake", *name).glob("[0-9]*.parquet"))

    def write(self, table: pa.Table, path: Path) -> int:
        """Replace one file of the lake atomically; returns its rows."""
        with replacing(path) as temporary:
            pq.write_table(table, temporary, compression="zstd", compression_level=1)
        return table.num_rows

    def there(self, path: Path) -> Path:
        """The path of a file or folder of the home.

        Raises:
            LakeError: when it was never materialized.
        """
        if not path.exists():
            raise LakeError(f"{self._name(path)} is not there yet: materialize it first (make run, or the Dagster UI)")
        return path

    def read(self, path: Path, columns: Sequence[str] | None = None) -> pa.Table:
        """One file.

        Raises:
            LakeError: when it was never materialized, or cannot be read.
        """
        try:
            return pq.read_table(self.there(path), columns=list(columns) if columns else None)
        except pa.ArrowInvalid as error:
            raise LakeError(f"{self._name(path)} is not readable Parquet ({error}): materialize it again") from None

    def read_days(self, days: Sequence[str], *name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Those days of a partitioned table, one below the other, in the order given.

        Raises:
            LakeError: there is no such day, or one cannot be read.
        """
        if not days:
            raise LakeError(
                f"lake/{'/'.join(name)} has no such day yet: materialize it first (make run, or the Dagster UI)"
            )
        return pa.concat_tables([self.read(self.day(day, *name), columns) for day in days])

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.home)) if path.is_relative_to(self.home) else path.name

    @property
    def reports(self) -> Path:
        return self.home / "reports"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def registry(self) -> Path:
        return self.home / "registry"

    @property
    def store(self) -> Path:
        return self.home / "store"

    @property
    def milvus(self) -> Path:
        return self.home / "milvus"

    @property
    def served_log(self) -> Path:
        return self.home / "served_log"
