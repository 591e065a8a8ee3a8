"""Shares of a day's events that tell of a broken log: measured for many days at once, judged by the days before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
from scipy import special

from recsys.events import LABEL_WINDOW_MS, OUTCOMES
from recsys.lake import Lake
from recsys.monitoring.deliveries import CHANCE, DEVIATIONS, HISTORY, LEAST_HISTORY, USUAL, Anomaly, too_few

POSITIVE: Final = tuple(kind for kind in OUTCOMES if kind not in ("dislike", "skip"))


def _share(part: int, whole: int) -> float:
    return part / max(1, whole)


@dataclass(frozen=True)
class Day:
    """What the checks know of one cleaned day, in rows."""

    events: int
    unknown: int  # whose item is not in the catalogue
    impressions: int
    positives: int
    outcomes: int
    unlinked: int  # outcomes that answer no impression
    reused: int  # whose event_id another event bore before, on this day or one of those looked at
    example: str  # of a reused id, in words

    def share(self, part: str, whole: str) -> float:
        """One count as a share of another; 0 of none."""
        return _share(getattr(self, part), getattr(self, whole))


def unusual(
    part: int, whole: int, before: Sequence[float], *, floor: float, most: float, what: str, doubt: str
) -> Anomaly:
    """A share of a day against those of the days before it, newest last.

    Args:
        part, whole: how many rows, of how many
        floor: below it a share is never unusual
        most: above it one always is, whatever the days before had
    """
    usual = np.asarray(before[-HISTORY:], np.float64)
    share, bound = _share(part, whole), most
    if len(usual) >= LEAST_HISTORY:
        middle = float(np.median(usual))
        scatter = 1.4826 * float(np.median(np.abs(usual - middle)))
        bound = min(most, max(floor, USUAL * middle, middle + DEVIATIONS * scatter))
    words = f"{part:,} of {whole:,} {what}"
    if share <= bound:
        return Anomaly(True, f"{words} ({share:.2%})")
    return Anomaly(False, f"{words} ({share:.2%}; bound: {bound:.2%}): {doubt}")


def positives(day: Day, before: Sequence[Day]) -> Anomaly:
    """Outcomes of a day's impressions: none, or by far fewer than the days before it had."""
    usual = [past.share("positives", "impressions") for past in before[-HISTORY:] if past.impressions]
    words = f"{day.positives:,} positive outcomes beside {day.impressions:,} impressions"
    if len(usual) < LEAST_HISTORY:  # an imported history ends on a day of few impressions and many old likes
        return too_few(words, len(usual))
    expected = float(np.median(usual)) * day.impressions
    if day.impressions and expected and special.pdtr(day.positives, expected / USUAL) < CHANCE:
        return Anomaly(False, f"{words}, usually {expected:,.0f}: do the outcomes arrive?")
    return Anomaly(True, words)


def measured(lake: Lake, days: Sequence[str]) -> Mapping[str, Day]:
    """Those cleaned days in one pass, each with what lies before it among them."""
    files = [_quoted(lake.day(day, "cleaned", "events")) for day in days]
    if not files:
        return {}
    with duckdb.connect() as database:
        database.execute("set threads = 2")
        database.execute(
            f"create view events as select *, regexp_extract(filename, '([^/]+)\\.parquet$', 1) as day"
            f" from read_parquet([{', '.join(files)}], filename = true)"
        )
        items = _quoted(lake.table("cleaned", "items"))
        counts = _rows(
            database,
            f"""
            select
                day,
                count(*) as events,
                count(*) filter (not exists (select 1 from read_parquet({items}) i where i.item_key = e.item_key))
                    as unknown,
                count(*) filter (kind = 'impression') as impressions,
                count(*) filter (kind in {POSITIVE}) as positives
            from events e group by day
            """,
        )
        linked = _rows(
            database,
            f"""
            with shown as (
                select user_key, item_key, event_id, occurred_at from events where kind in ('impression', 'exposure')
            ),
            outcomes as (select * from events where kind in {OUTCOMES} and user_key != 0),
            named as (
                select distinct o.event_key from outcomes o
                join shown s on s.user_key = o.user_key and s.item_key = o.item_key
                    and s.event_id = coalesce(o.impression_id, o.event_id)
            ),
            guessed as (
                select o.event_key from outcomes o
                asof join shown s
                    on s.user_key = o.user_key and s.item_key = o.item_key and o.occurred_at >= s.occurred_at
                where o.impression_id is null and o.occurred_at - s.occurred_at <= {LABEL_WINDOW_MS}
            )
            select
                day,
                count(*) as outcomes,
                count(*) filter (
                    event_key not in (select event_key from named union select event_key from guessed)
                ) as unlinked
            from outcomes group by day
            """,
        )
        reuse = _rows(
            database,
            """
            with borne as (
                select event_id, min(position) as first, arg_min(kind, position) as first_kind,
                    arg_min(day, position) as first_day
                from events group by event_id having count(*) > 1
            )
            select
                day,
                count(*) as reused,
                arg_min(
                    printf('event_id %s is a %s of %s and a %s of %s', event_id, first_kind, first_day, kind, day),
                    position
                ) as example
            from events join borne using (event_id) where position > first group by day
            """,
        )
    nothing: dict[str, Any] = {"outcomes": 0, "unlinked": 0, "reused": 0, "example": ""}
    return {day: Day(**(nothing | counts[day] | linked.get(day, {}) | reuse.get(day, {}))) for day in sorted(counts)}


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _rows(database: duckdb.DuckDBPyConnection, query: str) -> dict[str, dict[str, Any]]:
    """The rows of a query by their day."""
    selected = database.execute(query)
    names = [column[0] for column in selected.description or []]
    rows = [dict(zip(names, row, strict=True)) for row in selected.fetchall()]
    return {row.pop("day"): row for row in rows}
