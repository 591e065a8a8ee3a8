"""What a source holds, what can be learned from it and what it lacks: for `make check`, and how `make run` begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import duckdb
import polars as pl
import pyarrow as pa

from recsys import vocabulary
from recsys.events import DAY_MS, IDENTITY
from recsys.sources.days import stray_days
from recsys.sources.derived import CLICKED, Rules
from recsys.sources.doubts import (
    beating,
    hint,
    late,
    later_dates,
    long_slates,
    misread,
    mixed_units,
    odd,
    unanswered,
    unlike_their_items,
)
from recsys.sources.files import Files
from recsys.sources.negatives import NEGATIVES
from recsys.sources.source import Source, day_number

_OTHERS: Final = ("impression_id", "watch_ms", "slot", "device", "shelf", "request_id", "received_at")
_ASKED: Final = (*IDENTITY, *_OTHERS, "date", "received_day", "reason")
# What a log or a catalogue may lack, and what that costs; a column counts as lacking where no row says anything.
_EVENTS_LACK: Final = {
    "device": "no devices: features of them are unknown",
    "slot": "no slots: what a higher place gains cannot be told from what the item gains",
    "shelf": "no shelves: all shelves learn from the same rows",
    "request_id": "no request_id: items that were shown together are not known to be",
}
_ITEMS_LACK: Final = {
    "title": "no titles: answers show ids alone",
    "category": "no categories or tags: tastes are learned item by item, and slates cannot be varied",
    "creator_id": "no creators: nobody can be followed or blocked, and slates cannot be varied by them",
    "duration_ms": "no durations of items: a short item watched to its end counts as what was watched of it",
    "published_at": "no published_at: new items cannot be told from old ones",
}


@dataclass(frozen=True)
class Survey:
    """What was found in a source."""

    source: str
    files: dict[str, list[str]]  # read, by table
    ignored: list[str]  # a line for each thing that is not read
    days: dict[str, int]  # rows by day, without stray days
    dates: dict[str, int]  # of what was shown, or is taken to have been: rows by the date that splits them
    stray_days: dict[str, int]
    quarantined: dict[str, int]  # reason (vocabulary.RULES) -> rows that are read and cannot be used
    kinds: dict[str, int]  # of the rows that can be used; the most frequent first
    users: int
    items: int  # of the catalogue
    said: list[str]  # of how many items it says what the item tower reads beside titles
    seen: int  # of them, in events
    known: float | None  # share of the events with an item that is in the catalogue; None: no event has an item
    hint: str | None  # why ids do not match
    refused: dict[str, list[tuple[str, int, str]]]  # table -> reason, how many, the first of them
    derived: list[str]  # what its events imply, a line a rule
    learned: list[str]
    lacks: list[str]
    mend: list[str] = field(default_factory=list)  # without which no run can end

    @property
    def rows(self) -> int:
        return sum(self.days.values())


def survey(source: Source, today: str | None) -> Survey:
    """Reads a source as a whole.

    Args:
        today: local day of the clock; None where the source lives in its own time.

    Raises:
        SourceError: it cannot be read, or every row lies after tomorrow.
    """
    rows = dict(source.days())
    strays = stray_days(rows, today)
    every, refused = _events(source, list(rows))
    events = every.filter(pl.col("reason").is_null())
    shown = _shown(events.filter(~pl.col("received_day").is_in(list(strays))))
    items = pl.DataFrame(source.items())
    users = pl.DataFrame(source.attributes())["user_id"].unique().to_list()
    own = events["kind"].value_counts(sort=True)
    kinds = dict(zip(own["kind"], own["count"], strict=True))
    of_items = events["item_id"].drop_nulls()
    matched = of_items.is_in(items["item_id"].implode())
    known = float(matched.mean()) if len(of_items) else None  # type: ignore[arg-type]
    rules = source.derives if isinstance(source, Files) else Rules()
    learned = _learned(kinds, rules, events)
    quarantined = dict(every["reason"].drop_nulls().value_counts(sort=True).iter_rows())
    reasons_of = {
        "events": _by_reason(refused),
        "items": _by_reason(pl.DataFrame(source.refused("items"))),
        "users": _by_reason(pl.DataFrame(source.refused("users"))),
    }
    return Survey(
        source=source.name,
        files=source.files() if isinstance(source, Files) else {},
        ignored=source.ignored() if isinstance(source, Files) else [],
        days={day: n for day, n in rows.items() if day not in strays},
        dates=dict(shown.group_by("date").len().sort("date").iter_rows()),
        stray_days={day: rows[day] for day in strays},
        quarantined=quarantined,
        kinds=kinds,
        users=events["user_id"].n_unique(),
        items=items.height,
        said=_said(items),
        seen=of_items.filter(matched).n_unique(),
        known=known,
        hint=hint(of_items.filter(~matched).unique().to_list(), items["item_id"].to_list()),
        refused={table: reasons for table, reasons in reasons_of.items() if reasons},
        derived=[*rules.describe(), *_rated(source)],
        learned=learned,
        lacks=[
            *_lacks(kinds, rules, learned, shown, items),
            *odd(events, items, users),
            *misread(source),
            *beating(source, events),
            *unanswered(events, rules),
            *late(events),
            *long_slates(events),
            *later_dates(events),
            *unlike_their_items(events, items),
            *mixed_units(events),
        ],
        mend=[
            *_mend(known, kinds, learned, quarantined),
            *_unavailable(kinds, items, until=(day_number(max(rows.keys() - strays.keys())) + 1) * DAY_MS),
            *_unvaried(kinds, rules, learned, events),
        ],
    )


def lacks(surveyed: Survey) -> list[str]:
    """What the source lacks with what it costs, and what was set aside: the lines that a run begins with."""
    lines = list(surveyed.lacks)
    if surveyed.known is not None and surveyed.known < 1:
        lines.append(_unknown_items(surveyed))
    if surveyed.quarantined:
        lines.append(
            f"events: {sum(surveyed.quarantined.values()):,} rows to quarantine: {_numbered(surveyed.quarantined)}"
        )
    for table, reasons in surveyed.refused.items():
        count, (reason, _, first) = sum(n for _, n, _ in reasons), reasons[0]
        what = "rows set aside" if table == "events" else "values that cannot be read"
        lines.append(f"{table}: {count:,} {what} (first: {first}: {reason})")
    return lines + surveyed.ignored


def _numbered(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in counts.items())


def _said(items: pl.DataFrame) -> list[str]:
    lines = []
    for name in ("description", "creator_name", "language", "embedding"):
        if name in items.columns and (values := items[name].drop_nulls()).len():
            each = f" of {values.list.len()[0]:,} numbers" if name == "embedding" else ""
            lines.append(f"{name}{each}: {values.len():,}")
    return lines


def sparkline(rows: Sequence[int], width: int = 48) -> str:
    """Bars of how many rows each day has; of more days than `width`, sums of neighbours."""
    step = -(-len(rows) // width) if rows else 1
    sums = [sum(rows[i : i + step]) for i in range(0, len(rows), step)]
    most = max(sums, default=0) or 1
    return "".join("▁▂▃▄▅▆▇█"[min(7, n * 8 // most)] for n in sums)


def _unknown_items(surveyed: Survey) -> str:
    hint = f": {surveyed.hint}" if surveyed.hint else ""
    return f"{1 - (surveyed.known or 0):.1%} of the events name an item that is not in the catalogue{hint}"


def _events(source: Source, days: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """_ASKED of every event as the log has it, and the rows that were set aside."""
    offset = source.utc_offset_ms
    if isinstance(source, Files):
        return _judged(source.events().to_arrow(), offset), pl.DataFrame(source.read_day(source.first_day()).rejected)
    read = [source.read_day(day) for day in days]
    events = pl.concat([_judged(day.events, offset) for day in read])
    return events, pl.concat([pl.DataFrame(day.rejected) for day in read])


def _judged(events: pa.Table, utc_offset_ms: int) -> pl.DataFrame:
    """_ASKED of events (EVENT_SCHEMA), with the reason for which cleaning puts a row into quarantine."""
    day = f"date '1970-01-01' + cast((received_at + {utc_offset_ms}) // {DAY_MS} as integer) as received_day"
    said = ", ".join((*IDENTITY, *_OTHERS))
    days = "coalesce(date, strftime(received_day, '%Y-%m-%d')) as date, strftime(received_day, '%Y-%m-%d')"
    with duckdb.connect() as database:
        database.register("events", events)
        judged = f"{vocabulary.sql(utc_offset_ms)} as reason from (select *, {day} from events)"
        return pl.DataFrame(database.sql(f"select {said}, {days} as received_day, {judged}").to_arrow_table())


def _shown(events: pl.DataFrame) -> pl.DataFrame:
    """What makes impressions: those of the log, and engagements of days that have none."""
    is_silent = (~pl.col("kind").is_in(["impression", "exposure"])).all().over("received_day")
    return events.filter((pl.col("kind") == "impression") | (is_silent & pl.col("kind").is_in(["click", *CLICKED])))


def _by_reason(refused: pl.DataFrame) -> list[tuple[str, int, str]]:
    grouped = refused.group_by("reason", maintain_order=True).agg(pl.len(), pl.col("origin").first())
    return list(grouped.sort("len", descending=True, maintain_order=True).iter_rows())


def _learned(kinds: dict[str, int], rules: Rules, events: pl.DataFrame) -> list[str]:
    watched = _any(events.filter(pl.col("kind") == "play"), "watch_ms")
    long_view = {"long_view", "exposure_long_view"} & set(kinds) or (rules.long_view and watched)
    taught = {
        "clicks": "click" in kinds or rules.click is not None,
        "long views": bool(long_view),
        "watch times": watched,
    }
    return [name for name, there in taught.items() if there]


def _lacks(
    kinds: dict[str, int], rules: Rules, learned: list[str], shown: pl.DataFrame, items: pl.DataFrame
) -> list[str]:
    """Args: `shown` is what makes impressions: of them alone devices, shelves, slots and requests are read."""
    lines = []
    if not {"impression", "exposure"} & set(kinds):
        lines.append(
            "no impressions: every first engagement implies one, and items that might have been shown are drawn beside "
            f"it, {NEGATIVES} each; figures of retrieval say more than those of ranking"
        )
    if rules.click:
        lines.append(f"no clicks: each {rules.click} stands for one")
    if "long views" not in learned:
        lines.append("no long views, and no plays with watch_ms that would make them: slates are ordered for clicks")
    elif rules.long_view:
        lines.append("no long views: a play to the end of its item, or of 18 s, makes one")
    if "watch times" not in learned:
        lines.append("no plays with watch_ms: no watch time is predicted")
    lines += [words for column, words in _EVENTS_LACK.items() if not _any(shown, column)]
    return lines + [words for column, words in _ITEMS_LACK.items() if not _any(items, column)]


def _rated(source: Source) -> list[str]:
    """What was made of ratings."""
    if not isinstance(source, Files) or source.said.least is None:
        return []
    of = source.words
    return [
        f"ratings from {source.said.least:g} to {source.said.most:g}: likes from {of.like:g} on, dislikes up to "
        f"{of.dislike:g}, else clicks"
    ]


def _any(frame: pl.DataFrame, column: str) -> bool:
    """Whether any row says anything; 0 is unknown where numbers are kept."""
    values = frame[column].drop_nulls()
    return bool((values != 0).any()) if values.dtype.is_numeric() and column != "slot" else len(values) > 0


def _mend(known: float | None, kinds: dict[str, int], learned: list[str], quarantined: dict[str, int]) -> list[str]:
    if not kinds:
        return [f"no event can be used: all go to quarantine ({_numbered(quarantined)})"]
    lines = []
    if known == 0:
        lines.append("no event names an item of the catalogue: write item_id alike in events and items")
    if {"exposure", "exposure_long_view"} & set(kinds) and not {"impression", "long_view", "click", *CLICKED} & set(
        kinds
    ):
        lines.append(
            "exposures alone are a history, and no days to judge on: give impressions, or events of other kinds"
        )
    if "clicks" not in learned and "long views" not in learned:
        lines.append(f"nothing to learn from: give events of kind click, {', '.join(CLICKED)}")
    return lines


def _unavailable(kinds: dict[str, int], items: pl.DataFrame, until: int) -> list[str]:
    """Nothing may be answered at the end of the log (UTC ms), or drawn beside what one without impressions tells."""
    available = items.filter("is_available")["item_id"].n_unique()
    if not available:
        return ["no item is available: is is_available what it should be?"]
    if not items.filter(pl.col("is_available") & (pl.col("published_at") < until)).height:
        return ["no item is published by the end of the log: is published_at what it should be?"]
    if available == 1 and not {"impression", "exposure"} & set(kinds):
        return ["one item alone is available: no other one might have been shown beside it"]
    return []


def _unvaried(kinds: dict[str, int], rules: Rules, learned: list[str], events: pl.DataFrame) -> list[str]:
    """Impressions of which nothing can be learned: the user had clicked, or viewed, each of them."""
    if "impression" not in kinds or (rules.long_view and "long views" in learned):  # plays make some long and some not
        return []
    pairs = (
        events.select("user_id", "item_id", "kind").group_by("user_id", "item_id").agg(pl.col("kind").value_counts())
    )
    counts = (
        pairs.explode("kind").unnest("kind").pivot("kind", index=["user_id", "item_id"], values="count").fill_null(0)
    )
    for label, kind in {"clicks": rules.click or "click", "long views": "long_view"}.items():
        if label in learned and kind in counts.columns:
            shown = counts.filter(pl.col("impression") > 0)
            if shown.select((pl.col(kind) > 0).any() & (pl.col("impression") > pl.col(kind)).any()).item():
                return []
    return [
        f"every impression has a {rules.click or 'click'} of its user and item, or none has: tell of what was shown and"
        " passed over, or leave impressions out, and what might have been shown is drawn"
    ] * bool(learned)
