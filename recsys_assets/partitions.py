"""The day, as a partition.

Assets carry CALENDAR, any day there may be. A home offers the days that have rows in source or service. Its manifest
holds them, and they are known when the definitions are built, so they are static partitions. Two others were tried
(Dagster 1.13.27). Daily partitions look at the clock, and know a gap only as excluded instants: plays of 1997 beside a
service of today make 10,000 of them in every asset's snapshot. Dynamic ones are ordered as they were added, not by day.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import dagster as dg

from recsys.settings import Settings
from recsys_assets.stock import current

CALENDAR = dg.DailyPartitionsDefinition("1970-01-01", end_offset=2)


@cache
def days(settings: Settings) -> tuple[str, ...]:
    """The days on offer, in order; read once a process, so that a run whose steps take stock keeps its own.

    Raises:
        SourceError: none was written down yet, and the source cannot be read.
    """
    return tuple(current(settings).days)


def days_asked(settings: Settings, tags: Mapping[str, str]) -> list[str]:
    """The days on offer that a run's tags name, in order; none where they name none."""
    one = tags.get("dagster/partition")
    first = tags.get("dagster/asset_partition_range_start", one)
    last = tags.get("dagster/asset_partition_range_end", one)
    return [day for day in days(settings) if first <= day <= last] if first and last else []


def offering(assets: Iterable[Any], offered: tuple[str, ...]) -> list[Any]:
    """Those assets, with these days where they have days."""
    partitions = dg.StaticPartitionsDefinition(list(offered))

    def narrowed(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec if spec.partitions_def is None else spec.replace_attributes(partitions_def=partitions)

    return list(dg.map_asset_specs(narrowed, assets))
