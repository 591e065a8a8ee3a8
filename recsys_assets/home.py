"""Prepares a process that runs Dagster: its home, its environment, the lock that keeps two runs apart."""

from __future__ import annotations

import fcntl
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.lake import replacing
from recsys.settings import Settings

if TYPE_CHECKING:
    import dagster as dg


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
        with replacing(home / "dagster.yaml") as temporary:
            temporary.write_text(configuration + _storage(settings))
    except OSError as error:
        raise HomeError(
            f"cannot write {settings.home}: {error.strerror}. Free space or set RECSYS_HOME to another folder"
        ) from None
    os.environ.update(
        DAGSTER_HOME=str(home),
        RECSYS_HOME=str(settings.home),
        DAGSTER_DISABLE_TELEMETRY="yes",
        DBT_SEND_ANONYMOUS_USAGE_STATS="false",
        BENTOML_DO_NOT_TRACK="true",
        DO_NOT_TRACK="1",
        GRPC_ENABLE_FORK_SUPPORT="0",  # else 4 of 150 children of a process that talks to Milvus died before they began
    )
    return home


def _storage(settings: Settings) -> str:
    """Where Dagster keeps runs and events: SQLite in its home, or the Postgres named, whose password is in no file."""
    if settings.dagster_storage is None:
        return ""
    if importlib.util.find_spec("dagster_postgres") is None:
        raise HomeError("RECSYS_DAGSTER_STORAGE needs the package dagster-postgres: pip install '.[postgres]'")
    if settings.dagster_storage.get_secret_value().startswith("postgresql://"):
        raise HomeError("RECSYS_DAGSTER_STORAGE: say postgresql+psycopg2://..., the driver of dagster-postgres")
    return "\nstorage:\n  postgres:\n    postgres_url:\n      env: RECSYS_DAGSTER_STORAGE\n"


@contextmanager
def one_run_at_a_time(settings: Settings) -> Iterator[None]:
    """Hold RECSYS_HOME for one headless run; freed by the kernel however the process ends.

    Raises:
        HomeError: when another run holds it.
    """
    path = settings.home / "run.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise HomeError(
                f"another run is using {settings.home}: wait for it, or set RECSYS_HOME to another folder"
            ) from None
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
