"""Raw to clean as Dagster runs it: names, checks, what a run leaves when it fails."""

import subprocess
import sys
from contextlib import contextmanager

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.cleaned.publish import CleaningError
from recsys.lake import Lake
from recsys_assets.checks.nothing import has_failed

FIRST, LAST = "2026-01-05", "2026-01-07"


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"HOME": home, "SOURCE": "simulator", "DAYS": 3, "USERS": 150}.items():
            patch.setenv(f"RECSYS_{name}", str(value))
        patch.delenv("RECSYS_DATA", raising=False)
        yield Lake(home)


def definitions():
    from recsys_assets.defs.borders import checks
    from recsys_assets.defs.cleaned import tables
    from recsys_assets.defs.ingestion import raw
    from recsys_assets.resources import Workspace

    mine = [
        c
        for c in dg.load_asset_checks_from_modules([checks])
        if c.check_key.asset_key != dg.AssetKey("impression_features")
    ]
    return dg.Definitions(
        assets=dg.load_assets_from_modules([raw, tables]), asset_checks=mine, resources={"workspace": Workspace()}
    )


def run(*only, first=FIRST, last=LAST):
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    job = definitions().resolve_implicit_global_asset_job_def()
    selected = [dg.AssetKey(name) for name in only] or None
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False, asset_selection=selected)


@pytest.fixture(scope="module")
def result(lake):
    return run()


def test_the_whole_way_is_green_and_counted(result, lake):
    assert result.success
    checks = {c.check_name: c for c in result.get_asset_check_evaluations()}
    assert [name for name, check in checks.items() if has_failed(check)] == []
    raw = sum(lake.read(lake.day(d, "raw", "events")).num_rows for d in lake.days("raw", "events"))
    assert checks["every_raw_event_is_accounted_for"].description.startswith(f"{raw:,} raw = ")
    assert {
        "cleaned_events_meet_expectations",
        "every_delivery_has_one_fate",
        "unique_cleaned_events_event_key",
    } <= set(checks)
    counted = {}
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        count = materialization.metadata.get("dagster/row_count")
        key = materialization.asset_key.to_user_string()
        counted[key] = counted.get(key, 0) + (0 if count is None else count.value)
        if key == "impressions":  # each day says its own rows, so that the plot over days is true
            day = lake.day(materialization.partition, "cleaned", "impressions")
            assert count.value == lake.read(day).num_rows
    assert {"stg_events", "judged_events", "stg_items"} <= set(counted)
    for key, folder in {"cleaned_events": "events", "impressions": "impressions", "quarantine": "quarantine"}.items():
        assert counted[key] == sum(
            lake.read(lake.day(d, "cleaned", folder)).num_rows for d in lake.days("cleaned", folder)
        )
    assert counted["raw_events"] == raw and counted["items"] == lake.read(lake.table("cleaned", "items")).num_rows


def test_assets_depend_on_each_other_as_the_data_flows(lake):
    graph = definitions().resolve_asset_graph()
    parents = {
        k.to_user_string(): {p.to_user_string() for p in graph.get(k).parent_keys} for k in graph.get_all_asset_keys()
    }
    assert parents["stg_events"] == {"raw_events"} and parents["stg_items"] == {"raw_items"}
    assert parents["cleaned_events"] == {"judged_events", "items"}
    assert parents["impressions"] == {"cleaned_events"}
    assert (
        graph.get(dg.AssetKey("cleaned_events")).is_partitioned and not graph.get(dg.AssetKey("items")).is_partitioned
    )


def test_a_poisoned_day_stops_at_the_border_and_replaces_nothing(result, lake):
    path = lake.day("2026-01-06", "raw", "events")
    before = {p: p.read_bytes() for p in (lake.home / "lake" / "cleaned").rglob("*.parquet")}
    original = path.read_bytes()
    table = lake.read(path)
    lake.write(table.set_column(1, table.schema.field(1), pa.array(["hover"] * table.num_rows)), path)
    try:
        failed = run(
            "stg_events",
            "judged_events",
            "cleaned_events",
            "impressions",
            "sessions",
            "quarantine",
            "duplicates",
            first="2026-01-06",
            last="2026-01-06",
        )
    finally:
        path.write_bytes(original)
    assert not failed.success and not failed.get_asset_materialization_events()
    error = next(e for e in failed.all_events if e.event_type_value == "STEP_FAILURE").step_failure_data.error
    while error.cause is not None:
        error = error.cause
    assert error.cls_name == "CleaningError" and "2026-01-06:" in error.message and "unknown_kind" in error.message
    assert "materialize raw_events and cleaned_events of 2026-01-06 again" in error.message
    assert {p: p.read_bytes() for p in (lake.home / "lake" / "cleaned").rglob("*.parquet")} == before


def test_one_table_alone_is_made_with_its_day_and_told_alone(result, lake):
    """Built by itself it would stand on, and be published beside, what dbt's scratch database holds of another day."""
    assert run("quarantine", first=FIRST, last=FIRST).success
    before = {p: p.read_bytes() for p in (lake.home / "lake" / "cleaned").rglob("*.parquet")}
    done = run("sessions", first=LAST, last=LAST)
    assert done.success, done.all_events
    told = {e.step_materialization_data.materialization.asset_key.to_user_string()
            for e in done.get_asset_materialization_events()}  # fmt: skip
    assert told == {"sessions"}
    assert {p: p.read_bytes() for p in (lake.home / "lake" / "cleaned").rglob("*.parquet")} == before


@contextmanager
def another_process_holding(database):
    """A process that has the database open for writing, as a dbt of somebody else would."""
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "open\n"
        yield
        process.stdin.close()


def test_a_database_that_cannot_be_opened_ends_in_one_line(result, lake):
    with another_process_holding(lake.home / "dbt" / "scratch.duckdb"):
        failed = run("stg_items", "items")
    error = next(e for e in failed.all_events if e.event_type_value == "STEP_FAILURE").step_failure_data.error
    while error.cause is not None:
        error = error.cause
    assert error.cls_name == "CleaningError" and "lock" in error.message.lower() and len(error.message) < 500


def test_raw_days_of_an_older_version_are_named_in_one_line(result, lake):
    path = lake.day(LAST, "raw", "events")
    present = pq.read_table(path)
    pq.write_table(present.drop_columns("event_key"), path)
    try:
        with dg.DagsterInstance.ephemeral() as instance, pytest.raises(CleaningError, match=f"{LAST} to {LAST}.*older"):
            definitions().resolve_implicit_global_asset_job_def().execute_in_process(
                instance=instance,
                tags={"dagster/asset_partition_range_start": FIRST, "dagster/asset_partition_range_end": FIRST},
                asset_selection=[dg.AssetKey(name) for name in ("stg_events", "cleaned_events")],
            )
    finally:
        pq.write_table(present, path)
