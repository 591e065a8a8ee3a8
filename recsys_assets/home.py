"""Prepares a process that runs Dagster: its home, its environment, the lock that keeps two runs apart."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.beside import alone
from recsys.lake import replacing
from recsys.settings import Settings

if TYPE_CHECKING:
    import dagster as dg


HEADLESS = "headless.yaml"  # beside dagster.yaml


class HomeError(RuntimeError):
    """RECSYS_HOME cannot be used; the message says why and what to do."""


def prepare(settings: Settings) -> Path:
    """Create RECSYS_HOME/dagster, copy dagster.yaml into it and point this process at it. Returns DAGSTER_HOME.

    Raises:
        HomeError: when the folder cannot be written.
    """
    home = settings.home / "dagster"
    try:
        home.mkdir(parents=True, exist_ok=True)
        configuration = Path(__file__).with_name("dagster.yaml").read_text()
        for name, storage in (("dagster.yaml", _storage(settings)), (HEADLESS, _batched(settings, home))):
            with replacing(home / name) as temporary:
                temporary.write_text(configuration + storage)
    except OSError as error:
        raise HomeError(
            f"cannot write {settings.home}: {error.strerror}. Free space or set RECSYS_HOME to another folder"
        ) from None
    # a busy machine takes longer than Dagster's 60 s to answer one call between its processes (at load 29)
    os.environ.setdefault("DAGSTER_GRPC_TIMEOUT_SECONDS", "600")
    os.environ.update(
        DAGSTER_HOME=str(home),
        RECSYS_HOME=str(settings.home),
        DAGSTER_DISABLE_TELEMETRY="yes",
        DBT_SEND_ANONYMOUS_USAGE_STATS="false",
        BENTOML_DO_NOT_TRACK="true",
        DO_NOT_TRACK="1",
        # One event an asset says which days a run means to make, not one a day: a run of 215 days wrote 2,400 of them,
        # each to two databases, before its first step began.
        DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS="1",
        DAGSTER_EVENT_BATCH_SIZE="1000",  # days of an asset written at once (recsys_assets/event_log.py)
        GRPC_ENABLE_FORK_SUPPORT="0",  # else 4 of 150 children of a process that talks to Milvus died before they began
    )
    return home


def _storage(settings: Settings) -> str:
    """Where Dagster keeps runs and events: SQLite in its home, or the Postgres named, whose password is in no file."""
    if settings.dagster_storage is None:
        return ""
    if importlib.util.find_spec("dagster_postgres") is None:
        raise HomeError("RECSYS_DAGSTER_STORAGE needs the package dagster-postgres: pip install '.[postgres]'")
    # wherever the setting was read: a secret's file too
    os.environ["RECSYS_DAGSTER_STORAGE"] = settings.dagster_storage.get_secret_value()
    return "\nstorage:\n  postgres:\n    postgres_url:\n      env: RECSYS_DAGSTER_STORAGE\n"


def _batched(settings: Settings, home: Path) -> str:
    """The same, for a process that has our modules: SQLite takes the days of a run at once."""
    if settings.dagster_storage is not None:
        return _storage(settings)
    folder = json.dumps(str(home / "history" / "runs"))  # where Dagster keeps them by itself
    log = "\nevent_log_storage:\n  module: recsys_assets.event_log\n  class: EventLog\n"
    return f"{log}  config:\n    base_dir: {folder}\n"


def headless() -> dg.DagsterInstance:
    """The instance of a home that was prepared, for runs in this process.

    By a file of its own: whatever else reads DAGSTER_HOME, as the UI, has our modules on its path only while it loads
    the definitions.
    """
    import dagster as dg

    return dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"], HEADLESS)


@contextmanager
def one_run_at_a_time(settings: Settings) -> Iterator[None]:
    """Hold RECSYS_HOME for one headless run; freed by the kernel however the process ends.

    Raises:
        HomeError: when another run holds it.
    """
    path = settings.home / "run.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path) as mine:
        if not mine:
            raise HomeError(f"another run is using {settings.home}: wait for it, or set RECSYS_HOME to another folder")
        yield


def bury_killed_runs(instance: dg.DagsterInstance) -> list[str]:
    """End the runs whose process was killed, for whoever holds the lock of the home; returns their ids.

    A run killed inside a step keeps its place in that step's pool: the next one would wait for it for ever. Runs of
    the daemon, which have an origin, are its own affair.
    """
    import dagster as dg

    under_way = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    killed = [run for run in instance.get_runs(dg.RunsFilter(statuses=under_way)) if run.remote_job_origin is None]
    for run in killed:
        instance.report_run_failed(run, "its process ended without a word: killed, or out of memory")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in killed]
