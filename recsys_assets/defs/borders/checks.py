"""A check at each border a table crosses: its suite (expectations/), and that no row went missing on the way."""

from collections.abc import Sequence

import dagster as dg
import pyarrow.compute as pc
import pyarrow.parquet as pq

from expectations.events import CLEANED_EVENTS, RAW_EVENTS
from expectations.impression_features import COLUMNS, IMPRESSION_FEATURES
from expectations.impressions import IMPRESSIONS
from expectations.items import ITEMS
from recsys.events import KINDS
from recsys.lake import Lake
from recsys_assets.checks.bridge import from_great_expectations
from recsys_assets.checks.days import days_of_run
from recsys_assets.checks.nothing import nothing
from recsys_assets.checks.validation import Suite, validate
from recsys_assets.resources import Workspace


@dg.asset_check(asset="raw_events", blocking=True)
def raw_events_meet_expectations(context: dg.AssetCheckExecutionContext, workspace: Workspace) -> dg.AssetCheckResult:
    """Raw events have the agreed columns and are mostly usable."""
    return _validated(context, workspace.lake, RAW_EVENTS, "raw", "events")


@dg.asset_check(asset="cleaned_events", blocking=True)
def cleaned_events_meet_expectations(
    context: dg.AssetCheckExecutionContext, workspace: Workspace
) -> dg.AssetCheckResult:
    """Cleaned events are what every feature assumes them to be."""
    return _validated(context, workspace.lake, CLEANED_EVENTS, "cleaned", "events")


@dg.asset_check(asset="impressions", blocking=True)
def impressions_meet_expectations(context: dg.AssetCheckExecutionContext, workspace: Workspace) -> dg.AssetCheckResult:
    """Impressions carry outcomes that can be learned from."""
    return _validated(context, workspace.lake, IMPRESSIONS, "cleaned", "impressions")


@dg.asset_check(asset="impression_features", blocking=True)
def impression_features_meet_expectations(
    context: dg.AssetCheckExecutionContext, workspace: Workspace
) -> dg.AssetCheckResult:
    """Every feature lies within the range that the catalogue states."""
    return _validated(context, workspace.lake, IMPRESSION_FEATURES, "features", "impressions", columns=COLUMNS)


@dg.asset_check(asset="items", blocking=True)
def items_meet_expectations(workspace: Workspace) -> dg.AssetCheckResult:
    """Items are there, one row each, of a known type."""
    lake = workspace.lake
    table = lake.read(lake.table("cleaned", "items"))
    return _looked_at(from_great_expectations(validate(table, ITEMS)), table.num_rows)


@dg.asset_check(asset="cleaned_events", blocking=True)
def every_raw_event_is_accounted_for(
    context: dg.AssetCheckExecutionContext, workspace: Workspace
) -> dg.AssetCheckResult:
    """Of each day: raw rows = cleaned + quarantined + duplicates + searches."""
    lake = workspace.lake
    counts = {day: _fates(lake, day) for day in days_of_run(context, lake, "cleaned", "events")}
    if not any(map(any, counts.values())):
        return nothing("there is no raw event, and nothing was made of any")
    wrong = [day for day, (raw, *fates) in counts.items() if raw != sum(fates)]
    raw, cleaned, quarantined, duplicates, searches = (sum(row[i] for row in counts.values()) for i in range(5))
    rows = "".join(f"\n| {day} | {' | '.join(f'{n:,}' for n in row)} |" for day, row in counts.items())
    table = f"| day | raw | cleaned | quarantined | duplicates | searches |\n|{' --- |' * 6}{rows}"
    totals = f"{raw:,} raw = {cleaned:,} cleaned + {quarantined:,} quarantined + {duplicates:,} duplicates"
    totals += f" + {searches:,} searches" if searches else ""
    return dg.AssetCheckResult(
        passed=not wrong,
        description=f"rows went missing on {', '.join(wrong)}: materialize these days again" if wrong else totals,
        metadata={
            "days": dg.MetadataValue.md(table),
            "raw": raw,
            "cleaned": cleaned,
            "quarantined": quarantined,
            "duplicates": duplicates,
            "searches": searches,
        },
    )


