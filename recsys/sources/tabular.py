"""Tables in files as people have them: CSV, JSON, Parquet, compressed or not; a broken row is set aside, and why."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from recsys.sources.arrow import frame_of
from recsys.sources.folder import COMPRESSIONS, TableFile
from recsys.sources.source import SourceError, check_columns

Torn = list[dict[str, str]]  # REJECTED_SCHEMA as dicts
DELIMITERS: Final = (",", ";", "\t")
# A value in which a line may break; anywhere else it tells of a quote that is not closed.
LONG_TEXTS: Final = ("title", "description", "query")
UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")  # how such a file begins
QUOTED_TEXT: Final = 1000  # characters that are kept of a row set aside
_JOINTS: Final = str.maketrans("", "", " _-")  # what parts the words of a column's name


class _Every:
    """Every name but none at all."""

    def __contains__(self, name: object) -> bool:
        return bool(name)


EVERY: Final = _Every()


@dataclass
class Raw:
    """One file's rows as they stand there.

    `frame` has a column for each known one of the file, of the file's own type; where JSON mixes types, one a type,
    and a value is in one of them. `rows` are the rows' numbers in the file, `typed` says whether its format tells text
    from numbers.
    """

    origin: str
    frame: pl.DataFrame
    rows: np.ndarray
    typed: bool = True
    torn: Torn = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    untyped: set[str] = field(default_factory=set)  # columns that came from the names of folders

    def has(self, name: str) -> bool:
        return name in self.frame.columns

    def columns(self, name: str) -> list[pl.Series]:
        """The columns that hold this field; one of nulls where the file has no such."""
        series = [s for s in self.frame if s.name == name or s.name.startswith(f"{name}@")]
        return series or [pl.repeat(None, len(self.rows), dtype=pl.Null, eager=True)]

    def is_typed(self, name: str) -> bool:
        return self.typed and name not in self.untyped

    def set_aside(self, reasons: pl.Series) -> Torn:
        """The rows that have a reason, with what they say."""
        places = reasons.is_not_null().arg_true()
        said = self.frame[places].iter_rows() if self.frame.width else ((),) * len(places)
        rows = zip(places, said, strict=True)
        return [
            {
                "origin": f"{self.origin}:{self.rows[place]}",
                "reason": reasons[place],
                "text": ",".join(str(v) for v in row if v is not None)[:QUOTED_TEXT],
            }
            for place, row in rows
        ]


def read_table(file: TableFile, known: Container[str], needed: Sequence[str], fields: Iterable[str] = ()) -> Raw:
    """Every known column that the file or the names of its folders have, and its broken rows.

    Args:
        known: names that are read; EVERY reads all
        fields: names that have a meaning, in whatever spelling: `userId` and `User ID` are `user_id`

    Raises:
        SourceError: the file is unreadable, or lacks a needed column.
    """
    spelled = {_spelling(name): name for name in fields}
    partitions = {spelled.get(_spelling(name), name): value for name, value in file.partitions.items()}
    given = [name for name in partitions if name in known]

    def pick(columns: Sequence[str]) -> list[str]:
        """The file's columns that are known, by place; "" for the others."""
        plain = [c.strip().strip("\ufeff").lower() for c in columns]
        names = [spelled.get(_spelling(name), name) for name in plain]
        picked = [name if name in known else "" for name in names]
        if twice := sorted({n for n in picked if n and picked.count(n) > 1}):
            raise SourceError(f"{file.origin} has the column {twice[0]} twice: remove or rename one")
        if missing := [c for c in needed if c not in picked and c not in given]:
            has = "".join(filter(str.isprintable, ", ".join(c.strip() for c in columns)[:200])) or "none"
            raise SourceError(f"{file.origin} lacks the column {', '.join(missing)}: see docs/files.md; it has {has}")
        return picked

    readers = {"csv": _read_csv, "parquet": _read_parquet, "json": _read_json}
    try:
        raw = readers[file.format](file, pick)
    except MemoryError:
        raise SourceError(f"{file.origin} is too large for this machine's memory: part it into several") from None
    for name in given:
        if not raw.has(name):
            said = pl.repeat(partitions[name], len(raw.rows), dtype=pl.String, eager=True).alias(name)
            raw.frame = pl.DataFrame([*raw.frame, said])  # its rows may say nothing else
            raw.untyped.add(name)
    raw.ignored += [name for name in partitions if name not in known]
    return raw


