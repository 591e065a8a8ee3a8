"""The dbt project, and its manifest: parsed (4.7 CPU s) only when missing or older than one of dbt's files."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3] / "dbt_project"
DBT = Path(sys.executable).with_name("dbt")  # dbt is looked up on PATH otherwise, where another one may lie


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
