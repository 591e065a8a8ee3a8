"""The day, as a partition: from the source's first day on."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cache

import dagster as dg

from recsys.settings import from_environment
from recsys.sources.source import open_source


@cache
def days() -> dg.DailyPartitionsDefinition:
    """Local calendar days of the source: from its first day to yesterday, or to its last day where that is later."""
    source = open_source(from_environment())
    beyond = (date.fromisoformat(source.last_day()) - datetime.now(UTC).date()).days + 1
    return dg.DailyPartitionsDefinition(start_date=source.first_day(), end_offset=max(beyond, 0))
