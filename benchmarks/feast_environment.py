"""Feast lives in an environment of its own, made when a benchmark first asks: it needs pandas < 3, the lock more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("feast[redis,duckdb]==0.67.0", "pandas<3")
PEER = Path(__file__).with_name("feast_peer.py")
INSTALL_SECONDS = 900


class NoFeast(RuntimeError):
    """Feast cannot take part; one line that says why."""


def python() -> Path:
    """The Python that has Feast, below the user's cache folder (a minute and 1 GB the first time).

    Raises:
        NoFeast: its packages cannot be installed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "recsys-assets" / "feast"
    interpreter, ready, wanted = folder / "bin" / "python", folder / ".ready", "\n".join(PACKAGES)
    if ready.exists() and ready.read_text() == wanted:
        return interpreter
    print(f"installing {', '.join(PACKAGES)} into {folder}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(interpreter), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *PACKAGES],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoFeast(f"its environment cannot be made ({type(error).__name__})") from None
        if done.returncode:
            last = [line for line in done.stderr.splitlines() if line.startswith("ERROR")][-1:] or ["no word"]
            raise NoFeast(f"its environment cannot be made ({last[0]:.200})")
    ready.write_text(wanted)
    return interpreter


def ask(command: str, folder: Path, extra: str, seconds: float) -> dict[str, Any]:
    """What feast_peer.py says to a command.

    Raises:
        NoFeast: it cannot be installed, fails, or takes longer than `seconds`.
    """
    line = [str(python()), "-W", "ignore", str(PEER), command, str(folder), extra]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=seconds, env=environment)
    except subprocess.TimeoutExpired:
        raise NoFeast(f"{command} {extra} took over {seconds:.0f} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no word"]
        why = next((line for line in reversed(lines) if "Error" in line or "Exception" in line), lines[-1])
        raise NoFeast(f"{command} {extra} failed: {why:.200}")
    told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return told
