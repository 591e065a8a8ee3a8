"""Which days a check is about, and what it says of them."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from recsys.lake import Lake
from recsys.monitoring.deliveries import Anomaly
from recsys_assets.checks.nothing import nothing


def days_of_run(context: dg.AssetCheckExecutionContext, lake: Lake, *table: str) -> list[str]:
    """The days that this run materializes of a table; every day it has where the run names none."""
    tags = context.run.tags
    there = lake.days(*table)
    first = tags.get("dagster/asset_partition_range_start") or tags.get("dagster/partition")
    last = tags.get("dagster/asset_partition_range_end") or tags.get("dagster/partition")
    if first is None or last is None:
        return there
    return [day for day in there if first <= day <= last]


def by_day(
    anomalies: Mapping[str, Anomaly], *, check_name: str | None = None, asset_key: str | None = None
) -> dg.AssetCheckResult:
    """One warning of all days that are strange, else the words of the newest day; nothing where no day could tell."""
    told = {day: f"{day}: {anomaly.words}" for day, anomaly in anomalies.items()}
    strange = [told[day] for day, anomaly in anomalies.items() if not anomaly.holds]
    newest = list(told.values())[-1]
    if not any(anomaly.tells for anomaly in anomalies.values()):
        return nothing(newest, check_name=check_name, asset_key=asset_key)
    return dg.AssetCheckResult(
        check_name=check_name,
        asset_key=asset_key,
        passed=not strange,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(strange[:3]) or f"{newest} ({len(told):,} days looked at)",
    )
