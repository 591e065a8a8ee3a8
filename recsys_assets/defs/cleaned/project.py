"""The dbt project: its manifest, parsed (4.7 CPU s) only when missing or older than one of dbt's files, and its builds.

dbt builds in this process, not by DbtCliResource, which starts a child for each build. Up to dbt's first statement a
build takes 0.6 CPU s here once dbt is imported (7.5 CPU s the first time); a child takes 9.6 CPU s each time, since it
imports dbt anew and parses everything whenever `--vars` name other days, and 3.5 CPU s more for the `dbt --version`
that the resource asks first (dbt 1.11.16, dagster-dbt 0.29.27, four builds in a row).
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[3] / "dbt_project"
DBT = Path(sys.executable).with_name("dbt")  # dbt is looked up on PATH otherwise, where another one may lie
RESULTS = frozenset({"LogModelResult", "LogTestResult"})  # dbt's names of the events that tell how a node ended


@dataclass(frozen=True)
class Built:
    """What a build did: dbt's event of every node that ended, and the first thing that failed, in one line."""

    events: Sequence[Mapping[str, Any]]
    failure: str | None


class ProjectError(RuntimeError):
    """dbt refuses its own project; the message is dbt's."""


def manifest() -> Path:
    """The manifest of the project as it is now.

    Raises:
        ProjectError: when dbt cannot parse the project.
    """
    target = PROJECT / "target"
    path = target / "manifest.json"
    target.mkdir(exist_ok=True)
    with (target / ".parsing").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several step workers may start at once
        if not path.exists() or path.stat().st_mtime < _newest():
            _parse(path)
    return path


def _newest() -> float:
    files = [path for kind in ("*.sql", "*.yml") for path in PROJECT.rglob(kind)]
    return max(path.stat().st_mtime for path in files if "target" not in path.relative_to(PROJECT).parts)


def _parse(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        environment = {"RECSYS_HOME": scratch, **os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
        command = [str(DBT), "--no-use-colors", "parse", "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
        command += ["--target-path", scratch, "--log-path", scratch]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ProjectError(f"dbt cannot parse {PROJECT}: {done.stdout.strip()[-600:]}")
        os.replace(Path(scratch) / "manifest.json", path)


def build(home: Path, folder: Path, selection: Sequence[str], variables: Mapping[str, str]) -> Built:
    """Models and their tests, built in dbt's scratch database of that home; `folder` takes what dbt compiles and logs.

    Unit tests hold for the SQL, not for the day: they run with the project's tests.
    """
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner
    from dbt_common.events.functions import msg_to_dict

    folder.mkdir(parents=True, exist_ok=True)
    os.environ["RECSYS_HOME"] = str(home.resolve())  # read by sources and profile; dbt works in its project's folder
    messages: list[Any] = []
    command = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--target-path", str(folder)]
    command += ["--log-path", str(folder), "--no-use-colors", "--no-write-json", "--no-send-anonymous-usage-stats"]
    try:
        # Parsed without --vars, what the last parse left is still valid (0.1 CPU s); values are read when SQL is built.
        parsed = dbtRunner().invoke(["--quiet", "parse", *command])
        if not parsed.success:
            return Built([], _why(parsed))
        arguments = ["build", *command, "--exclude-resource-type", "unit_test", "--vars", json.dumps(dict(variables))]
        done = dbtRunner(parsed.result, [messages.append]).invoke([*arguments, *selection])  # type: ignore[arg-type]
    finally:
        DuckDBConnectionManager.close_all_connections()  # or nobody else could open the database
    events = [msg_to_dict(message) for message in messages if message.info.name in RESULTS]
    return Built(events, None if done.success else _why(done))


def _why(done: Any) -> str:
    """One line: the first model or test that failed and what dbt says of it."""
    for result in getattr(done.result, "results", None) or []:
        if str(result.status) in ("error", "fail"):
            return f"{result.node.name}: {' '.join(str(result.message).split()):.300}"
    return " ".join(str(done.exception).split())[-300:]
