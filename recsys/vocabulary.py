"""What a row of events may be, and the name of what is wrong with one that may not.

The rules stand here once. What the service asks (`wrong`) is compiled from them, since an append asks each row; dbt's
macro quarantine_reason is generated: `python -m recsys.vocabulary`. A row has the reason of the first rule it breaks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from recsys.events import (
    CLOCK_SKEW_MS,
    DAY_MS,
    KINDS,
    MAX_DESCRIPTION_BYTES,
    MAX_EMBEDDING,
    MAX_ID_BYTES,
    SANDBOX,
    SEARCH,
)

# An instant is UTC milliseconds from here on; what lies outside is another unit, whatever the year.
FIRST_INSTANT_MS: Final = 10_000_000_000  # 26 April 1970; as seconds, the year 2286
END_INSTANT_MS: Final = 10**14  # the year 5138; as microseconds, March 1973
MAX_SLOT: Final = 10_000
MAX_QUERY_BYTES: Final = 4_096

TEXTS: Final = ("event_id", "user_id", "item_id", "request_id", "impression_id", "shelf", "device")
INSTANTS: Final = ("occurred_at", "received_at")
INTEGERS: Final = ("occurred_at", "watch_ms", "slot")  # of what a caller may say

# As milliseconds these are years 2572 to 2635: a date and a time of day in 14 digits, 20261025101500.
DATES_OF_14_DIGITS: Final = (19_000_101_000_000, 20_991_231_235_959)
# As milliseconds these are of the year 1976, of which one instant in 180 looks so: 202610251015. They lie between these
# bounds, where few instants do: the others need not be written out to be told apart.
ABOUT_1976: Final = (190_001_010_000, 209_912_312_359)
DATES_OF_12_DIGITS: Final = r"^(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])([01][0-9]|2[0-3])[0-5][0-9]$"
# An id or a name that is one of these says that there is none: so SQL, pandas, R, spreadsheets and JavaScript write it.
_NOTHING: Final = ("", "\\N", "NULL", "null", "Null", "NaN", "nan", "NaT", "None", "none", "<NA>")
_NOTHING_EITHER: Final = ("N/A", "n/a", "#N/A", "undefined", "(null)", "<null>", "nil")
MISSING_WORDS: Final = (*_NOTHING, *_NOTHING_EITHER)  # in what is said of people, where NA is Namibia
MISSING: Final = (*MISSING_WORDS, "NA")
CONTROLS: Final = (
    r"[\x00-\x1f\x7f-\x9f]"  # of which an id or name holds none; one pattern for Python, polars and DuckDB
)
# Blanks around a value, as polars strips them: str.strip() takes four control characters more.
BLANKS: Final = "".join(c for c in map(chr, range(0x3001)) if c.isspace() and c not in "\x1c\x1d\x1e\x1f")

MACRO: Final = Path(__file__).parents[1] / "dbt_project" / "macros" / "quarantine_reason.sql"


class Rule(NamedTuple):
    """One thing that a row may not be."""

    reason: str
    words: str
    test: str  # of _TESTS
    field: str
    bound: Any = None
    search: bool | None = None  # True: of searches alone; False: of every other kind


class _Test(NamedTuple):
    python: str  # true where it breaks; a value that is absent is None
    sql: str  # null or true where it breaks


_TESTS: Final = {
    "missing": _Test("{field} is None or {field} == ''", "({field} is null or {field} = '')"),
    "blank": _Test(
        "{field} is None or not {field}.strip({bound!r})", "({field} is null or trim({field}, {chars}) = '')"
    ),
    "unknown": _Test("{field} not in {bound}", "({field} is null or {field} not in {bound})"),
    "absent": _Test("{field} is None", "{field} is null"),
    "long": _Test("{field} and len({field}.encode()) > {bound}", "strlen({field}) > {bound}"),
    "holds": _Test(
        "{field} and not {field}.isprintable() and search(r'{bound}', {field})", "regexp_matches({field}, '{bound}')"
    ),
    "below": _Test("{field} is not None and {field} < {bound}", "{field} < {bound}"),
    "over": _Test("{field} is not None and {field} > {bound}", "{field} > {bound}"),
    "ahead": _Test("{field} > received_at + {bound}", "{field} > received_at + {bound}"),
    "elsewhere": _Test(  # a row's day is that of the file it was written to: what is told live has no other
        "False",
        "({field} + {offset}) // {bound} != received_day - date '1970-01-01'",
    ),
    "begins": _Test("{field} and {field}.startswith('{bound}')", "starts_with({field}, '{bound}')"),
    "refused": _Test("{field} is False", "{field} = false"),
}

RULES: Final = (
    Rule("missing_event_id", "event_id is missing", "missing", "event_id"),
    Rule("missing_user_id", "user_id is missing", "missing", "user_id"),
    Rule("missing_item_id", "item_id is missing", "missing", "item_id", search=False),
    Rule("missing_query", "query is missing", "blank", "query", BLANKS, search=True),
    Rule("unknown_kind", f"kind is none of {', '.join(KINDS)}", "unknown", "kind", tuple(KINDS)),
    *(Rule(f"{f}_too_long", f"{f} is longer than {MAX_ID_BYTES} bytes", "long", f, MAX_ID_BYTES) for f in TEXTS),
    *(Rule("control_character", f"{f} holds a control character", "holds", f, CONTROLS) for f in TEXTS),
    Rule("query_too_long", f"query is longer than {MAX_QUERY_BYTES} bytes", "long", "query", MAX_QUERY_BYTES),
    *(Rule("missing_instant", f"{f} is missing", "absent", f) for f in INSTANTS),
    *(Rule("absurd_instant", f"{f} is not after 1970", "below", f, 1) for f in INSTANTS),
    *(
        Rule("instant_in_seconds", f"{f} is in seconds: give UTC milliseconds", "below", f, FIRST_INSTANT_MS)
        for f in INSTANTS
    ),
    *(
        Rule("instant_in_microseconds", f"{f} is in microseconds: give UTC milliseconds", "over", f, END_INSTANT_MS - 1)
        for f in INSTANTS
    ),
    Rule("stray_day", "received_at is far from the days of the log", "elsewhere", "received_at", DAY_MS),
    Rule("too_far_ahead", "occurred_at is over five minutes ahead of our clock", "ahead", "occurred_at", CLOCK_SKEW_MS),
    Rule("negative_watch", "watch_ms is negative", "below", "watch_ms", 0),
    Rule("watch_over_a_day", "watch_ms is over a day", "over", "watch_ms", DAY_MS),
    Rule("negative_slot", "slot is negative", "below", "slot", 0),
    Rule("absurd_slot", f"slot is over {MAX_SLOT}", "over", "slot", MAX_SLOT),
    Rule(
        "sandbox_user",
        "user_id is a copy of a user: RECSYS_SANDBOX=true lets it take events",
        "begins",
        "user_id",
        SANDBOX,
    ),
    Rule("no_consent", "no consent", "refused", "consent"),
)
REASONS: Final = tuple(dict.fromkeys(rule.reason for rule in RULES))
TOO_LATE: Final = "too_late"  # of live events alone: before the ids that the store keeps (recsys/store/known.py)


def wrong(row: Mapping[str, Any]) -> Rule | None:
    """The first rule that a row breaks; None for a row that may be used.

    Args:
        row: columns of EVENT_SCHEMA in their types; an absent one is None
    """
    broken = _first_broken(**row)
    return None if broken is None else RULES[broken]


LONG_DESCRIPTION: Final = f"is longer than {MAX_DESCRIPTION_BYTES:,} bytes"


def wrong_embedding(numbers: np.ndarray, due: int) -> str | None:
    """What is wrong with an item's embedding, for files and for the service alike; None for one that may be used.

    Args:
        numbers: as it was said, float64[n]
        due: numbers of every embedding of the catalogue; 0 where it has none yet
    """
    if not 0 < len(numbers) <= MAX_EMBEDDING:
        return f"has {len(numbers):,} numbers: 1 to {MAX_EMBEDDING:,} are due"
    if due and len(numbers) != due:
        return f"has {len(numbers):,} numbers where the catalogue's have {due:,}"
    with np.errstate(over="ignore"):
        kept = numbers.astype(np.float32)
    if not np.isfinite(kept).all():
        return "holds what is no finite number of 32 bits"
    return None if kept.any() else "is all zero: leave it out where nothing is known"


def language_of(said: str) -> str:
    """The language of a tag: `de-CH` and `de_AT` are `de`."""
    return re.split("[-_]", said)[0].lower()


def _compiled() -> Callable[..., int | None]:
    """A function of a row's columns that gives the place of the first rule that it breaks."""
    only = {None: "", True: f" and kind == {SEARCH!r}", False: f" and kind != {SEARCH!r}"}
    breaks = [f"({_TESTS[r.test].python.format(field=r.field, bound=r.bound)}){only[r.search]}" for r in RULES]
    lines = [f"    if {test}: return {place}" for place, test in enumerate(breaks)]
    columns = ", ".join(f"{name}=None" for name in dict.fromkeys(("kind", *(rule.field for rule in RULES))))
    made: dict[str, Any] = {"search": re.search}
    exec("\n".join([f"def first_broken(*, {columns}, **_):", *lines]), made)
    first_broken: Callable[..., int | None] = made["first_broken"]
    return first_broken


_first_broken: Final = _compiled()


def sql(utc_offset_ms: int | str) -> str:
    """The reason of a row as an expression of DuckDB, null where it breaks no rule.

    It reads the columns of EVENT_SCHEMA and the date `received_day`; local days begin `utc_offset_ms` before UTC's.
    """
    only = {None: "", True: f" and kind = '{SEARCH}'", False: f" and kind is distinct from '{SEARCH}'"}

    def breaks(rule: Rule) -> str:
        chars = " || ".join(f"chr({ord(c)})" for c in rule.bound) if rule.test == "blank" else ""
        return _TESTS[rule.test].sql.format(field=rule.field, bound=rule.bound, chars=chars, offset=utc_offset_ms)

    lines = [f"        when {breaks(rule)}{only[rule.search]} then '{rule.reason}'" for rule in RULES]
    return "\n".join(["case", *lines, "    end"])


def macro() -> str:
    """dbt's macro of the rules."""
    return f"""\
{{# Why a row cannot be used, null when it can. Generated from recsys/vocabulary.py: change it there. #}}
{{% macro quarantine_reason() %}}
    {sql("{{ var('utc_offset_ms') }}")}
{{% endmacro %}}
"""


if __name__ == "__main__":
    MACRO.write_text(macro())
