"""docs/files.md once more, value by value in plain Python: slow, and without a line of the reader it judges."""

import gzip
import math
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote

import zstandard

from tests.sources.plain_formats import Csv, Float32, Refused, csv_rows, json_rows, parquet_rows

KINDS = [
    "impression",
    "click",
    "play",
    "long_view",
    "like",
    "dislike",
    "skip",
    "share",
    "follow",
    "exposure",
    "exposure_long_view",
    "search",
]
TYPES = ("video", "podcast", "playlist", "album")
KNOWN = {
    "events": [
        "kind",
        "user_id",
        "item_id",
        "occurred_at",
        "received_at",
        "event_id",
        "request_id",
        "impression_id",
        "shelf",
        "device",
        "slot",
        "watch_ms",
        "query",
        "date",
        "consent",
        "rating",
    ],
    "items": [
        "item_id",
        "item_type",
        "creator_id",
        "category",
        "tags",
        "title",
        "duration_ms",
        "published_at",
        "is_available",
    ],
    "users": ["user_id", "registered_at"],
}
NEEDED = {"events": ["user_id", "item_id", "occurred_at"], "items": ["item_id"], "users": ["user_id"]}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FORMATS = {".parquet", ".pq", ".csv", ".tsv", ".jsonl", ".ndjson", ".json"}


NOTHING = ["", "NULL", "null", "Null", "\\N", "NaN", "nan", "NaT", "None", "none", "<NA>", "NA", "N/A", "n/a", "#N/A"]
NOTHING += ["undefined", "(null)", "<null>", "nil"]


class Unreadable(Exception):
    """The value is."""


def read(folder: Path):
    """Events, items and users as lists of dicts, and how many rows of events and values of the others were refused."""
    tables = {name: list(table_of(folder, name)) for name in KNOWN}
    if not tables["events"] or not tables["items"]:
        raise Refused
    items, bad_items = {}, 0
    first_type = {}
    for rows, torn in tables["items"]:
        bad_items += torn
        for row in rows:
            item, bad = item_of(row)
            bad_items += bad
            if item is not None:
                first_type.setdefault(item["item_id"], item["id_is_integer"])
                items.pop(item["item_id"], None)
                items[item["item_id"]] = item
    for item in items.values():
        item["id_is_integer"] = first_type[item["item_id"]]
    if not items:
        raise Refused
    events, bad_events = [], 0
    for rows, torn in tables["events"]:
        bad_events += torn
        for row in rows:
            try:
                events.append(event_of(row))
            except Unreadable:
                bad_events += 1
    if not events:
        raise Refused
    users, bad_users = {}, 0
    for rows, torn in tables["users"]:
        bad_users += torn
        for row in rows:
            try:
                user = identity(row, "user_id")
                if user is None:
                    raise Unreadable
            except Unreadable:
                bad_users += 1
                continue
            registered, bad = or_else(lambda row=row: instant(row, "registered_at"), None)
            bad_users += bad
            users.pop(user, None)
            users[user] = {"user_id": user, "registered_at": since_1970(registered)}
    if not tables["users"]:
        users = {u: {"user_id": u, "registered_at": 0} for u in sorted({e["user_id"] for e in events} - {None})}
    return events, list(items.values()), list(users.values()), (bad_events, bad_items, bad_users)


# ---- files


def table_of(folder, table):
    paths = []
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if not path.is_file() or any(p[0] in "._" for p in parts):
            continue
        endings = [e for e in path.suffixes if e not in (".gz", ".zst")]
        if parts[0].split(".")[0] == table and endings and endings[-1] in FORMATS:
            paths.append(path)
    for path in sorted(paths, key=lambda p: p.relative_to(folder).as_posix()):
        yield file_of(folder, path, table)


def file_of(folder, path, table):
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if path.suffix == ".zst":
        content = zstandard.ZstdDecompressor().decompressobj().decompress(content)
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    if name.endswith((".parquet", ".pq")):
        header, rows, torn = parquet_rows(content)
    elif name.endswith((".csv", ".tsv")):
        header, rows, torn = csv_rows(content, name.endswith(".tsv"))
    else:
        header, rows, torn = json_rows(content, not name.endswith(".json"))
    mine = {h: known_as(h, KNOWN[table]) for h in header}
    known = [m for m in mine.values() if m in KNOWN[table]]
    if len(set(known)) < len([h for h in header if mine[h] in KNOWN[table]]):
        raise Refused
    hive = {}
    for part in path.relative_to(folder).parent.parts:
        if "=" in part:
            key, _, value = part.partition("=")
            hive[key.lower()] = Csv(unquote(value)) if value != "__HIVE_DEFAULT_PARTITION__" else None
    hive = {k: v for k, v in hive.items() if k in KNOWN[table] and k not in known}
    if any(n not in known and n not in hive for n in NEEDED[table]) and (
        header or not name.endswith((".json", ".jsonl", ".ndjson"))
    ):
        raise Refused
    rows = [{mine[h]: v for h, v in row.items()} | hive for row in rows]
    if table == "events" and rows and not {"kind", "rating"} & {*known, *hive}:
        raise Refused
    everything = {*known, *hive}
    for column in everything:  # names, or integers that became floats?
        texts = [row.get(column) for row in rows if isinstance(row.get(column), str)]
        named = any(re.fullmatch(r"-?\d+\.\d*[1-9]\d*", t.strip()) for t in texts)
        for row in rows:
            row[f"{column}?"] = named
    for row in rows:
        row["columns"] = everything
    return rows, torn


