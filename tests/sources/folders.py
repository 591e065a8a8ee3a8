"""Folders of logs as other people's tools write them: every type, form of time, way to say nothing, and layout."""

import csv
import gzip
import io
import json
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
NOTHING = (
    "",
    "NULL",
    "null",
    "\\N",
    "NaN",
    "nan",
    "NaT",
    "None",
    "<NA>",
    "  ",
    "NA",
    "N/A",
    "undefined",
    "(null)",
    "#N/A",
)


PARAGRAPH = 'One, two;\nthree, four; five\n\nand "six", seven'


def make(folder, seed):
    """A folder; the same for the same seed."""
    rng = random.Random(seed)
    for table in ("items", "events", "users"):
        files = rng.choice([1, 1, 2, 3]) if table != "users" else rng.choice([0, 0, 1, 2])
        if rng.random() < 0.01:
            files = 0
        for number in range(files):
            columns = columns_of(rng, table)
            write(rng, folder, table, number, files, columns)
    if rng.random() < 0.2:
        (folder / rng.choice(["notes.txt", "_SUCCESS", ".hidden.csv", "readme.csv"])).write_text("nobody reads this")


def columns_of(rng, table):
    """Columns of one file: name -> values, all of one kind of type, or of many."""
    rows = rng.choice([0, 1, 2, 5, 12, 30])
    makers = {
        "events": {
            "kind": kinds,
            "user_id": ids,
            "item_id": ids,
            "occurred_at": instants,
            "received_at": instants,
            "event_id": ids,
            "request_id": ids,
            "impression_id": ids,
            "shelf": names,
            "device": names,
            "slot": integers,
            "watch_ms": durations,
            "query": titles,
            "date": days,
            "consent": truths,
            "rating": ratings,
        },
        "items": {
            "item_id": ids,
            "item_type": types,
            "creator_id": ids,
            "category": names,
            "tags": tags,
            "title": titles,
            "duration_ms": durations,
            "published_at": instants,
            "is_available": truths,
        },
        "users": {"user_id": ids, "registered_at": instants},
    }[table]
    needed = {"events": ["user_id", "item_id", "occurred_at"], "items": ["item_id"], "users": ["user_id"]}[table]
    chosen = [n for n in makers if n in needed or rng.random() < (0.85 if n == "kind" else 0.35)]
    if rng.random() < 0.02 and len(chosen) > 1:
        chosen.remove(rng.choice(chosen))
    if rng.random() < 0.15:
        chosen.append("unknown")
    rng.shuffle(chosen)
    holes = rng.choice([0, 0, 0.1, 0.4])
    made = {}
    for name in chosen:
        values = makers.get(name, names)(rng, rows)
        made[name] = [None if rng.random() < holes else v for v in values]
    return made


# ---- values of one column


def kinds(rng, n):
    words = [
        "impression",
        "click",
        "play",
        "like",
        "Click",
        " search ",
        "LONG_VIEW",
        *rng.choice([[], ["hover", "rating"]]),
    ]
    return [rng.choice(words) for _ in range(n)]


def types(rng, n):
    return [rng.choice(["video", "podcast", "Album", "film" if rng.random() < 0.2 else "video"]) for _ in range(n)]


def names(rng, n):
    words = rng.choice([["feed", "a b", "día", "x,y"], ["007", "7", "12"], ["1.0", "2.0"], ["1.5", "2.0"]])
    return [rng.choice(words) for _ in range(n)]


def ids(rng, n):
    some = [rng.randrange(1, 20) for _ in range(n)]
    form = rng.choice(
        [
            "int",
            "int",
            "signed",
            "float",
            "text",
            "zeros",
            "name",
            "big",
            "decimal",
            "bytes",
            "float32",
            "dotted",
            "any",
        ]
    )
    one = {
        "int": lambda i: i,
        "float": lambda i: float(i) if rng.random() > 0.03 else rng.choice([7.5, 9.1e17, float("inf"), float("nan")]),
        "text": str,
        "zeros": lambda i: f"{i:03d}",
        "name": lambda i: rng.choice(
            [f"movie-{i}", f"é{i}", f" m{i} ", "x" * rng.choice([256, 257]), f"m\x07{i}", f"m\u200d{i}", f"m{i}\u3000"]
        ),
        "signed": lambda i: rng.choice([i, -i]),
        "big": lambda i: 901234567890123000 + i,
        "decimal": lambda i: Decimal(i) if rng.random() > 0.05 else Decimal("7.5"),
        "bytes": lambda i: str(i).encode() if rng.random() > 0.05 else b"\xff\xfe",
        "float32": lambda i: float(i) if rng.random() > 0.05 else float(2**24 + 2),
        "dotted": lambda i: f"{i}.0",
        "any": lambda i: rng.choice([i, str(i), float(i), f"m{i}", 901234567890123000 + i, True, f"{i}.0", "9.01e+17"]),
    }[form]
    return Typed(form, map(one, some))


