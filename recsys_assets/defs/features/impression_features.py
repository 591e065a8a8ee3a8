"""Every impression's features and history as they were served, or would have been; the proof that a replay agrees."""

import os
from functools import partial

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from dagster_pyspark import LazyPySparkResource

from recsys.cleaned.log import read_log
from recsys.cleaned.people import people_of
from recsys.cleaned.versions import item_history
from recsys.features.impressions import IMPRESSION_COLUMNS, impression_features, replayed
from recsys.features.parity import compare
from recsys.features.spark import runner
from recsys.features.sweep import point_in_time
from recsys.lake import Lake
from recsys_assets.checks.nothing import nothing
from recsys_assets.content import content_of_days
from recsys_assets.defs.automation.conditions import MISSED_DAY
from recsys_assets.partitions import CALENDAR
from recsys_assets.resources import Workspace

BATCH = 250_000  # impressions swept at once: 290 MB of aggregates, and at most as much of histories
SAMPLE = 5_000  # impressions that the check replays: 0.5 million values


@dg.asset(
    name="impression_features",
    deps=["cleaned_events", "impressions", "items", "raw_users"],
    partitions_def=CALENDAR,
    backfill_policy=dg.BackfillPolicy.single_run(),
    automation_condition=MISSED_DAY,
    kinds={"numba", "parquet"},
    owners=["team:recsys"],
)
def features_of_impressions(
    context: dg.AssetExecutionContext, workspace: Workspace, spark: LazyPySparkResource
) -> dg.MaterializeResult:
    """Point-in-time features and the user's last events, one row per impression, from all events received before it."""
    lake, asked = workspace.lake, sorted(context.partition_keys)
    log, items, people = read_log(lake, through=asked[-1]), item_history(lake), people_of(lake)
    if workspace.settings.engine == "spark":
        sweep = runner(spark.spark_session, lake.home / "spark")
    else:
        sweep = partial(point_in_time, threads=os.cpu_count() or 1)
    for some in batches(lake, asked):
        tables = [lake.read(lake.day(day, "cleaned", "impressions"), IMPRESSION_COLUMNS) for day in some]
        features = impression_features(log, items, pa.concat_tables(tables), sweep, people)
        start = 0
        for day, table in zip(some, tables, strict=True):
            lake.write(features.slice(start, table.num_rows), lake.day(day, "features", "impressions"))
            start += table.num_rows
            context.add_asset_metadata({"dagster/row_count": table.num_rows}, partition_key=day)
    return dg.MaterializeResult(
        metadata={"events": len(log.position)},
        data_version=content_of_days(lake, asked, "features", "impressions"),
    )


@dg.asset_check(asset="impression_features", blocking=True)
def parity(workspace: Workspace) -> dg.AssetCheckResult:
    """A sample of rows, replayed event by event as the online store does, gives the same bytes."""
    lake = workspace.lake
    stored, sample = [], []
    every = lake.days("features", "impressions")
    if not every:
        return dg.AssetCheckResult(passed=False, description="there are no features yet: materialize them")
    for day in every:
        table = lake.read(lake.day(day, "features", "impressions"))
        step = max(1, table.num_rows * len(every) // SAMPLE)
        stored.append(table.take(pa.array(range(0, table.num_rows, step), pa.int64())))
        impressions = lake.read(lake.day(day, "cleaned", "impressions"), IMPRESSION_COLUMNS)
        sample.append(impressions.take(pa.array(range(0, impressions.num_rows, step), pa.int64())))
    again = impression_features(
        read_log(lake, through=every[-1]), item_history(lake), pa.concat_tables(sample), replayed, people_of(lake)
    )
    compared = compare(pa.concat_tables(stored), again)
    if not again.num_rows:
        return nothing("there is no impression to replay: no event of the log was shown, or implies that it was")
    return dg.AssetCheckResult(
        passed=compared.holds,
        description=str(compared) if compared.holds else f"{compared}{_stale(lake, every)}",
        metadata={"values": compared.values, "mismatches": compared.mismatches, "missing": compared.missing},
    )


@dg.asset_check(asset="impression_features", blocking=True)
def rows_accounted(workspace: Workspace) -> dg.AssetCheckResult:
    """Every impression has one row of features, and nothing else has."""
    lake = workspace.lake
    wrong, rows = {}, 0
    for day in lake.days("features", "impressions"):
        given, made = (
            pq.read_metadata(lake.day(day, stage, "impressions")).num_rows for stage in ("cleaned", "features")
        )
        rows += made
        if given != made:
            wrong[day] = f"{given:,} impressions, {made:,} rows"
    if not rows and not wrong:
        return nothing("there is no impression to have a row")
    return dg.AssetCheckResult(
        passed=not wrong,
        description="; ".join(f"{d}: {w}" for d, w in wrong.items()) or f"{rows:,} rows, one an impression",
        metadata={"rows": rows, "days_wrong": len(wrong)},
    )


def _stale(lake: Lake, days: list[str]) -> str:
    """What to do where features are older than events they would have seen: a day was replaced, those after it not."""
    replaced = {day: lake.day(day, "cleaned", "events").stat().st_mtime for day in days}
    for day in days:
        made = lake.day(day, "features", "impressions").stat().st_mtime
        newer = [earlier for earlier in days if earlier < day and replaced[earlier] > made]
        if newer:
            return f"; {newer[-1]} was replaced after {day} was made: materialize {day} to {days[-1]} again"
    return ""


def batches(lake: Lake, days: list[str]) -> list[list[str]]:
    """Days in runs of at least BATCH impressions: each sweep orders the whole log once."""
    runs: list[list[str]] = [[]]
    rows = 0
    for day in days:
        if rows >= BATCH:
            runs.append([])
            rows = 0
        runs[-1].append(day)
        rows += pq.read_metadata(lake.day(day, "cleaned", "impressions")).num_rows
    return runs