def known_as(written, known):
    """user_id of userId, User ID and USER-ID."""
    one = {"".join(c for c in name if c.isalnum()): name for name in known}
    name = written.strip().lower()
    return one.get("".join(c for c in name if c not in " _-"), name)


# ---- rows


def event_of(row):
    kind = kind_of(row)
    event = {"kind": kind}
    for name in ("user_id", "item_id", "event_id", "request_id", "impression_id", "shelf", "device"):
        event[name] = identity(row, name)
    event["occurred_at"] = instant(row, "occurred_at")
    received = instant(row, "received_at")
    event["received_at"] = event["occurred_at"] if received is None else received
    for name in ("occurred_at", "received_at"):
        if event[name] is None or event[name] < 10_000_000_000:
            raise Unreadable
    event["slot"] = number(row, "slot", whole=True)
    if event["slot"] is not None and not -(2**31) <= event["slot"] < 2**31:
        raise Unreadable
    event["watch_ms"] = number(row, "watch_ms", whole=False)
    event["query"] = text(row, "query")
    consent = truth(row, "consent")
    event["consent"] = True if consent is None else consent
    happened = EPOCH + timedelta(milliseconds=event["occurred_at"])
    event["date"] = day(row) or happened.strftime("%Y-%m-%d")
    if event["date"] < (happened - timedelta(days=1)).strftime("%Y-%m-%d"):
        raise Unreadable
    return event


def kind_of(row):
    kind = "rating"
    if "kind" in row["columns"]:
        kind = identity(row, "kind")
        if kind is None:
            raise Unreadable
        kind = kind.lower()
    if kind == "rating":
        rated = given(row.get("rating"))
        if rated is None:
            raise Unreadable
        rated = as_number(rated)
        return "like" if rated >= 4 else "dislike" if rated <= 2 else "click"
    if kind not in KINDS:
        raise Unreadable
    return kind


def item_of(row):
    """An item and how many of its values were refused; no item where it has no name."""
    try:
        item_id = identity(row, "item_id")
    except Unreadable:
        item_id = None
    if item_id is None:
        return None, 1
    bad = 0
    item = {"item_id": item_id}
    kind, _ = or_else(lambda: identity(row, "item_type"), None)
    kind = None if kind is None else kind.lower()
    bad += kind is not None and kind not in TYPES
    item["item_type"] = kind if kind in TYPES else "video"
    for name in ("creator_id", "category"):
        item[name], wrong = or_else(lambda name=name: identity(row, name), None)
        bad += wrong
    tags, wrong = or_else(lambda: tags_of(row.get("tags")), None)
    bad += wrong
    item["tags"] = tags
    item["category"] = item["category"] or (tags[0] if tags else None)
    item["title"], wrong = or_else(lambda: text(row, "title"), None)
    bad += wrong
    duration, wrong = or_else(lambda: number(row, "duration_ms", whole=False), None)
    bad += wrong or (duration is not None and duration < 0)
    item["duration_ms"] = max(duration or 0, 0)
    published, wrong = or_else(lambda: instant(row, "published_at"), None)
    bad += wrong
    item["published_at"] = since_1970(published)
    available, wrong = or_else(lambda: truth(row, "is_available"), None)
    bad += wrong
    item["is_available"] = not wrong and available is not False
    value = row["item_id"]
    typed_text = isinstance(value, (str, bytes)) and not isinstance(value, Csv)
    item["id_is_integer"] = not typed_text and re.fullmatch(r"0|-?[1-9]\d{0,14}", item_id) is not None
    return item, bad


def since_1970(instant):
    return 0 if instant is None else max(instant, 1) if instant != 0 else 0


def or_else(read, other):
    try:
        return read(), False
    except Unreadable:
        return other, True


# ---- values


def given(value):
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise Unreadable from None
    if isinstance(value, str):
        value = type(value)(value.strip()) if isinstance(value, Csv) else value.strip()
        return None if value in NOTHING else value
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def identity(row, name):
    value = given(row.get(name))
    if value is None:
        return None
    if isinstance(value, str):
        whole = re.fullmatch(r"(-?(?:0|[1-9]\d*))\.0+", value)
        if re.fullmatch(r"-?\d(\.\d+)?[eE]\+\d+", value):
            raise Unreadable
        if whole and not row[f"{name}?"]:
            if abs(int(whole.group(1))) >= 2**53:
                raise Unreadable
            value = whole.group(1)
        written = value
    elif isinstance(value, bool):
        raise Unreadable
    elif isinstance(value, int):
        written = str(value)
    elif isinstance(value, float):
        if not abs(value) < (2**24 if isinstance(value, Float32) else 2**53) or value != int(value):
            raise Unreadable
        written = str(int(value))
    elif isinstance(value, Decimal):
        if value != int(value):
            raise Unreadable
        written = str(int(value))
    else:
        raise Unreadable
    if len(written.encode()) > 256 or any(c < " " or "\x7f" <= c <= "\x9f" for c in written):
        raise Unreadable
    return written


