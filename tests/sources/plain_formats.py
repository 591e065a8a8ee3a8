"""The formats of docs/files.md for plain_reader.py: header, rows and how many were torn of one file's content."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq


class Refused(Exception):
    """The folder is refused as a whole."""


class Csv(str):
    """Text of a format that does not tell text from numbers."""


class Float32(float):
    pass


def csv_rows(content, tabs):
    text = content.decode("utf-8-sig")
    lines = text.lstrip("\r\n").split("\n", 1)
    delimiter = max("\t" if tabs else ",;\t", key=lambda d: len(next(csv.reader([lines[0]], delimiter=d), [])))
    header, *rows = [r for r in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if r]
    good = [{h: Csv(v) for h, v in zip(header, row, strict=True)} for row in rows if len(row) == len(header)]
    return header, good, len(rows) - len(good)


def json_rows(content, lines_only):
    text = content.decode("utf-8-sig").strip()
    values, torn = None, 0
    if text[:1] == "[":
        try:
            values = json.loads(text)
        except ValueError:
            if lines_only is False:
                raise Refused from None
    if values is None:
        values, torn = [], 0
        for line in text.split("\n"):
            try:
                values += [json.loads(line)] if line.strip() else []
            except ValueError:
                torn += 1
    rows = [v for v in values if isinstance(v, dict)]
    header = list(dict.fromkeys(key for row in rows for key in row))
    return header, rows, torn + len(values) - len(rows)


def parquet_rows(content):
    table = pq.read_table(pa.BufferReader(content))
    rows = [{name: decoded(value) for name, value in row.items()} for row in table.to_pylist()]
    for field in table.schema:
        if field.type == pa.float32():
            for row in rows:
                row[field.name] = None if row[field.name] is None else Float32(row[field.name])
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":  # to_pylist gives pandas' type
            for row in rows:
                row[field.name] = None if row[field.name] is None else row[field.name].to_pydatetime()
    return table.column_names, rows, 0


def decoded(value):
    """Bytes as text, where they are some."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value
