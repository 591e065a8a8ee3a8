"""Which days a check is about."""

from __future__ import annotations

import dagster as dg

from recsys.lake import Lake


def days_of_run(context: dg.AssetCheckExecutionContext, lake: Lake, *table: str) -> list[str]:
    """The days that this run materializes of a table; every day it has where the run names none."""
    tags = context.run.tags
    there = lake.days(*table)
    first = tags.get("dagster/asset_partition_range_start") or tags.get("dagster/partition")
    last = tags.get("dagster/asset_partition_range_end") or tags.get("dagster/partition")
    if first is None or last is None:
        return there
    return [day for day in there if first <= day <= last]
