"""What stands between a person and a run: settings, the home folder, a second run."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import dagster as dg
import pytest
from pydantic import SecretStr

from recsys.settings import Settings, SettingsError, from_environment
from recsys_assets.home import HomeError, bury_killed_runs, one_run_at_a_time, prepare

ROOT = Path(__file__).parents[2]


def run(**variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")} | variables
    return subprocess.run(
        [sys.executable, "-m", "recsys_assets.run"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"RECSYS_SOURCE": "csv"}, "RECSYS_SOURCE=csv"),
        ({"RECSYS_SOURCE": "kuairand"}, "needs RECSYS_DATA"),
        ({"RECSYS_HTTP_PORT": "99999"}, "RECSYS_HTTP_PORT=99999"),
        ({"RECSYS_DAYS": "many"}, "RECSYS_DAYS=many"),
    ],
)
def test_a_wrong_setting_names_its_variable(variables: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        from_environment(variables)


def test_a_second_run_on_the_same_home_is_told_to_wait(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with (
        one_run_at_a_time(settings),
        pytest.raises(HomeError, match="another run is using"),
        one_run_at_a_time(settings),
    ):
        pass
    with one_run_at_a_time(settings):  # and the lock goes with its holder
        pass


def test_a_killed_run_gives_its_pool_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by killing a backfill inside dbt: the next one waited for the pool `duckdb` without end."""
    monkeypatch.setenv("DAGSTER_HOME", str(prepare(Settings(home=tmp_path))))
    with dg.DagsterInstance.get() as instance:
        pools = instance.event_log_storage
        pools.initialize_concurrency_limit_to_default("duckdb")
        killed = dg.DagsterRun("take_in", str(uuid.uuid4()), status=dg.DagsterRunStatus.STARTED)
        instance.run_storage.add_run(killed)
        assert pools.claim_concurrency_slot("duckdb", killed.run_id, "cleaned_tables").is_claimed
        assert not pools.claim_concurrency_slot("duckdb", "the next", "cleaned_tables").is_claimed
        pools.free_concurrency_slots_for_run("the next")
        assert bury_killed_runs(instance) == [killed.run_id]
        assert pools.claim_concurrency_slot("duckdb", "the next", "cleaned_tables").is_claimed
        assert instance.get_run_by_id(killed.run_id).status == dg.DagsterRunStatus.FAILURE
        assert bury_killed_runs(instance) == []


def test_a_home_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(HomeError, match="RECSYS_HOME"):
        prepare(Settings(home=tmp_path / "file"))


def test_dagsters_records_go_to_postgres_where_one_is_named_and_its_password_into_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    prepare(Settings(home=tmp_path))
    assert "postgres" not in (tmp_path / "dagster" / "dagster.yaml").read_text()
    named = Settings(home=tmp_path, dagster_storage=SecretStr("postgresql+psycopg2://u:secret@db/dagster"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(HomeError, match=r"pip install '\.\[postgres\]'"):
        prepare(named)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setenv("RECSYS_DAGSTER_STORAGE", "of before")
    prepare(named)
    assert os.environ["RECSYS_DAGSTER_STORAGE"].startswith("postgresql")  # it may have come from a file of secrets
    written = (tmp_path / "dagster" / "dagster.yaml").read_text()
    assert "env: RECSYS_DAGSTER_STORAGE" in written and "secret" not in written


def test_a_missing_data_folder_ends_a_run_in_one_line(tmp_path: Path) -> None:
    ended = run(RECSYS_HOME=str(tmp_path / "home"), RECSYS_SOURCE="kuairand", RECSYS_DATA=str(tmp_path / "nowhere"))
    assert ended.returncode == 2
    assert "nowhere" in ended.stdout and "RECSYS_DATA" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr
    assert len(ended.stdout.strip().splitlines()) == 1