class Typed(list):
    def __init__(self, form, values):
        super().__init__(values)
        self.form = form


def instants(rng, n):
    at = [BEGIN + timedelta(milliseconds=rng.randrange(8 * 86_400_000)) for _ in range(n)]
    form = rng.choice(
        ["ms", "ms", "ms text", "float", "iso", "iso", "forms", "datetime", "naive", "date", "wrong", "any"]
    )
    if form == "datetime":
        return Typed(rng.choice(["s", "ms", "us", "ns"]) + " utc", at)
    if form == "naive":
        return Typed(rng.choice(["s", "ms", "us", "ns"]), [a.replace(tzinfo=None) for a in at])
    if form == "date":
        return [a.date() for a in at]
    return [_instant(rng, a, form) for a in at]


def _instant(rng, at, form):
    ms = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    if form == "any":
        form = rng.choice(["ms", "ms text", "float", "iso", "forms", "wrong"])
    if form == "ms":
        return ms
    if form == "ms text":
        return rng.choice([str(ms), f"{ms}.0", f" {ms} ", f"{ms / 1e12!r}e12", f"+{ms}", f"{ms:.5e}", f"{ms:.12E}"])
    if form == "float":
        return ms + rng.choice([0.0, 0.25])
    if form == "iso":
        return at.isoformat()
    if form == "forms":
        text = at.strftime(
            rng.choice(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y%m%dT%H%M%S", "%Y-%m-%d", "%Y-%m-%dT%H", "%Y%m%d"])
        )
        if rng.random() < 0.3 and ("S" in text or text.count(":") == 2):
            text += rng.choice([".5", ",25", ".123456789"])
        if "T" in text or " " in text:
            text += rng.choice(["", "Z", "z", "+01", "-0330", "+05:45", " UTC", "Z "])
        return text
    return rng.choice(
        [
            ms // 1000,
            ms * 1000,
            "10/25/2026 10:00",
            "soon",
            "2026-02-30",
            "2026-11-02T24:00:00Z",
            "2026-12-31T23:59:60Z",
            "2026-11-02T24:01Z",
            "2026-11-02T10:60Z",
            "1970-01-05",
            0,
            -5,
            "1e400",
            "1960-05-05T00:00:00Z",
            "9999-12-31",
            at.strftime("%Y%m%d%H%M%S"),
            int(at.strftime("%Y%m%d%H%M%S")),
        ]
    )


def days(rng, n):
    form = rng.choice(["text", "date", "basic", "wrong"])
    some = [date(2026, 11, rng.randrange(1, 9)) for _ in range(n)]
    one = {
        "text": date.isoformat,
        "date": lambda d: d,
        "basic": lambda d: d.strftime("%Y%m%d"),
        "wrong": lambda d: rng.choice([d.isoformat(), "2026-13-01", "today", f"{d.isoformat()}T10:00:00"]),
    }[form]
    return [one(d) for d in some]


def truths(rng, n):
    words = rng.choice(
        [
            [True, False],
            [0, 1],
            [0.0, 1.0],
            ["t", "F"],
            ["yes", "No"],
            ["Y", "n"],
            ["on", "OFF"],
            ["1.0", "0"],
            ["true", "maybe"],
            [0, 2],
            ["TRUE", "", "false"],
        ]
    )
    return [rng.choice(words) for _ in range(n)]


def integers(rng, n):
    words = rng.choice([[0, 1, 5], [0.0, 3.0], ["0", "3.0"], [1.5, 2.0], ["first", "2"], [2**31, 1], [-1, 2]])
    return [rng.choice(words) for _ in range(n)]


def durations(rng, n):
    words = rng.choice(
        [
            [0, 1500, 60000],
            [1500.4, 3.0],
            ["1500", "2.6"],
            [timedelta(seconds=3)],
            [timedelta(microseconds=1_999_600)],
            ["1:30", "5"],
            [-5, 10],
            ["1e3", "7"],
            [Decimal("1500.25")],
            [float("nan"), 1.0],
        ]
    )
    return [rng.choice(words) for _ in range(n)]


def ratings(rng, n):
    words = rng.choice([[1, 2, 3, 4, 5], [0.5, 3.5, 4.5], ["1", "4.0", "3"], ["good", "5"]])
    return [rng.choice(words) for _ in range(n)]


def titles(rng, n):
    words = ["A title", ' with "quotes" ', "two\nlines", "Null", "día 7", "", "a; b", "x\ty", "5", PARAGRAPH]
    return [rng.choice(words) for _ in range(n)]


def tags(rng, n):
    words = rng.choice(
        [[["a", "b"], [], ["c"]], ["a,b", "c", ""], ["a|b", "c|d|e"], ["['a', 'b']", "[]"], [[" a ", "", None], ["b"]]]
    )
    return [rng.choice(words) for _ in range(n)]


# ---- files


def write(rng, folder, table, number, files, columns):
    form = rng.choice(["parquet", "csv", "jsonl", "json"])
    compression = rng.choice(["", "", ".gz", ".zst"])
    rows = len(next(iter(columns.values())))
    place = folder
    name = table
    if files > 1 or rng.random() < 0.3:
        name = f"part-{number}"
        place = folder / rng.choice(
            [table, f"{table}/deep/er", f"{table}/date=2026-11-0{number + 1}", f"{table}/shelf=f%20{number}/x=1"]
        )
        if table == "items" and rng.random() < 0.1:
            place = folder / table / f"item_id={number + 3}"
    if files > 1 and number == 0 and rng.random() < 0.5:
        place, name = folder, table
    place.mkdir(parents=True, exist_ok=True)
    ending = {"csv": rng.choice([".csv", ".csv", ".tsv"]), "jsonl": rng.choice([".jsonl", ".ndjson", ".json"])}.get(
        form, f".{form}"
    )
    headers = {
        n: rng.choice([n, n, n.upper(), f" {n} ", n.replace("_", " ")])
        if form == "csv"
        else rng.choice([n, n, n.title(), n.title().replace("_", "")])
        for n in columns
    }
    if form == "parquet":
        content = _parquet(rng, columns, headers)
    elif form == "csv":
        content = _csv(rng, columns, headers, rows, "\t" if ending == ".tsv" else rng.choice(",,;\t"))
    else:
        content = _json(rng, columns, headers, rows, form)
    if compression == ".gz":
        content = gzip.compress(content)
    if compression == ".zst":
        content = zstandard.compress(content)
    (place / f"{name}{ending}{compression}").write_bytes(content)


def _parquet(rng, columns, headers):
    arrays = {}
    for name, values in columns.items():
        arrays[headers[name]] = _array(rng, values, getattr(values, "form", None))
    return _bytes(pa.table(arrays))


def _bytes(table):
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _array(rng, values, form):
    some = [v for v in values if v is not None]
    kinds = {type(v) for v in some}
    if kinds <= {int} and rng.random() < 0.2 and all(v >= 0 for v in some):
        return pa.array(values, pa.uint64())
    if form == "float32":
        return pa.array(values, pa.float32())
    if kinds == {Decimal}:
        return pa.array(values, pa.decimal128(20, 2))
    if kinds == {datetime}:
        utc = some[0].tzinfo is not None
        unit = rng.choice(["ms", "us", "ns"])
        return pa.array(values, pa.timestamp(unit, "UTC" if utc else None))
    if kinds == {timedelta}:
        return pa.array(values, pa.duration(rng.choice(["ms", "us"])))
    if len(kinds - {list}) <= 1 and not (list in kinds and len(kinds) > 1):
        array = pa.array(values) if some else pa.nulls(len(values), pa.string())
        if array.type == pa.string() and rng.random() < 0.2:
            return array.dictionary_encode()
        if array.type == pa.string() and rng.random() < 0.1:
            return array.cast(pa.binary())
        return array
    return pa.array([None if v is None else _written(v) for v in values], pa.string())


def _written(value):
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value / timedelta(milliseconds=1))
    if isinstance(value, list):
        return ",".join(v for v in value if v)
    return str(value)


