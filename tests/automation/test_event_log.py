"""What a range of days made is kept as Dagster's own storage keeps it, in one transaction."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from recsys.settings import Settings
from recsys_assets.event_log import EventLog
from recsys_assets.home import headless, prepare

DAYS = [f"2026-{month:02}-{day:02}" for month in range(1, 8) for day in range(1, 29)]
MADE = dg.AssetKey("made")


@dg.asset(
    partitions_def=dg.StaticPartitionsDefinition(DAYS), backfill_policy=dg.BackfillPolicy.single_run(), code_version="7"
)
def made(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    for rows, day in enumerate(context.partition_keys):
        context.add_asset_metadata({"dagster/row_count": rows}, partition_key=day)
    return dg.MaterializeResult(metadata={"of": "all"})


def materialize(instance: dg.DagsterInstance) -> None:
    job = dg.Definitions(assets=[made]).resolve_implicit_global_asset_job_def()
    ends = {"dagster/asset_partition_range_start": DAYS[0], "dagster/asset_partition_range_end": DAYS[-1]}
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    assert job.execute_in_process(instance=instance, tags=ends, run_config=quiet).success


def kept(instance: dg.DagsterInstance) -> dict[str, Any]:
    """All that is asked of a storage about an asset, less ids and times."""
    records = instance.fetch_materializations(MADE, limit=1_000).records
    newest = instance.get_latest_materialization_event(MADE)
    assert newest is not None and newest.asset_materialization is not None
    return {
        "days": instance.get_materialized_partitions(MADE),
        "rows": {
            record.partition_key: record.asset_materialization.metadata["dagster/row_count"].value
            for record in records
            if record.asset_materialization is not None
        },
        "newest": newest.asset_materialization.partition,
        "tags": newest.asset_materialization.tags,
        "of the run": [
            entry.dagster_event.partition
            for entry in instance.all_logs(newest.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
            if entry.dagster_event is not None
        ],
        "versions": sum(
            record.asset_materialization.tags["dagster/code_version"] == "7"
            for record in records
            if record.asset_materialization is not None
        ),
    }


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DAGSTER_HOME", "RECSYS_HOME", "DAGSTER_EVENT_BATCH_SIZE"):
        monkeypatch.setenv(name, "")  # given back after the test
    return prepare(Settings(home=tmp_path))


def test_a_range_of_days_is_one_transaction_and_reads_as_from_dagsters_own(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    index_connection = EventLog.index_connection

    @contextmanager
    def counted(self: EventLog) -> Iterator[Any]:
        opened.append(1)
        with index_connection(self) as connection:
            yield connection

    monkeypatch.setattr(EventLog, "index_connection", counted)
    with headless() as ours:
        assert isinstance(ours.event_log_storage, EventLog)
        materialize(ours)
        assert len(opened) < len(DAYS), f"{len(opened)} transactions for {len(DAYS)} days"
        held = kept(ours)
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE")
    (tmp_path / "plain").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "plain")) as plain:
        materialize(plain)
        assert held == kept(plain)
    assert held["rows"] == {day: rows for rows, day in enumerate(DAYS)} and held["versions"] == len(DAYS)


def test_whoever_lacks_our_modules_reads_the_same_history(home: Path, tmp_path: Path) -> None:
    """The UI, the daemon and a command line load the instance before the checkout is on their path."""
    with headless() as ours:
        materialize(ours)
    told = "import dagster as dg; print(len(dg.DagsterInstance.get().get_materialized_partitions(dg.AssetKey('made'))))"
    done = subprocess.run([sys.executable, "-c", told], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(len(DAYS)), done.stderr[-1000:]
    with dg.DagsterInstance.get() as before:
        assert not isinstance(before.event_log_storage, EventLog)
        materialize(before)
    with headless() as ours:  # and what they write is read here
        assert len(ours.fetch_materializations(MADE, limit=1_000).records) == 2 * len(DAYS)


def test_a_batch_that_cannot_be_written_is_written_event_by_event(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("disk I/O error")

    monkeypatch.setattr(EventLog, "_store_asset_event_tags", broken)
    real = EventLog.store_event

    def without(self: EventLog, event: dg.EventLogEntry) -> None:
        monkeypatch.undo()
        real(self, event)

    monkeypatch.setattr(EventLog, "store_event", without)
    with headless() as instance:
        materialize(instance)
        assert len(instance.fetch_materializations(MADE, limit=1_000).records) == len(DAYS)  # none of them twice
