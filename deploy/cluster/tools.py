"""What has to be installed beside Python: each thing that is missing is one line that says how to get it."""

from __future__ import annotations

import importlib.util
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

DEBIAN_POSTGRES = Path("/usr/lib/postgresql")  # Debian keeps its programs out of the PATH, one folder a version


class Missing(RuntimeError):
    """A program or package is not there; the message says what to install."""


@dataclass(frozen=True)
class Tools:
    """Where they are, and who may run Postgres: it refuses root."""

    redis: str
    redis_cli: str
    java: str
    postgres: Path  # folder of its programs
    owner: pwd.struct_passwd | None  # whom Postgres runs as; None: as we do


def look(uid: int) -> Tools:
    """All of them.

    Raises:
        Missing: the first that is not there.
    """
    if importlib.util.find_spec("dagster_postgres") is None:
        raise Missing("dagster-postgres is missing: pip install '.[postgres]', or say `make cluster`, which does")
    postgres = _postgres()
    return Tools(
        redis=_program("redis-server", "apt-get install redis-server"),
        redis_cli=_program("redis-cli", "apt-get install redis-tools"),
        java=_java(),
        postgres=postgres,
        owner=_other_than_root() if uid == 0 else None,
    )


def _program(name: str, install: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Missing(f"{name} is missing: {install}")
    return found


def _java() -> str:
    java = _program("java", "apt-get install openjdk-17-jre-headless")
    told = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = told.partition('version "')[2].partition(".")[0]
    if not version.isdigit() or int(version) < 17:
        raise Missing(f"Spark needs Java 17, {java} is {version or 'none'}: apt-get install openjdk-17-jre-headless")
    return java


def _postgres() -> Path:
    """The newest of Debian's, else what pg_config or the PATH knows."""
    versions = sorted((p for p in DEBIAN_POSTGRES.glob("*/bin") if (p / "initdb").exists()), key=_version)
    if versions:
        return versions[-1]
    if pg_config := shutil.which("pg_config"):
        told = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        if (Path(told) / "initdb").exists():
            return Path(told)
    return Path(_program("initdb", "apt-get install postgresql")).parent


def _version(folder: Path) -> float:
    try:
        return float(folder.parent.name)
    except ValueError:
        return 0.0


def _other_than_root() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Missing("Postgres does not run as root and there is neither a user postgres nor nobody: run as another user")
