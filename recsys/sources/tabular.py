"""Tables in files as people have them: CSV, JSON lines, Parquet; a broken line is set aside with its reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from recsys.sources.source import SourceError, check_columns

Torn = list[dict[str, str]]  # REJECTED_SCHEMA as dicts
SUFFIXES: Final = (".parquet", ".csv", ".jsonl", ".ndjson")


def read_table(path: Path, known: Sequence[str], needed: Sequence[str]) -> tuple[pl.DataFrame, Torn]:
    """Every known column that the file has, and its broken lines. Text formats give text, Parquet its own types.

    Raises:
        SourceError: the file is unreadable, or has not the right columns.
    """
    if path.suffix == ".csv":
        return read_csv(path, known, needed)
    if path.suffix == ".parquet":
        return _read_parquet(path, known, needed), []
    return _read_json_lines(path, known, needed)


def read_csv(
    path: Path, known: Sequence[str], needed: Sequence[str], columns: Sequence[str] | None = None
) -> tuple[pl.DataFrame, Torn]:
    """Columns as text (`columns`, else all the file has), and the lines whose number of fields is wrong.

    pyarrow's reader, because polars' either refuses a file with one torn line or cuts the line silently.
    """
    torn: Torn = []

    def refuse(row: pyarrow.csv.InvalidRow) -> str:
        reason = f"{row.actual_columns} fields where {row.expected_columns} are due"
        torn.append({"origin": f"{path.name}:{row.number}", "reason": reason, "text": row.text})
        return "skip"

    try:
        with path.open(encoding="utf-8", newline="") as file:
            header = [name.strip().strip('"') for name in file.readline().strip().lstrip("\ufeff").split(",")]
        check_columns(path.name, header, needed, known)
        chosen = list(columns or header)
        table = pyarrow.csv.read_csv(
            path,
            # one thread, because only then pyarrow knows the row's number
            read_options=pyarrow.csv.ReadOptions(use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(invalid_row_handler=refuse),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=chosen,
                column_types=dict.fromkeys(chosen, pa.string()),
                strings_can_be_null=True,
                null_values=[""],
                quoted_strings_can_be_null=True,
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} is not readable CSV ({str(error).splitlines()[0]}): repair or replace it") from None
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None
    return pl.DataFrame(pl.from_arrow(table)), torn


def _read_parquet(path: Path, known: Sequence[str], needed: Sequence[str]) -> pl.DataFrame:
    try:
        check_columns(path.name, pq.read_schema(path).names, needed, known)
        return pl.read_parquet(path)
    except (pa.ArrowInvalid, OSError, pl.exceptions.PolarsError) as error:
        raise SourceError(f"{path} is not readable Parquet ({str(error).splitlines()[0]}): replace it") from None


def _read_json_lines(path: Path, known: Sequence[str], needed: Sequence[str]) -> tuple[pl.DataFrame, Torn]:
    rows: list[dict[str, Any]] = []
    torn: Torn = []
    seen: dict[str, None] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError("not an object")
                except ValueError as error:
                    reason = f"not a JSON object: {error}"
                    torn.append({"origin": f"{path.name}:{number}", "reason": reason, "text": line.strip()})
                    continue
                seen.update(dict.fromkeys(row))
                rows.append(row)
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from None
    if rows or not torn:
        check_columns(path.name, seen if rows else needed, needed, known)
    names = [name for name in known if name in seen] or list(needed)
    columns: dict[str, Any] = {name: [_text(row.get(name)) for row in rows] for name in names}
    return pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String)), torn


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return ",".join(str(part) for part in value)
    return json.dumps(value)