def _csv(rng, columns, headers, rows, delimiter):
    out = io.StringIO(newline="")
    writer = csv.writer(
        out, delimiter=delimiter, lineterminator=rng.choice(["\n", "\r\n"]), quoting=rng.choice([0, 0, 1])
    )
    writer.writerow([headers[n] for n in columns])
    nothing = rng.choice(NOTHING)
    for row in range(rows):
        cells = [columns[n][row] for n in columns]
        cells = [nothing if c is None else _written(c) for c in cells]
        if rng.random() < 0.03:
            cells = [*cells, "too many"] if rng.random() < 0.5 or len(cells) < 3 else cells[:-1]
        if len(cells) > 1 or cells[0].strip():
            writer.writerow(cells)
    return (b"\xef\xbb\xbf" if rng.random() < 0.1 else b"") + out.getvalue().encode()


def _json(rng, columns, headers, rows, form):
    objects = []
    absent = rng.random() < 0.5
    for row in range(rows):
        cells = {headers[n]: _json_value(columns[n][row]) for n in columns}
        objects.append({k: v for k, v in cells.items() if v is not None or not absent})
    if form == "json":
        return json.dumps(objects, indent=rng.choice([None, 1])).encode()
    lines = [json.dumps(o, ensure_ascii=rng.random() < 0.5) for o in objects]
    if lines and rng.random() < 0.1:
        lines.insert(rng.randrange(len(lines)), rng.choice(['{"torn": ', "[1]", "7", ""]))
    return "\n".join(lines).encode() + b"\n"


def _json_value(value):
    if value is None or isinstance(value, (bool, int, str, list)):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") and value == value else None
    return _written(value)