def _spelling(name: str) -> str:
    return name.translate(_JOINTS)


Pick = Callable[[Sequence[str]], list[str]]


def _content(file: TableFile) -> pa.Buffer:
    try:
        if not file.path.stat().st_size:
            return pa.py_buffer(b"")
        with pa.memory_map(str(file.path)) as mapped:
            packed = file.compression
            content = (mapped if packed is None else pa.CompressedInputStream(mapped, packed)).read_buffer()
    except (OSError, pa.ArrowInvalid) as error:
        words = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise SourceError(f"{file.origin} cannot be read ({words}): repair or replace it") from None
    if file.format != "parquet" and content.slice(0, min(2, content.size)).to_pybytes() in UTF_16:
        raise SourceError(f"{file.origin} is UTF-16: save it as UTF-8")
    return content


def _read_csv(file: TableFile, pick: Pick) -> Raw:
    content = _content(file)
    if not content.size:  # a part without rows, as Spark writes them: without a header
        return Raw(file.origin, pl.DataFrame(), np.zeros(0, np.int64), typed=False)
    form = [ending.lower() for ending in file.path.suffixes if ending.lower() not in COMPRESSIONS]
    delimiter = "\t" if form[-1:] == [".tsv"] else None
    frame, rows, torn, ignored = parse_csv(file.origin, content, pick, delimiter)
    return Raw(file.origin, frame, rows, typed=False, torn=torn, ignored=ignored)


def read_csv(
    path: Path, known: Sequence[str], needed: Sequence[str], columns: Sequence[str]
) -> tuple[pl.DataFrame, Torn]:
    """`columns` of a CSV of which all columns are known, as text, and the rows whose number of fields is wrong.

    Raises:
        SourceError: the file is unreadable, or has not the right columns.
    """

    def pick(header: Sequence[str]) -> list[str]:
        check_columns(path.name, header, needed, known)
        return [name if name in columns else "" for name in header]

    content = _content(TableFile(path, path.name, "csv", None))
    frame, _, torn, _ = parse_csv(path.name, content, pick, ",")
    return frame, torn


def parse_csv(
    origin: str, content: pa.Buffer, pick: Pick, delimiter: str | None = None
) -> tuple[pl.DataFrame, np.ndarray, Torn, list[str]]:
    """The picked columns as text; the rows' numbers (the header is 1); the broken rows; columns that were not picked.

    pyarrow's reader, because polars' either refuses a file with one torn line or cuts the line silently. `delimiter`
    None: the one of comma, semicolon and tab that parts the header into the most columns.
    """
    try:
        header, body = _header(origin, content, delimiter)
        names = pick(header.names)
        parsed = _csv_rows(body, header.delimiter, names)
        if _quotes_swallow(body, parsed, header.delimiter):
            body, lines, cut = _without_open_quotes(body, header.delimiter, names)
            parsed = _csv_rows(body, header.delimiter, names)
            parsed.rows, parsed.broken = (
                lines[parsed.rows - 2],
                [(lines[row - 2], *rest) for row, *rest in parsed.broken],
            )
            parsed.broken += cut
        _cut_headers(parsed, header.names)
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError, csv.Error) as error:
        words = str(error).splitlines()[0]
        if "straddling" in words:
            raise SourceError(f"{origin} has a row of several MB: is a quote not closed, or a value no text?") from None
        raise SourceError(f"{origin} is not readable CSV ({words}): repair it, or save it as UTF-8") from None
    picked = [name for name in names if name]
    ignored = [h.strip() for h, name in zip(header.names, names, strict=True) if not name]
    torn = [
        {"origin": f"{origin}:{row}", "reason": why, "text": text[:QUOTED_TEXT]} for row, why, text in parsed.broken
    ]
    return parsed.frame.select(picked), parsed.rows, torn, ignored


