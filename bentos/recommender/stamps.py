"""When files last changed, for whoever reads them again after a change."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[str, int, int, int]


def stamps(files: Iterable[Path]) -> list[Stamp]:
    """Name, time, inode and size of each.

    Raises:
        OSError: one is not there, or is being replaced.
    """
    stats = [(file, file.stat()) for file in files]
    return [(str(file), stat.st_mtime_ns, stat.st_ino, stat.st_size) for file, stat in stats]
