"""Work beside a service: in a process of its own that gives way, one at a time."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

NICE: Final = 10  # what such a module sets itself to, so that it gives way


@contextmanager
def alone(lock: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether no other process is in this block, which may be waited for; the lock dies with its holder."""
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            yield False
            return
        yield True


def run_beside(module: str, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run a module of ours to its end; its exit status, and the last line that it wrote to stderr.

    What is secret goes by the environment: arguments are seen by everybody.
    """
    command = [sys.executable, "-m", module, *arguments]
    given = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])} | environment
    ended = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    return ended.returncode, "".join(ended.stderr.strip().splitlines()[-1:])
