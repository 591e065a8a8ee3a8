"""Whether a day's events agree with each other, with the catalogue and with the days before; no check here blocks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import dagster as dg
import pyarrow.parquet as pq

from recsys.lake import Lake
from recsys.monitoring import shares
from recsys.monitoring.deliveries import HISTORY, Anomaly
from recsys_assets.checks.days import by_day, days_of_run
from recsys_assets.checks.nothing import nothing
from recsys_assets.resources import Workspace

Look = Callable[[shares.Day, Sequence[shares.Day]], Anomaly]


def _of(part: str, whole: str, *, floor: float, most: float, what: str, doubt: str) -> Look:
    def look(day: shares.Day, before: Sequence[shares.Day]) -> Anomaly:
        past = [one.share(part, whole) for one in before]
        now = getattr(day, part), getattr(day, whole)
        return shares.unusual(*now, past, floor=floor, most=most, what=what, doubt=doubt)

    return look


def _reuse(day: shares.Day, before: Sequence[shares.Day]) -> Anomaly:
    """Any reuse is told at first; where it is the log's way, only more of it than usual is."""
    past = [one.share("reused", "events") for one in before]
    anomaly = shares.unusual(
        day.reused,
        day.events,
        past,
        floor=0.0,
        most=0.0 if len(past) < shares.LEAST_HISTORY else 1.0,
        what="events bear an event_id that another event bears",
        doubt="each is kept as an event of its own",
    )
    return replace(anomaly, words=f"{anomaly.words}; {day.example}") if day.example else anomaly


LOOKS: dict[str, Look] = {
    "items_are_in_the_catalogue": _of(
        "unknown",
        "events",
        floor=0.01,
        most=0.2,
        what="events are of items that are not in the catalogue",
        doubt="are their ids written as in items?",
    ),
    "outcomes_have_impressions": _of(
        "unlinked",
        "outcomes",
        floor=0.05,
        most=0.5,
        what="outcomes answer no impression",
        doubt="they label nothing: do impression_id, user and item agree?",
    ),
    "days_have_positives": shares.positives,
    "event_ids_are_used_once": _reuse,
}


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec("deliveries_are_rarely_doubled", asset="cleaned_events"),
        *(dg.AssetCheckSpec(name, asset="cleaned_events", additional_deps=["items"]) for name in LOOKS),
    ]
)
def shares_are_usual(context: dg.AssetCheckExecutionContext, workspace: Workspace) -> Iterator[dg.AssetCheckResult]:
    """Shares of duplicates, of unknown items, of outcomes without impression, of positives, and of ids used again."""
    lake = workspace.lake
    asked = days_of_run(context, lake, "cleaned", "events")
    every = lake.days("cleaned", "events")
    first = every.index(asked[0]) if asked else 0
    last = every.index(asked[-1]) + 1 if asked else 0
    looked = every[max(0, first - HISTORY) : last]
    yield _told("deliveries_are_rarely_doubled", "event", _doubled(lake, looked, asked))
    days = shares.measured(lake, looked)
    known = [day for day in looked if day in days]
    for name, look in LOOKS.items():
        anomalies = {}
        for at, day in enumerate(known):
            if day in asked and _has(name, days[day]):
                anomalies[day] = look(days[day], [days[past] for past in known[:at]])
        yield _told(name, "outcome beside an impression" if name in OF_IMPRESSIONS else "event", anomalies)


OF_IMPRESSIONS = ("outcomes_have_impressions", "days_have_positives")


def _has(name: str, day: shares.Day) -> bool:
    return day.impressions > 0 if name in OF_IMPRESSIONS else day.events > 0


def _doubled(lake: Lake, looked: Sequence[str], asked: Sequence[str]) -> dict[str, Anomaly]:
    before, anomalies = list[float](), dict[str, Anomaly]()
    for day in looked:
        raw, doubled = (_rows(lake, day, *table) for table in (("raw", "events"), ("cleaned", "duplicates")))
        if not raw:
            continue
        if day in asked:
            anomalies[day] = shares.unusual(
                doubled,
                raw,
                before,
                floor=0.05,
                most=0.5,
                what="deliveries were duplicates",
                doubt="was the day delivered twice?",
            )
        before.append(doubled / raw)
    return anomalies


def _rows(lake: Lake, day: str, *table: str) -> int:
    path = lake.day(day, *table)
    return int(pq.read_metadata(path).num_rows) if path.exists() else 0


def _told(check: str, what: str, anomalies: dict[str, Anomaly]) -> dg.AssetCheckResult:
    if not anomalies:
        return nothing(f"there was no {what} to look at", check_name=check, asset_key="cleaned_events")
    return by_day(anomalies, check_name=check, asset_key="cleaned_events")