@dataclass(frozen=True)
class _Header:
    names: list[str]
    delimiter: str


def _header(origin: str, content: pa.Buffer, delimiter: str | None) -> tuple[_Header, pa.Buffer]:
    """The first line that is not empty, and what follows it."""
    start = 3 if content.slice(0, min(3, content.size)).to_pybytes() == b"\xef\xbb\xbf" else 0
    view = memoryview(content)
    line, size = b"", 1 << 16
    while not line and start < content.size:
        piece = bytes(view[start : start + size])
        end = piece.find(b"\n")
        if end < 0 and start + size < content.size:
            size *= 2
            continue
        end = len(piece) if end < 0 else end
        line, start = piece[:end].strip(b"\r\n"), start + end + 1
    text = line.decode("utf-8")
    if "\r" in text:
        raise SourceError(f"{origin} ends its lines with CR alone: save it with LF or CRLF")
    parts = {d: next(csv.reader([text], delimiter=d), []) for d in ([delimiter] if delimiter else DELIMITERS)}
    chosen = max(parts, key=lambda d: len(parts[d]))
    return _Header(parts[chosen], chosen), content.slice(min(start, content.size))


@dataclass
class _Rows:
    frame: pl.DataFrame  # all columns as text; those that nobody knows are named @ and their place
    rows: np.ndarray  # number of each row
    broken: list[tuple[int, str, str]]  # number, what is wrong, what it says


def _csv_rows(body: pa.Buffer, delimiter: str, names: list[str]) -> _Rows:
    """The rows after the header, whose number is 1."""
    own = [name or f"@{place}" for place, name in enumerate(names)]
    broken: list[tuple[int, str, str]] = []

    def refuse(row: pyarrow.csv.InvalidRow) -> str:
        words = f"{row.actual_columns} fields where {row.expected_columns} are due"
        broken.append((row.number + 1, words, row.text))
        return "skip"

    if not body.size or (
        not body.slice(0, min(body.size, 4096)).to_pybytes().strip(b"\r\n") and not body.to_pybytes().strip(b"\r\n")
    ):
        return _Rows(pl.DataFrame(schema=dict.fromkeys(own, pl.String)), np.zeros(0, np.int64), [])
    table = pyarrow.csv.read_csv(
        pa.BufferReader(body),
        # one thread, because only then pyarrow knows the row's number
        read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=own),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=delimiter, invalid_row_handler=refuse, newlines_in_values=True
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(own, pa.large_string()),
            strings_can_be_null=True,
            null_values=[""],
            quoted_strings_can_be_null=True,
        ),
    )
    every = np.arange(2, 2 + table.num_rows + len(broken))
    rows = np.setdiff1d(every, np.array([row for row, _, _ in broken], np.int64))
    return _Rows(pl.DataFrame(pl.from_arrow(table)), rows, broken)


def _cut_headers(parsed: _Rows, header: list[str]) -> None:
    """The header once more, as in files that were joined into one, is no row: of items it would be an item."""
    bare = [name.strip().strip("\ufeff") for name in header]
    again = pl.Series([True]).new_from_index(0, len(parsed.rows))
    for column, name in zip(parsed.frame, bare, strict=True):
        again &= column.fill_null("").str.strip_chars(" \t\ufeff") == name
        if not again.any():
            return
    parsed.broken += [(int(row), "is the header once more", ",".join(bare)) for row in parsed.rows[again.to_numpy()]]
    parsed.frame, parsed.rows = parsed.frame.filter(~again), parsed.rows[~again.to_numpy()]


def _quotes_swallow(body: pa.Buffer, parsed: _Rows, delimiter: str) -> bool:
    """Whether a quote that nobody closed made one value, or one broken row, of several lines."""
    quotes = int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord('"')))
    if not quotes:
        return False
    broken = [text for _, _, text in parsed.broken if "\n" in text.strip()]
    values = (v for text in broken for row in csv.reader([text[:QUOTED_TEXT]], delimiter=delimiter) for v in row)
    if quotes % 2 or any("\n" in value and delimiter in value for value in values):
        return True
    for name in parsed.frame.columns:
        lines = parsed.frame[name].drop_nulls()
        lines = lines.filter(lines.str.contains("\n", literal=True))
        if len(lines) and (not (name in LONG_TEXTS or name.startswith("@")) or lines.str.contains(delimiter).any()):
            return True
    return False


