"""The contract as a stranger writes it: from docs/consistency.md and the tables of docs/features.md alone.

Nothing of `recsys` is imported. Items, events and reads are plain values; a row looks at every event of its entities.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

PAGE = (Path(__file__).parents[2] / "docs" / "features.md").read_text()
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
TYPES = {"video": 1, "podcast": 2, "playlist": 3, "album": 4}
HISTORY = ("impression", "exposure", "click", "long_view", "like", "exposure_long_view")
WORDS_MASK = (1 << 54) - 1
PARTS = ("user", "item", "category", "creator", "shelf")
Row = Mapping[str, Any]


def tables(page: str) -> list[list[list[str]]]:
    """A page's tables, cells without their backticks."""
    blocks: list[list[list[str]]] = [[]]
    for line in page.splitlines():
        if line.startswith("| "):
            blocks[-1].append([cell.strip().replace("`", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif blocks[-1]:
            blocks.append([])
    return [table[2:] for table in blocks if table]


FEATURES, _OPERATIONS, VIEWS = tables(PAGE)[:3]


def millis(text: str) -> int:
    """5 min, 1h, 7d."""
    number, unit = re.fullmatch(r"(\d+) ?(min|m|h|d)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"min": MINUTE, "m": MINUTE, "h": HOUR, "d": DAY}[unit]


class Column(NamedTuple):
    """One int64 of a read, as a row of the page's views says it."""

    name: str
    parts: tuple[str, ...]
    how: str  # number, sum of watch_ms, latest instant, last words, decayed sum, session start or session count
    weights: Mapping[str, int]  # by kind
    length: int  # ms of the window, the half-life or the gap; 0: all time
    hop: int  # ms; 0: no window


def columns(views: Sequence[Sequence[str]] = VIEWS) -> list[Column]:
    """The columns of the page's views, in its order."""
    listed = []
    for entity, keys, what, kinds, windows in views:
        parts = tuple(keys.split(", "))
        weights = {k.split(" x ")[0]: int(k.split(" x ")[1]) if " x " in k else 1 for k in kinds.split(", ")}
        if what.startswith("the running session"):
            names = {how: f"{entity}_{how.replace(' ', '_')}_{windows}" for how in ("session start", "session count")}
            listed += [Column(name, parts, how, weights, millis(windows), 0) for how, name in names.items()]
        elif not what.startswith("the last"):
            measure, how = what.split(", ", 1)
            op = {"number": "count", "sum of watch_ms": "sum", "latest instant": "latest", "decayed sum": "decayed"}
            op |= {"last words": "last"}
            for window in windows.split(", "):
                length, _, hop = window.removeprefix("halved every ").partition("/")
                spans = millis(length) if length != "all" else 0, millis(hop) if hop else 0
                listed.append(Column(f"{entity}_{measure}_{op[how]}_{length}", parts, how, weights, *spans))
    return listed


COLUMNS = columns()


# -- items ------------------------------------------------------------------------------------------------------------


class Items:
    """What was said of items; `at` an instant."""

    def __init__(self) -> None:
        self.words: dict[str, list[tuple[int, int, dict[str, Any]]]] = defaultdict(list)  # known, valid, what is said
        self.catalogue: dict[str, tuple[int, Row]] = {}  # the last row of each item, and from when it holds
        self.told: dict[str, int] = {}

    def read(self, rows: Iterable[Row], start: int) -> None:
        """A catalogue that is taken in with days from `start` on."""
        for row in rows:
            name = row["item_id"]
            before = self.catalogue.get(name)
            if before is None:
                valid, said = 0, dict(row)
            else:
                said = {field: value for field, value in row.items() if before[1][field] != value}
                valid = max(start, before[0], self.told.get(name, -1) + 1)
            if said:
                self.catalogue[name] = (valid, row)
                self.words[name].append((max(valid, start), valid, said))

    def tell(self, row: Row, receipt: int) -> None:
        self.told[row["item_id"]] = receipt
        self.words[row["item_id"]].append((receipt, receipt, dict(row)))

    def at(self, name: str, instant: int) -> dict[str, Any]:
        state: dict[str, Any] = {}
        newest = -1
        for known, valid, said in sorted(self.words[name], key=lambda word: word[0]):
            if known <= instant and valid >= newest:
                state, newest = state | said, valid
        return state


# -- aggregates -------------------------------------------------------------------------------------------------------


class Log:
    """Events in the order of their positions; each has `position`, `kind`, PARTS, the instants and `watch_ms`."""

    def __init__(self, events: Sequence[Row]) -> None:
        self.position = np.array([e["position"] for e in events], np.int64)
        self.kind = np.array([e["kind"] for e in events], object)
        self.occurred = np.array([e["occurred_at"] for e in events], np.int64)
        self.received = np.array([e["received_at"] for e in events], np.int64)
        self.watch = np.array([e["watch_ms"] or 0 for e in events], np.int64)
        self.item = [e["item"] for e in events]
        places: dict[tuple[str, ...], dict[tuple[Any, ...], list[int]]] = {}
        for parts in {column.parts for column in COLUMNS}:
            of = places.setdefault(parts, defaultdict(list))
            for place, event in enumerate(events):
                of[tuple(event[part] for part in parts)].append(place)
        self.places = {p: {key: np.array(of) for key, of in ids.items()} for p, ids in places.items()}

    def of(self, parts: tuple[str, ...], row: Row) -> np.ndarray:
        """Places of the events of the row's entity up to its position; none where a part of it is not known."""
        key = tuple(row[part] for part in parts)
        if None in key:
            return np.zeros(0, int)
        mine = self.places[parts].get(key, np.zeros(0, int))
        return mine[: np.searchsorted(self.position[mine], row["position"], side="right")]

    def imported_position(self, instant: int) -> int:
        """Of the last event received strictly before an instant."""
        reached = np.maximum.accumulate(self.received) if len(self.received) else self.received
        before = int(np.searchsorted(reached, instant, side="left"))
        return int(self.position[before - 1]) if before else 0


def aggregates(log: Log, row: Row, columns: Iterable[Column] = COLUMNS) -> dict[str, int]:
    """Every int64 column of a read: `row` has PARTS, `position` and `as_of`."""
    return {column.name: aggregate(log, column, row) for column in columns}


def aggregate(log: Log, column: Column, row: Row) -> int:
    mine = log.of(column.parts, row)
    mine = mine[np.isin(log.kind[mine], list(column.weights))]
    if column.how.startswith("session"):
        return session(log, mine, row)[column.how == "session count"]
    if column.how == "latest instant":
        return int(log.occurred[mine].max(initial=0))
    if column.how == "last words":
        return log.item[mine[-1]] & WORDS_MASK if len(mine) else 0
    if column.how == "decayed sum":
        return decayed(log, mine, column.weights, column.length, row["as_of"])
    if column.hop:
        since = (row["as_of"] - column.length) // column.hop * column.hop
        late = log.received[mine] - log.occurred[mine]
        mine = mine[(log.occurred[mine] >= since) & (late <= column.length)]
    return int(log.watch[mine].sum()) if column.how == "sum of watch_ms" else len(mine)


def session(log: Log, mine: np.ndarray, row: Row) -> tuple[int, int]:
    first = last = count = 0
    for instant in log.occurred[mine].tolist():
        if count == 0 or instant - last > 30 * MINUTE:
            first, last, count = instant, instant, 0
        first, last, count = min(first, instant), max(last, instant), count + 1
    return (first, count) if count and row["as_of"] - last <= 30 * MINUTE else (0, 0)


def decayed(log: Log, mine: np.ndarray, weights: Mapping[str, int], half_life: int, as_of: int) -> int:
    def step(instant: int) -> int:
        return round(2 ** (instant % half_life * 64 // half_life / 64) * 65536)

    mine = mine[log.received[mine] - log.occurred[mine] <= 15 * half_life]
    if not len(mine):
        return 0
    instants = log.occurred[mine].tolist()
    last = max(instant // half_life for instant in instants)
    total = 0  # in units of 2^-80 of the last octave: exact, an event is at most 64 octaves behind it
    for instant, kind in zip(instants, log.kind[mine], strict=True):
        behind = last - instant // half_life
        total += weights[kind] * step(instant) << 64 >> behind if behind <= 64 else 0
    total >>= 48
    later = as_of // half_life - last
    return total // 65536 if later < 0 else (total >> later) // step(as_of)


def history(log: Log, row: Row) -> list[tuple[Any, str, int]]:
    """Item, kind and instant of the last 128, oldest first."""
    mine = log.of(("user",), row)
    mine = mine[np.isin(log.kind[mine], HISTORY)][-128:]
    return [(log.item[place], log.kind[place], int(log.occurred[place])) for place in mine]


# -- features ---------------------------------------------------------------------------------------------------------


@cache
def key(name: str | None) -> int:
    """The signed 64 bits of xxh3 of an id's UTF-8; 0 for none."""
    if not name:
        return 0
    digest = xxhash.xxh3_64_intdigest(name.encode())
    return (digest - (1 << 64) if digest >> 63 else digest) or 1


def code(word: int) -> int:
    """18 bits of a word's key."""
    return max((word ^ word >> 32) & (1 << 18) - 1, 1)


def searched(query: str) -> int:
    """The codes of a search's first three distinct words, side by side."""
    words = list(dict.fromkeys(re.findall(r"\w+", query.casefold())))[:3]
    return sum(code(key(word)) << 18 * place for place, word in enumerate(words))


_EXACT = Context(prec=40)


def log1p(x: float) -> float:
    """ln(1 + x) by the steps on the page."""
    mantissa, exponent = math.frexp(1.0 + x)
    mantissa, exponent = 2 * mantissa, exponent - 1
    step = int((mantissa - 1) * 128)
    reciprocal = 1.0 if step == 0 else round(256 / (1 + (step + 0.5) / 128)) / 256
    s = mantissa * reciprocal - 1.0
    series = s * (1.0 + s * (-1 / 2 + s * (1 / 3 + s * (-1 / 4 + s * (1 / 5 + s * (-1 / 6 + s * (1 / 7)))))))
    return exponent * ln(Decimal(2)) + -ln(Decimal(reciprocal)) + series


@cache
def ln(x: Decimal) -> float:
    return float(_EXACT.ln(x))


class Definition(NamedTuple):
    name: str
    op: str
    inputs: list[str]
    constants: list[float]


def definitions() -> list[Definition]:
    defined = []
    for name, _, text, *_ in FEATURES:
        op, inside = re.fullmatch(r"(\w+)\((.*)\)", text).groups()  # type: ignore[union-attr]
        words = inside.split(", ")
        inputs = [word for word in words if re.match(r"[a-z]", word)]
        numbers = [word.split("/") for word in words[len(inputs) :]]
        defined.append(
            Definition(name, op, inputs, [float(n[0]) / float(n[1]) if n[1:] else float(n[0]) for n in numbers])
        )
    return defined


DEFINITIONS = definitions()


def features(row: Row, item: Row, columns: Mapping[str, int]) -> list[np.float32]:
    """Every float32 of a read in the page's order; `row` has `as_of`, `shelf`, `device` and `slot` too."""
    known = {
        **about(row.get("words", ()), item.get("category")),
        **columns,
        "as_of": row["as_of"],
        "shelf": key(row["shelf"]),
        "device": key(row["device"]),
        "slot": row["slot"],
        "item_category_key": key(item.get("category")),
        "item_creator_key": key(item.get("creator_id")),
        "item_type": TYPES.get(item.get("item_type", ""), 0),
        "item_duration_ms": item.get("duration_ms") or 0,
        "item_published_at": item.get("published_at") or 0,
    }
    return [np.float32(value(d, *(known[name] for name in d.inputs))) for d in DEFINITIONS]


def about(words: Sequence[str], category: str | None) -> dict[str, int]:
    """What the page says of a person's words."""
    named: dict[str, str] = {}
    for word in words:
        if re.match("[^=~]*=", word):
            named.setdefault(word.partition("=")[0], word)
    names = {word for d in DEFINITIONS for word in d.inputs if d.op == "bucket" and word.startswith("user_")}
    clock = named.get("utc_offset_minutes", "=0").partition("=")[2]
    likes = category is not None and any(word.partition("=")[2] == category for word in words if "~" not in word)
    return {name: key(named.get(name.removeprefix("user_"))) for name in names} | {
        "user_utc_offset_ms": 60_000 * int(clock),
        "user_names_category": int(likes),
    }


class People:
    """What was said of whom: of each user what each reading of their table said, from when it counts."""

    def __init__(self) -> None:
        self.told: dict[str, list[tuple[int, list[str]]]] = {}

    def read(self, words: Mapping[str, list[str]], start: int) -> None:
        for user, said in words.items():
            self.told.setdefault(user, []).append((start, said))

    def at(self, user: str, instant: int, of_request: Sequence[str] = ()) -> list[str]:
        """What a request says, and what was known by then under the names that it leaves out."""
        kept = [said for start, said in self.told.get(user, []) if start <= instant]
        names = {re.split("[=~]", word)[0] for word in of_request}
        return [*of_request, *(w for w in (kept[-1] if kept else []) if re.split("[=~]", w)[0] not in names)]


def value(of: Definition, a: int, b: int = 0, third: int = 0) -> float:
    c1, c2, c3, c4 = (*of.constants, 0.0, 0.0, 0.0, 0.0)[:4]
    if of.op == "ratio":
        return min((float(a) * c3 + c1 * c2) / (float(b) + c2), c4)
    if of.op == "log1p":
        return log1p(float(max(a, 0)) * c1)
    if of.op == "since":
        return c2 if b == 0 else log1p(float(max(a - b, 0)) * c1)
    if of.op == "trend":
        return (float(a) + c1) / (float(b) / c2 + c1)
    if of.op == "fraction":
        return c1 if third <= 0 else min((float(a) / float(third) + c1 * c2) / (float(b) + c2), c3)
    if of.op == "bucket":
        return c2 if a == 0 else float((a ^ a >> 32) & (int(c1) - 1))
    if of.op == "names":
        return float(b != 0 and code(b) in (a & (1 << 18) - 1, a >> 18 & (1 << 18) - 1, a >> 36))
    if of.op == "modulo":
        return float(((a + b) // int(c1) + int(c3)) % int(c2))
    assert of.op == "value", of.op
    return float(a)
