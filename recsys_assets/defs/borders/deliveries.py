"""Whether a day was delivered like other days: as many rows, and rows until its end."""

from collections.abc import Callable
from typing import TypeVar

import dagster as dg
import pyarrow.parquet as pq

from recsys.events import DAY_MS
from recsys.lake import Lake
from recsys.monitoring import deliveries
from recsys.sources.opening import open_source
from recsys.sources.source import day_number
from recsys_assets.checks.days import by_day, days_of_run
from recsys_assets.checks.nothing import nothing
from recsys_assets.resources import Workspace

T = TypeVar("T")


@dg.asset_check(asset="raw_events")
def volume_is_usual(context: dg.AssetCheckExecutionContext, workspace: Workspace) -> dg.AssetCheckResult:
    """As many events as on the days before: not half, not twice."""
    lake = workspace.lake
    every = lake.days("raw", "events")
    rows = {day: int(pq.read_metadata(lake.day(day, "raw", "events")).num_rows) for day in every}
    anomalies = {
        day: deliveries.volume(rows[day], [rows[d] for d in every if d < day])
        for day in days_of_run(context, lake, "raw", "events")
    }
    return _told(anomalies)


@dg.asset_check(asset="raw_events")
def events_arrived_until_the_end(context: dg.AssetCheckExecutionContext, workspace: Workspace) -> dg.AssetCheckResult:
    """No silence longer than the days before had, no hours with far fewer people: half a delivery is half a day."""
    lake, offset = workspace.lake, open_source(workspace.settings).utc_offset_ms

    def look(day: str, before: list[deliveries.Arrivals]) -> tuple[deliveries.Arrivals, deliveries.Anomaly]:
        arrived = deliveries.Arrivals.of(*_arrivals(lake, day), day_number(day) * DAY_MS - offset)
        return arrived, deliveries.freshness(arrived, before)

    return _in_order(context, lake, look)


@dg.asset_check(asset="raw_events")
def no_user_dominates(context: dg.AssetCheckExecutionContext, workspace: Workspace) -> dg.AssetCheckResult:
    """No single user has a larger share of the events than any had before: a bot would teach a model its own taste."""
    lake = workspace.lake

    def look(day: str, before: list[float]) -> tuple[float, deliveries.Anomaly]:
        share = _largest_share(lake, day)
        return share, deliveries.dominance(share, before)

    return _in_order(context, lake, look)


def _in_order(
    context: dg.AssetCheckExecutionContext, lake: Lake, look: Callable[[str, list[T]], tuple[T, deliveries.Anomaly]]
) -> dg.AssetCheckResult:
    """Look at each day with the measures of the days before it; tell of those that the run is about."""
    asked = set(days_of_run(context, lake, "raw", "events"))
    before, anomalies = list[T](), dict[str, deliveries.Anomaly]()
    for day in lake.days("raw", "events")[-deliveries.HISTORY - len(asked) :]:
        measure, anomaly = look(day, before)
        before.append(measure)
        if day in asked:
            anomalies[day] = anomaly
    return _told(anomalies)


def _largest_share(lake: Lake, day: str) -> float:
    users = lake.read(lake.day(day, "raw", "events"), ["user_id"])["user_id"].drop_null()
    return max(users.value_counts().field("counts").to_pylist(), default=0) / max(len(users), 1)


def _arrivals(lake: Lake, day: str):  # type: ignore[no-untyped-def]
    """Instants of arrival, and a number for whom each is of (-1: nobody is named): two int64 arrays."""
    rows = lake.read(lake.day(day, "raw", "events"), ["received_at", "user_id"])
    rows = rows.filter(rows["received_at"].is_valid())
    users = rows["user_id"].combine_chunks().dictionary_encode().indices.fill_null(-1)
    return rows["received_at"].to_numpy(), users.to_numpy().astype("int64")


def _told(anomalies: dict[str, deliveries.Anomaly]) -> dg.AssetCheckResult:
    return by_day(anomalies) if anomalies else nothing("no day was asked about")