def _without_open_quotes(
    body: pa.Buffer, delimiter: str, names: list[str]
) -> tuple[pa.Buffer, np.ndarray, list[tuple[int, str, str]]]:
    """The rows in which every quote is closed, the numbers of their first lines, and what was cut.

    A line with an open quote goes on until the next such line if the two, and what stands between, are one row as CSV
    has it: a paragraph in a long text. Else that line alone is cut.
    """
    lines = body.to_pybytes().splitlines()
    opens = [place for place, line in enumerate(lines) if line.count(b'"') % 2]
    end_of = dict(pairwise(opens)) | {place: place for place in opens[-1:]}
    kept, numbers, cut = [], [], []
    place = 0
    while place < len(lines):
        text, following, wrong = lines[place], place + 1, None
        if place in end_of:
            row = _one_row(b"\n".join(lines[place : end_of[place] + 1]), delimiter)
            if row:
                text, following = b"\n".join(lines[place : end_of[place] + 1]), end_of[place] + 1
            wrong = _wrong_breaks(row, names) if row else "a quote is not closed in its line"
        if wrong:
            cut.append((place + 2, wrong, text.decode("utf-8", "replace")))
        elif text.strip():
            kept.append(text)
            numbers.append(place + 2)
        place = following
    return pa.py_buffer(b"\n".join(kept)), np.array(numbers, np.int64), cut


def _one_row(text: bytes, delimiter: str) -> list[str] | None:
    """The values of lines that are one row, with each quote where it should be."""
    try:
        rows = list(csv.reader(io.StringIO(text.decode("utf-8"), newline=""), delimiter=delimiter, strict=True))
    except (csv.Error, UnicodeDecodeError):
        return None
    return rows[0] if len(rows) == 1 else None


def _wrong_breaks(row: list[str], names: list[str]) -> str | None:
    """What is wrong with a row of several lines."""
    if len(row) != len(names):
        return f"{len(row)} fields where {len(names)} are due"
    broken = [name for name, value in zip(names, row, strict=True) if name not in ("", *LONG_TEXTS) and "\n" in value]
    return f"{broken[0]} has several lines: is a quote not closed?" if broken else None


