"""What one value of somebody else's log says: ids, instants, durations, integers, truth values, texts.

Every function takes the columns that hold one field of one file (several where a JSON file mixes types) and gives a
Reading: the values, null where there is none, and `problem`, a few words where what stands there cannot be read.
docs/files.md states the rules for people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import polars as pl

from recsys.events import DAY_MS, MAX_ID_BYTES, MINUTE_MS, is_integer_id
from recsys.sources.source import EARLIEST_MS, LATEST_MS
from recsys.vocabulary import ABOUT_1976, CONTROLS, DATES_OF_12_DIGITS, DATES_OF_14_DIGITS, MISSING

TRUE: Final = ("true", "t", "yes", "y", "on")
FALSE: Final = ("false", "f", "no", "n", "off")
NO_INSTANT: Final = "is neither milliseconds nor ISO 8601"
NO_DAY: Final = "is no day as YYYY-MM-DD"
NO_TRUTH: Final = "is neither true nor false"
LOST_DIGITS: Final = "is a floating number whose last digits are lost: write an integer or text"
IN_DIGITS: Final = "is a date in digits: write ISO 8601, as 2026-10-25T10:00:00Z"
FRACTION: Final = "is a number with a fraction"
LIST_MARKS: Final = (",", "|", ";")

# [0-9], since \d knows the digits of all scripts, which costs twenty times as much
_NUMBER: Final = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_BASIC_DATE: Final = r"^(19|20)[0-9]{6}$"  # 20261025: no instant in milliseconds is so small
_ROUNDED: Final = r"^[0-9](\.[0-9]{0,5})?[eE]\+[0-9]+$"  # 1.79358E+12 of a spreadsheet, or of %g: to three hours
_SLASHES: Final = r"^[0-9]{1,2}[/.][0-9]{1,2}[/.][0-9]{2,4}"
_ISO: Final = (
    r"^(?P<year>[0-9]{4})-?(?P<month>[0-9]{2})-?(?P<day>[0-9]{2})(?:(?:[Tt]| +)(?P<hour>[0-9]{2})"
    r"(?::?(?P<minute>[0-9]{2})(?::?(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?)?)?"
    r" *(?:[Zz]|UTC|GMT|(?P<sign>[+-])(?P<zone_hour>[0-9]{2})(?::?(?P<zone_minute>[0-9]{2}))?(?:\[[A-Za-z_/+-]+\])?)?$"
)
_ZONELESS: Final = r"^[0-9]{4}-?[0-9]{2}-?[0-9]{2}([Tt]| +)[0-9:.,]+$"

_EXACT: Final[dict[Any, int]] = {pl.Float16: 2**11, pl.Float32: 2**24, pl.Float64: 2**53}  # one float, one integer
_PER_MS: Final = {"ms": 1, "us": 1_000, "ns": 1_000_000}


class Reading(NamedTuple):
    """One field of a file, a row each: its value, and why a value that is there cannot be read (null: it can)."""

    value: pl.Series
    problem: pl.Series


def ids(columns: Sequence[pl.Series]) -> Reading:
    """Ids as text: 5004 and 5004.0 are "5004", 007 stays "007".

    `.0` is dropped from text too, unless the same column holds a number with a fraction (1.5): then they are names.
    """
    value, problem = _over(columns, _id, pl.String)
    if value.null_count() == len(value):
        return Reading(value, problem)
    long = value.str.len_bytes() > MAX_ID_BYTES
    controlled = value.str.contains(CONTROLS)
    broken = why((long, f"is longer than {MAX_ID_BYTES} bytes"), (controlled, "holds a control character"))
    return Reading(where(~(long | controlled), value), first(problem, broken))


def are_integers(columns: Sequence[pl.Series], value: pl.Series, typed: bool) -> pl.Series:
    """Whether an id was written as an integer; over 15 digits never, for not every JSON reader keeps those.

    `typed`: the file's format tells text from numbers. CSV does not, so there a canonical integer is one.
    """
    canonical = pl.Series([v is not None and is_integer_id(v) for v in value], dtype=pl.Boolean)
    for column in columns if typed else ():
        if not (column.dtype.is_numeric() or column.dtype.is_decimal()):
            canonical &= column.is_null()
    return canonical


def texts(columns: Sequence[pl.Series]) -> Reading:
    """Free text, without the blanks around it."""
    return _over(columns, _free_text, pl.String)


def instants(columns: Sequence[pl.Series]) -> Reading:
    """UTC milliseconds of numbers, ISO 8601, dates and timestamps. No zone means UTC."""
    return _over(columns, _instant, pl.Int64)


def without_zone(columns: Sequence[pl.Series]) -> pl.Series:
    """Whether an instant has a time of day and names no zone; numbers are UTC."""

    def read(column: pl.Series) -> pl.Series:
        if isinstance(column.dtype, pl.Datetime):
            return column.is_not_null() if column.dtype.time_zone is None else _none(column, pl.Boolean)
        return _given(column).str.contains(_ZONELESS) if _is_text(column) else _none(column, pl.Boolean)

    return first(*map(read, columns)).fill_null(False)


def days(columns: Sequence[pl.Series]) -> Reading:
    """Calendar days as YYYY-MM-DD, of dates, timestamps and text that begins with a day."""
    return _over(columns, _day, pl.String)


def durations(columns: Sequence[pl.Series]) -> Reading:
    """Milliseconds, rounded. Negative ones are values: whoever asks judges them."""
    return _over(columns, lambda c: _number(c, "is no number of milliseconds", whole=False), pl.Int64)


def integers(columns: Sequence[pl.Series]) -> Reading:
    return _over(columns, lambda c: _number(c, "is no integer", whole=True), pl.Int64)


def numbers(columns: Sequence[pl.Series]) -> Reading:
    """Finite floats."""

    def read(column: pl.Series) -> Reading:
        given = _given(column)
        number = _as_float(given)
        return Reading(number, why((given.is_not_null() & number.is_null(), "is no number")))

    return _over(columns, read, pl.Float64)


def truths(columns: Sequence[pl.Series]) -> Reading:
    return _over(columns, _truth, pl.Boolean)


def tags(columns: Sequence[pl.Series]) -> Reading:
    """Lists of text; text is parted by the first of LIST_MARKS in it. Brackets and quotes of a printed list go."""
    return _over(columns, _tags, pl.List(pl.String))


def vectors(columns: Sequence[pl.Series]) -> Reading:
    """Lists of numbers, of any length; text is parted by commas, | or blanks, and brackets around it go."""
    return _over(columns, _vector, pl.List(pl.Float64))


def _over(columns: Sequence[pl.Series], read: Callable[[pl.Series], Reading], dtype: Any) -> Reading:
    if all(column.dtype == pl.Null for column in columns):  # 9 of 16 columns of a log, in each of its files
        return Reading(_none(columns[0], dtype), _none(columns[0]))
    parts = [read(column) for column in columns]
    return Reading(first(*(p.value.cast(dtype) for p in parts)), first(*(p.problem for p in parts)))


def first(*series: pl.Series) -> pl.Series:
    """The first value that is there, row by row."""
    return series[0] if len(series) == 1 else pl.select(pl.coalesce(*series)).to_series()


def where(mask: pl.Series, value: pl.Series | str | int, other: pl.Series | str | int | None = None) -> pl.Series:
    """`value` where the mask holds, else `other` (null)."""
    return pl.select(pl.when(mask).then(pl.lit(value)).otherwise(pl.lit(other))).to_series()


def _none(column: pl.Series, dtype: Any = pl.String) -> pl.Series:
    return pl.Series([None], dtype=dtype).new_from_index(0, len(column))


def why(*cases: tuple[pl.Series, str]) -> pl.Series:
    """The words of the first case that holds, row by row."""
    reasons = _none(cases[0][0])
    for mask, words in reversed(cases):
        if mask.any():
            reasons = where(mask, words, reasons)
    return reasons


def _is_text(column: pl.Series) -> bool:
    return column.dtype in (pl.String, pl.Categorical, pl.Enum)


def _is_number(column: pl.Series) -> bool:
    return column.dtype.is_numeric() or column.dtype.is_decimal()


def _given(column: pl.Series) -> pl.Series:
    """The value, null where it says that there is none; text without the blanks around it."""
    if _is_text(column):
        text = column.cast(pl.String).str.strip_chars()
        return where(~text.is_in(MISSING), text)
    return column.fill_nan(None) if column.dtype.is_float() else column


def _refused(column: pl.Series, dtype: Any, words: str) -> Reading:
    """Nothing of this column can be read."""
    return Reading(_none(column, dtype), why((column.is_not_null(), words)))


def _id(column: pl.Series) -> Reading:
    given = _given(column)
    if column.dtype.is_integer() or column.dtype == pl.Null:
        return Reading(given.cast(pl.String), _none(column))
    if column.dtype.is_float():
        exact = given.abs() < _EXACT[column.dtype]
        whole = given == given.round()
        text = where(exact & whole, given).cast(pl.Int64).cast(pl.String)
        return Reading(text, why((~exact, LOST_DIGITS), (~whole, FRACTION)))
    if column.dtype.is_decimal():
        text = given.cast(pl.String).str.replace(r"\.0*$", "")
        broken = text.str.contains(".", literal=True)
        return Reading(where(~broken, text), why((broken, FRACTION)))
    if not _is_text(column):
        return _refused(column, pl.String, "is neither text nor an integer")
    whole = given.str.extract(r"^(-?(?:0|[1-9][0-9]*))\.0+$")
    if given.str.contains(r"^-?[0-9]+\.[0-9]*[1-9][0-9]*$").any():
        whole = _none(column)
    lost = (whole.cast(pl.Float64).abs() >= 2**53).fill_null(False)
    lost |= given.str.contains(r"^-?[0-9](\.[0-9]+)?[eE]\+[0-9]+$")
    return Reading(where(~lost, first(whole, given)), why((lost, LOST_DIGITS)))


def _free_text(column: pl.Series) -> Reading:
    if not (_is_text(column) or _is_number(column) or column.dtype == pl.Null):
        return _refused(column, pl.String, "is no text")
    text = column.cast(pl.String).str.strip_chars()
    return Reading(where(text != "", text), _none(column))


def _as_float(given: pl.Series) -> pl.Series:
    """Finite floats, else null."""
    if _is_text(given):
        number = where(given.str.contains(_NUMBER), given).cast(pl.Float64, strict=False)
    elif _is_number(given):
        number = given.cast(pl.Float64)
    else:
        return _none(given, pl.Float64)
    return where(number.is_finite(), number)


def _as_integer(given: pl.Series, rounded: pl.Series) -> pl.Series:
    """Integers exactly, everything else as `rounded`, a float."""
    near = rounded.cast(pl.Int64, strict=False)
    if _is_text(given) or given.dtype.is_integer():  # a cast of floats and decimals cuts
        return first(given.cast(pl.Int64, strict=False), near)
    return near


def _number(column: pl.Series, words: str, whole: bool) -> Reading:
    if isinstance(column.dtype, pl.Duration) and not whole:
        ticks, per_ms = column.to_physical(), _PER_MS[column.dtype.time_unit]
        return Reading(ticks if per_ms == 1 else (ticks / per_ms).round().cast(pl.Int64), _none(column))
    given = _given(column)
    number = _as_float(given)
    rounded = number.round()
    value = _as_integer(given, where(number == rounded, rounded) if whole else rounded)
    return Reading(value, why((given.is_not_null() & value.is_null(), words)))


def _truth(column: pl.Series) -> Reading:
    if column.dtype in (pl.Boolean, pl.Null):
        return Reading(column.cast(pl.Boolean), _none(column))
    given = _given(column)
    number = _as_float(given)
    true, false = number == 1, number == 0
    if _is_text(column):
        word = given.str.to_lowercase()
        true, false = true.fill_null(False) | word.is_in(TRUE), false.fill_null(False) | word.is_in(FALSE)
    value = where((true | false).fill_null(False), true)
    return Reading(value, why((given.is_not_null() & value.is_null(), NO_TRUTH)))


def _tags(column: pl.Series) -> Reading:
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if isinstance(column.dtype, pl.List):
        inner = column.dtype.inner
        if inner.is_nested():
            return _refused(column, pl.List(pl.String), "is no list of texts")
        if inner.is_float():
            column = column.list.eval(pl.element().fill_nan(None))
        lists = column.cast(pl.List(pl.String))
        if inner.is_float() or inner.is_decimal():
            lists = lists.list.eval(pl.element().str.replace(r"\.0+$", ""))
        return Reading(_without_empty(lists, ""), _none(column))
    text, problem = _free_text(column)
    bare = text.str.strip_chars("[]{}")
    split = bare.str.split(LIST_MARKS[-1])
    for mark in reversed(LIST_MARKS[:-1]):
        split = where(bare.str.contains(mark, literal=True), bare.str.split(mark), split)
    return Reading(_without_empty(split, "'\""), problem)


def _vector(column: pl.Series) -> Reading:
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    if column.dtype == pl.Null or _is_text(column):
        text = _given(column.cast(pl.String)).str.strip_chars("[]() \t\r\n")
        column = where(text != "", text.str.replace_all(r"\s*[,|;\s]\s*", ",").str.split(","))
    if not isinstance(column.dtype, pl.List) or column.dtype.inner.is_nested():
        return _refused(column, pl.List(pl.Float64), "is no list of numbers")
    inner = column.dtype.inner
    if not (inner.is_numeric() or inner.is_decimal() or inner in (pl.String, pl.Null)):
        return _refused(column, pl.List(pl.Float64), "is no list of numbers")
    numbers = column.cast(pl.List(pl.Float64), strict=False)
    broken = numbers.list.eval(pl.element().is_null()).list.any().fill_null(False)
    return Reading(where(~broken, numbers), why((broken, "is no list of numbers")))


def _without_empty(lists: pl.Series, around: str) -> pl.Series:
    """Without blanks (and `around`) at the ends of each text, and without empty ones."""
    element = pl.element().str.strip_chars(" \t\r\n" + around)
    return lists.list.eval(element.filter(element.is_not_null() & (element != "")))


def _instant(column: pl.Series) -> Reading:
    dtype = column.dtype
    if isinstance(dtype, pl.Datetime) or dtype == pl.Date:
        read = column.dt.epoch("ms") if dtype != pl.Date else column.to_physical().cast(pl.Int64) * DAY_MS
        return _judged(read, column, is_number=read.is_null())
    given = _given(column)
    if _is_text(column):
        is_number = given.str.contains(_NUMBER) & ~given.str.contains(_BASIC_DATE)
        number = where(is_number, given)
        read = _as_integer(number, _as_float(number).floor())
        if not is_number.all():
            read = first(read, _iso(given))
        rounded = given.str.contains(_ROUNDED)
        value, problem = _judged(where(~rounded, read), given, is_number)
        slashes = given.str.contains(_SLASHES) & value.is_null()
        which = "does not say whether day or month comes first: write ISO 8601, as 2026-10-25T10:00:00Z"
        return Reading(value, first(why((slashes, which), (rounded, LOST_DIGITS)), problem))
    if _is_number(column):
        value, problem = _judged(_as_integer(given, _as_float(given).floor()), given, is_number=given.is_not_null())
        # floats alone lose digits: in 32 bits an instant of today is known to two minutes
        lost = given.abs() >= _EXACT[dtype] if dtype.is_float() else pl.repeat(False, len(given), eager=True)
        return Reading(where(~lost, value), first(problem, why((lost, LOST_DIGITS))))
    return _refused(column, pl.Int64, NO_INSTANT)


def _judged(read: pl.Series, given: pl.Series, is_number: pl.Series) -> Reading:
    """A number in another unit than milliseconds is no instant. 0 is one here: it says that none is known."""
    seconds = is_number & read.is_between(1, EARLIEST_MS - 1)
    digits = read.is_between(*DATES_OF_14_DIGITS)
    if read.is_between(*ABOUT_1976).any():
        digits |= read.cast(pl.String).str.contains(DATES_OF_12_DIGITS)
    late = read > LATEST_MS
    problem = why(
        (given.is_not_null() & read.is_null(), NO_INSTANT),
        (seconds, "is in seconds: write UTC milliseconds"),
        (digits & is_number, IN_DIGITS),
        (late & is_number, "is in microseconds: write UTC milliseconds"),
        (late, "is after the year 5138"),
    )
    return Reading(where(problem.is_null(), read), problem)


def _iso(text: pl.Series) -> pl.Series:
    """UTC milliseconds of ISO 8601; hour 24 is the next day's 0, second 60 the next minute's 0."""
    groups = text.str.extract_groups(_ISO).struct.unnest()

    def field(name: str) -> pl.Series:
        return groups[name].cast(pl.Int64).fill_null(0)

    date = groups.select(pl.concat_str("year", "month", "day", separator="-")).to_series()
    days = date.str.to_date("%Y-%m-%d", strict=False).to_physical().cast(pl.Int64)
    hour, minute, second = field("hour"), field("minute"), field("second")
    fraction = groups["fraction"].fill_null("").str.head(3).str.pad_end(3, "0").cast(pl.Int64)
    zone_hour, zone_minute = field("zone_hour"), field("zone_minute")
    east = zone_hour * 60 + zone_minute
    zone = where(groups["sign"] == "-", -east, east)
    on_the_hour = (minute == 0) & (second == 0) & (fraction == 0)
    possible = (
        ((hour <= 23) | ((hour == 24) & on_the_hour))
        & (minute <= 59)
        & ((second <= 59) | ((second == 60) & (minute == 59)))
        & (zone_hour <= 18)
        & (zone_minute <= 59)
    )
    clock = ((hour * 60 + minute) * 60 + second) * 1000 + fraction
    return where(possible, days * DAY_MS + clock - zone * MINUTE_MS)


def _day(column: pl.Series) -> Reading:
    if isinstance(column.dtype, pl.Duration):
        return _refused(column, pl.String, NO_DAY)
    if column.dtype.is_temporal():
        text = column.cast(pl.String)
    else:
        text = _id(column).value
    day = text.str.replace(r"^([0-9]{4})-?([0-9]{2})-?([0-9]{2})([T ].*)?$", "${1}-${2}-${3}")
    value = day.str.to_date("%Y-%m-%d", strict=False).dt.strftime("%Y-%m-%d")
    return Reading(value, why((_given(column).is_not_null() & value.is_null(), NO_DAY)))