@dg.asset_check(asset="impressions", blocking=True)
def every_impression_event_has_its_row(
    context: dg.AssetCheckExecutionContext, workspace: Workspace
) -> dg.AssetCheckResult:
    """Of each day: the impressions are the cleaned events of that kind, nobody's left out, at the same positions;
    others only where the log has none of them.
    """
    lake = workspace.lake
    wrong, total, implied, drawn = [], 0, 0, 0
    for day in days_of_run(context, lake, "cleaned", "impressions"):
        events = lake.read(lake.day(day, "cleaned", "events"), ["position", "kind_code", "user_key"])
        somebodys = events.filter(pc.not_equal(events["user_key"], 0))
        shown = somebodys.filter(pc.equal(somebodys["kind_code"], KINDS["impression"]))["position"]
        rows = lake.read(lake.day(day, "cleaned", "impressions"), ["position", "sampling_rate"])
        logged = rows.filter(pc.is_null(rows["sampling_rate"]))["position"]
        others = rows["sampling_rate"].drop_null()
        positives = pc.sum(pc.equal(others, 1.0)).as_py() or 0
        total, implied, drawn = total + len(logged), implied + positives, drawn + len(others) - positives
        if not logged.equals(shown) or (len(others) and len(logged)):
            wrong.append(day)
    if not (total or implied or drawn or wrong):
        return nothing("there is no impression")
    words = f"{total:,} impressions"
    if implied:
        words += f"; {implied:,} implied by engagements on days without any, and {drawn:,} negatives drawn for them"
    if wrong:
        words = f"impressions and events disagree on {', '.join(wrong)}: materialize these days again"
    return dg.AssetCheckResult(passed=not wrong, description=words)


@dg.asset_check(asset="raw_events")
def no_day_is_empty(context: dg.AssetCheckExecutionContext, workspace: Workspace) -> dg.AssetCheckResult:
    """Every day has events: one without is more often a broken delivery than a quiet day."""
    lake = workspace.lake
    days = days_of_run(context, lake, "raw", "events")
    if not days:
        return nothing("no day was asked about")
    empty = [day for day in days if not _rows(lake, day, "raw", "events")]
    return dg.AssetCheckResult(
        passed=not empty,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"no event was received on {', '.join(empty)}: is the source complete?"
        if empty
        else f"{len(days)} days",
    )


def _validated(
    context: dg.AssetCheckExecutionContext,
    lake: Lake,
    suite: Suite,
    *table: str,
    columns: Sequence[str] | None = None,
) -> dg.AssetCheckResult:
    days = days_of_run(context, lake, *table)
    rows = lake.read_days(days, *table, columns=columns) if days else None
    if rows is None or not rows.num_rows:  # no_day_is_empty says so
        return nothing("there are no rows to validate")
    return _looked_at(from_great_expectations(validate(rows, suite, ".".join(table))), rows.num_rows)


def _looked_at(result: dg.AssetCheckResult, rows: int) -> dg.AssetCheckResult:
    metadata = {**result.metadata, "looked_at": rows}
    return result._replace(description=f"{result.description}; looked at {rows:,} rows", metadata=metadata)


def _fates(lake: Lake, day: str) -> list[int]:
    """Rows of a day: raw, cleaned, quarantined, duplicates, searches; each from the footer of its own file."""
    cleaned = [_rows(lake, day, "cleaned", name) for name in ("events", "quarantine", "duplicates", "searches")]
    return [_rows(lake, day, "raw", "events"), *cleaned]


def _rows(lake: Lake, day: str, *table: str) -> int:
    path = lake.day(day, *table)
    return int(pq.read_metadata(path).num_rows) if path.exists() else 0