def text(row, name):
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, (list, dict, bytes)):
        raise Unreadable
    return str(value).strip() or None


def as_number(value):
    """An int or a finite float."""
    if isinstance(value, bool):
        raise Unreadable
    if isinstance(value, str):
        if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value):
            raise Unreadable
        value = int(value) if re.fullmatch(r"[+-]?\d+", value) else float(value)
    if not isinstance(value, (int, float, Decimal)) or not math.isfinite(value):
        raise Unreadable
    return value


def number(row, name, whole):
    value = given(row.get(name))
    if value is None:
        return None
    if isinstance(value, timedelta) and not whole:
        return round(value / timedelta(milliseconds=1))
    value = as_number(value)
    if whole and value != round(value):
        raise Unreadable
    value = round(value)
    if not -(2**63) <= value < 2**63:
        raise Unreadable
    return value


def truth(row, name):
    value = given(row.get(name))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "t", "yes", "y", "on"):
        return True
    if isinstance(value, str) and value.lower() in ("false", "f", "no", "n", "off"):
        return False
    value = as_number(value)
    if value not in (0, 1):
        raise Unreadable
    return value == 1


def tags_of(value):
    if value is None:
        return None
    if isinstance(value, bytes):
        raise Unreadable
    if isinstance(value, list):
        parts = [str(v) for v in value if v is not None]
        return [p.strip() for p in parts if p.strip()]
    if not str(value).strip():
        return None
    bare = str(value).strip().strip("[]{}")
    mark = next((mark for mark in ",|" if mark in bare), ";")
    parts = [p.strip(" \t\r\n'\"") for p in bare.split(mark)]
    return [p for p in parts if p]


def instant(row, name):
    value = given(row.get(name))
    if value is None:
        return None
    if isinstance(value, datetime):
        value = value if value.tzinfo else value.replace(tzinfo=UTC)
        ms = (value - EPOCH) // timedelta(milliseconds=1)
    elif isinstance(value, date):
        ms = (value - EPOCH.date()).days * 86_400_000
    elif isinstance(value, str) and (
        re.fullmatch(r"(19|20)\d{6}", value) or not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value)
    ):
        ms = iso(value)
    else:
        ms = math.floor(as_number(value))
        if 0 < ms < 10_000_000_000 or 19000101000000 <= ms <= 20991231235959:
            raise Unreadable
        if re.fullmatch(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])([01]\d|2[0-3])[0-5]\d", str(ms)):
            raise Unreadable
        if isinstance(value, str) and re.fullmatch(r"\d(\.\d{0,5})?[eE]\+\d+", value):
            raise Unreadable
    if ms > 99_999_999_999_999:
        raise Unreadable
    return ms


def iso(written):
    match = re.fullmatch(
        r"(\d{4})-?(\d\d)-?(\d\d)(?:(?:[Tt]| +)(\d\d)(?::?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?)?)?"
        r" *(?:[Zz]|UTC|GMT|([+-])(\d\d)(?::?(\d\d))?)?",
        written,
    )
    if not match:
        raise Unreadable
    year, month, day_, hour, minute, second, fraction, sign, zone_hour, zone_minute = match.groups()
    hour, minute, second = int(hour or 0), int(minute or 0), int(second or 0)
    ms = int((fraction or "0")[:3].ljust(3, "0"))
    if minute > 59 or hour > 24 or (hour == 24 and (minute or second or ms)) or second > 60:
        raise Unreadable
    if second == 60 and minute != 59:
        raise Unreadable
    try:
        midnight = datetime(int(year), int(month), int(day_), tzinfo=UTC)
    except ValueError:
        raise Unreadable from None
    zone = timedelta(hours=int(zone_hour or 0), minutes=int(zone_minute or 0)) * (-1 if sign == "-" else 1)
    at = midnight - EPOCH + timedelta(hours=hour, minutes=minute, seconds=second, milliseconds=ms) - zone
    return at // timedelta(milliseconds=1)


def day(row):
    value = row.get("date")
    if isinstance(value, (date, datetime)):
        return value.strftime("%Y-%m-%d")
    written = identity(row, "date")
    if written is None:
        return None
    match = re.fullmatch(r"(\d{4})-?(\d\d)-?(\d\d)([T ].*)?", written)
    try:
        return date(*(int(g) for g in match.groups()[:3])).isoformat() if match else _no()
    except ValueError:
        raise Unreadable from None


def _no():
    raise Unreadable