def _read_parquet(file: TableFile, pick: Pick) -> Raw:
    try:
        content = file.path if file.compression is None else pa.BufferReader(_content(file))
        source = pq.ParquetFile(content, coerce_int96_timestamp_unit="us")  # in ns the year 9999 is 1816
        columns = source.schema_arrow.names
        names = pick(columns)
        wanted = [column for column, name in zip(columns, names, strict=True) if name]
        table = source.read(wanted, use_pandas_metadata=False).select(wanted)
        frame = frame_of(table).rename({column: name for column, name in zip(columns, names, strict=True) if name})
    except (pa.ArrowException, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        words = str(error).splitlines()[0]
        raise SourceError(f"{file.origin} is not readable Parquet ({words}): replace it") from None
    for name in [c for c, dtype in frame.schema.items() if dtype in (pl.Binary, pl.List(pl.Binary))]:
        place = frame.get_column_index(name)
        parts = _columns_of([_decoded(value) for value in frame[name].to_list()])
        frame = frame.drop(name)
        for part in reversed(parts):
            frame.insert_column(place, part[1].alias(f"{name}{part[0]}"))
    ignored = [column for column, name in zip(columns, names, strict=True) if not name]
    return Raw(file.origin, frame, np.arange(1, frame.height + 1), ignored=ignored)


def _decoded(value: Any) -> Any:
    """Text, of a list each entry's; bytes that are none as nested lists: no field takes them."""
    if isinstance(value, list):
        return [_decoded(entry) for entry in value]
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return [[str(value)]]


def _read_json(file: TableFile, pick: Pick) -> Raw:
    """An array of objects, or an object a line."""
    content = _content(file).to_pybytes().removeprefix(b"\xef\xbb\xbf")
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    torn: Torn = []
    array = _array(file, content)
    lines = ((n, line) for n, line in enumerate(content.split(b"\n"), start=1) if line.strip())
    objects: Iterable[tuple[int, Any]] = lines if array is None else enumerate(array, start=1)
    names: dict[str, str] = {}
    for number, value in objects:
        try:
            row = _parsed(value) if array is None else value
            if not isinstance(row, dict):
                raise ValueError("not an object")
            if isinstance(row, _Twice):
                raise ValueError("a key stands in it twice")
        except (ValueError, RecursionError) as error:
            text = value.decode("utf-8", "replace").strip() if isinstance(value, bytes) else json.dumps(value)
            reason = f"not a JSON object: {error}"
            torn.append({"origin": f"{file.origin}:{number}", "reason": reason, "text": text[:QUOTED_TEXT]})
            continue
        names.update(dict.fromkeys(row, ""))
        rows.append(row)
        numbers.append(number)
    if names:  # a file without any row lacks no column
        names = dict(zip(names, pick([_utf8(name) for name in names]), strict=True))
    parts: dict[str, pl.Series] = {}
    for key, name in names.items():
        if name:
            parts |= {f"{name}{end}": series for end, series in _columns_of([row.get(key) for row in rows])}
    ignored = [_utf8(key) for key, name in names.items() if not name]
    return Raw(file.origin, pl.DataFrame(parts), np.array(numbers, np.int64), torn=torn, ignored=ignored)


class _Twice(dict[str, Any]):
    """An object of which a key stands twice: every reader takes another of the two values."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    return row if len(row) == len(pairs) else _Twice(row)


_JSON: Final = json.JSONDecoder(object_pairs_hook=_object)


def _parsed(content: bytes) -> Any:
    return _JSON.decode(content.decode("utf-8", "surrogatepass"))


def _array(file: TableFile, content: bytes) -> list[Any] | None:
    """The elements of a JSON array; None where the file has an object a line."""
    if content.lstrip()[:1] != b"[":
        return None
    try:
        return list(_parsed(content))
    except (ValueError, RecursionError) as error:
        if ".json" not in file.path.suffixes:  # the first line may be a broken one
            return None
        raise SourceError(f"{file.origin} is no JSON array ({error}): repair or replace it") from None


def _columns_of(values: list[Any]) -> list[tuple[str, pl.Series]]:
    """The values by type, and what each column's name ends with: JSON may write 7, 7.0, "7" and true in one."""
    classes = [_class_of(value) for value in values]
    parts = []
    for place, kind in enumerate([c for c in CLASSES if c in set(classes)] or ["text"]):
        own = [_as(kind, v) if c == kind else None for v, c in zip(values, classes, strict=True)]
        parts.append((f"@{place}" if place else "", pl.Series(own, dtype=CLASSES[kind])))
    return parts


CLASSES: Final[dict[str, Any]] = {
    "text": pl.String,
    "integer": pl.Int64,
    "float": pl.Float64,
    "truth": pl.Boolean,
    "list": pl.List(pl.String),
    "object": pl.List(pl.List(pl.String)),  # no field takes it
}


def _class_of(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int):
        return "integer" if -(2**63) <= value < 2**63 else "text"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str):
        return "text"
    is_nested = isinstance(value, dict) or any(isinstance(entry, (dict, list)) for entry in value)
    return "object" if is_nested else "list"


def _as(kind: str, value: Any) -> Any:
    if kind == "text":
        return _utf8(str(value))
    if kind == "list":
        return [_utf8(p) if isinstance(p, str) else _plainly(p) for p in value if p is not None and p == p]
    if kind == "object":
        return [[json.dumps(value)]]
    return value


def _plainly(value: float | bool) -> str:
    """As Parquet's lists are read: 7.0 is 7."""
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def _utf8(text: str) -> str:
    """The text, with a question mark for half a surrogate pair, which JSON may write and which is no text."""
    return text.encode("utf-8", "replace").decode()
