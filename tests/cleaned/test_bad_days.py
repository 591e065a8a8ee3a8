"""Deliveries as they go wrong: a day missing, twice, with other columns; a torn file; a check that crashes.

Each leaves the lake as it was or as it should be, and one line that says what to do.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from recsys.lake import Lake
from recsys.sources.simulator import Simulator
from recsys_assets.defs.monitoring.standing import standing

DAYS = ["2026-01-05", "2026-01-06", "2026-01-07"]
FIRST, LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dataclass
class Intake:
    """The job `take_in` of the project over a folder of deliveries."""

    lake: Lake
    deliveries: Path
    job: dg.JobDefinition
    instance: dg.DagsterInstance

    def run(self, first: str, last: str) -> dg.ExecuteInProcessResult:
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        tags = {FIRST: first, LAST: last}
        return self.job.execute_in_process(instance=self.instance, tags=tags, run_config=quiet, raise_on_error=False)

    def file(self, day: str) -> Path:
        return self.deliveries / "events" / f"{day}.parquet"

    @contextmanager
    def withheld(self, day: str) -> Iterator[None]:
        """The file of a day is not there."""
        file = self.file(day)
        elsewhere = shutil.move(file, self.deliveries / file.name)
        yield
        shutil.move(elsewhere, file)

    def bytes_of(self, *stages: str) -> dict[str, bytes]:
        folder = self.lake.home / "lake"
        return {str(p.relative_to(folder)): p.read_bytes() for s in stages for p in (folder / s).rglob("*.parquet")}


@pytest.fixture(scope="module")
def intake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intake]:
    root = tmp_path_factory.mktemp("intake")
    simulator = Simulator(days=4, users=120)
    (root / "deliveries" / "events").mkdir(parents=True)
    pl.DataFrame(simulator.items()).drop("id_is_integer").write_parquet(root / "deliveries" / "items.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_HOME", str(root / "home"))
        patch.setenv("RECSYS_SOURCE", "files")
        patch.setenv("RECSYS_DATA", str(root / "deliveries"))
        from recsys_assets.definitions import defs
        from recsys_assets.partitions import days

        with dg.DagsterInstance.ephemeral() as instance:
            for day in DAYS:
                events = pl.DataFrame(simulator.read_day(day).events).drop("position", "event_key")
                events.write_parquet(root / "deliveries" / "events" / f"{day}.parquet")
            days.cache_clear()  # of another test's source
            job = defs().resolve_job_def("take_in")
            made = Intake(Lake(root / "home"), root / "deliveries", job, instance)
            assert made.run(DAYS[0], DAYS[-1]).success
            yield made
        days.cache_clear()


def cause(failed: dg.ExecuteInProcessResult) -> str:
    """Step and message of the first failure."""
    event = next(e for e in failed.all_events if e.event_type_value == "STEP_FAILURE")
    error = event.step_failure_data.error
    while error.cause is not None:
        error = error.cause
    return f"{event.step_key}: {error.message.strip()}"


def words(done: dg.ExecuteInProcessResult, check: str) -> tuple[bool, str]:
    evaluation = next(c for c in done.get_asset_check_evaluations() if c.check_name == check)
    return evaluation.passed, evaluation.description or ""


def test_a_day_that_comes_twice_changes_no_byte_of_what_is_learned_from(intake: Intake) -> None:
    before = intake.bytes_of("cleaned", "features")
    twice = intake.file(DAYS[1]).with_name("again.parquet")
    shutil.copyfile(intake.file(DAYS[1]), twice)
    try:
        done = intake.run(DAYS[1], DAYS[1])
    finally:
        twice.unlink()
    assert done.success
    after = intake.bytes_of("cleaned", "features")
    told = f"cleaned/duplicates/{DAYS[1]}.parquet"
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {told, f"cleaned/quarantine/{DAYS[1]}.parquet"} and told in changed
    passed, said = words(done, "every_raw_event_is_accounted_for")
    assert passed and "duplicates" in said
    assert intake.run(DAYS[1], DAYS[1]).success
    assert intake.bytes_of("cleaned", "features") == before


def test_a_missing_day_is_named_and_heals_when_it_comes(intake: Intake) -> None:
    before = intake.bytes_of("cleaned", "features")
    with intake.withheld(DAYS[2]):
        done = intake.run(DAYS[2], DAYS[2])
    assert done.success, cause(done)
    passed, said = words(done, "no_day_is_empty")
    # a few events of the day before, received after midnight, come with that day's own file
    assert passed or DAYS[2] in said
    passed, said = words(done, "events_arrived_until_the_end")
    assert not passed and DAYS[2] in said and "is the day complete?" in said
    assert intake.run(DAYS[2], DAYS[2]).success
    assert intake.bytes_of("cleaned", "features") == before


def test_a_day_replaced_beneath_later_ones_says_which_to_make_again(intake: Intake) -> None:
    before = intake.bytes_of("cleaned", "features")
    with intake.withheld(DAYS[1]):
        failed = intake.run(DAYS[1], DAYS[1])
    passed, said = words(failed, "parity")
    assert not failed.success and not passed
    assert said.endswith(f"{DAYS[1]} was replaced after {DAYS[2]} was made: materialize {DAYS[2]} to {DAYS[2]} again")
    assert intake.run(DAYS[1], DAYS[2]).success
    assert intake.bytes_of("cleaned", "features") == before


def test_other_columns_are_refused_in_one_line_that_names_them(intake: Intake) -> None:
    before, file = intake.bytes_of("raw", "cleaned", "features"), intake.file(DAYS[2])
    content = file.read_bytes()
    try:
        pl.read_parquet(file).rename({"user_id": "member"}).write_parquet(file)
        failed = intake.run(DAYS[2], DAYS[2])
    finally:
        file.write_bytes(content)
    assert not failed.success
    assert "user_id" in cause(failed) and DAYS[2] in cause(failed) and "\n" not in cause(failed)
    assert intake.bytes_of("raw", "cleaned", "features") == before


def test_a_poisoned_day_stops_before_dbt_and_stands_until_it_is_right(intake: Intake) -> None:
    before, file = intake.bytes_of("cleaned", "features"), intake.file(DAYS[2])
    content = file.read_bytes()
    try:
        pl.read_parquet(file).with_columns(user_id=pl.lit(None, pl.String)).write_parquet(file)
        failed = intake.run(DAYS[2], DAYS[2])
    finally:
        file.write_bytes(content)
    assert not failed.success and intake.bytes_of("cleaned", "features") == before
    findings = [str(finding) for finding in standing(intake.instance, intake.lake)]
    assert any("raw_events_meet_expectations" in f and "user_id: column values to not be null" in f for f in findings)
    assert intake.run(DAYS[2], DAYS[2]).success
    assert standing(intake.instance, intake.lake) == [] and intake.bytes_of("cleaned", "features") == before


def test_dbt_that_fails_half_way_publishes_nothing(intake: Intake) -> None:
    """A torn file in the lake: dbt builds what it can, then cannot read it."""
    before, torn = intake.bytes_of("cleaned", "features"), intake.lake.day(DAYS[0], "raw", "events")
    content = torn.read_bytes()
    try:
        torn.write_bytes(content[: len(content) // 2])
        failed = intake.run(DAYS[1], DAYS[1])
    finally:
        torn.write_bytes(content)
    assert not failed.success and "\n" not in cause(failed)
    assert intake.bytes_of("cleaned", "features") == before
    assert intake.run(DAYS[1], DAYS[1]).success and intake.bytes_of("cleaned", "features") == before


def test_a_check_that_crashes_stops_what_is_below_it_and_stands(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys_assets.defs.borders import checks

    def crash(*_: object, **__: object) -> None:
        raise MemoryError("no room for the table")

    before = intake.bytes_of("cleaned", "features")
    monkeypatch.setattr(checks, "validate", crash)
    failed = intake.run(DAYS[1], DAYS[1])
    assert not failed.success and "no room for the table" in cause(failed)
    assert intake.bytes_of("cleaned", "features") == before
    findings = [str(finding) for finding in standing(intake.instance, intake.lake)]
    assert any("raw_events_meet_expectations: could not be evaluated, its run" in f for f in findings)
    monkeypatch.undo()
    assert intake.run(DAYS[1], DAYS[1]).success and standing(intake.instance, intake.lake) == []
