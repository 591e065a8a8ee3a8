"""A folder of the running service's own, in memory where the system has such a place.

It holds the counters that all workers add to, and what BentoML keeps. It is not on the disk of RECSYS_HOME: a mapped
file on a full disk kills whoever writes to it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SHARED_MEMORY: Final = Path("/dev/shm")
NAME: Final = "recsys-service-"


@contextmanager
def scratch() -> Iterator[Path]:
    """The folder, gone afterwards; that of a launcher that was killed goes when the next one starts."""
    root = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    _sweep(root)
    folder = Path(tempfile.mkdtemp(prefix=NAME, dir=root))
    try:
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)  # workers inherit no hold of it: an abandoned folder is free
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(root: Path) -> None:
    for folder in root.glob(f"{NAME}*"):
        try:
            with (folder / "lock").open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # in use, somebody else's, or just being made
            continue
