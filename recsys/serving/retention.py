"""How long the served log is kept: whole days go while the service runs, by the log's own time, and the oldest segments
once there is too much of them.

A day is old once enough later days of the log hold rows. This machine's clock is not asked: one that is 40 days ahead
writes one more day, so one day goes, and not the whole log.
"""

from __future__ import annotations

import logging
import shutil
import threading
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Final

from recsys.serving.sealing import seal_beside
from recsys.serving.served_log import segments

CHECK_SECONDS: Final = 600.0
AT_ONCE: Final = 3  # days that one check removes: the oldest, when RECSYS_SERVED_LOG_DAYS was made smaller
log = logging.getLogger("recsys.serving")


def expire(root: Path, days: int) -> list[str]:
    """Remove what is before the last `days` days of the log, AT_ONCE at most; returns those removed."""
    gone = sorted(filter(_is_day, root.glob("????-??-??")))[:-days][:AT_ONCE]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)
    return [folder.name for folder in gone]


def _is_day(folder: Path) -> bool:
    try:
        date.fromisoformat(folder.name)
    except ValueError:
        return False
    return folder.is_dir()


def shorten(root: Path, most_bytes: float) -> int:
    """Remove the oldest segments while there are more bytes than that; returns how many. Workers may race."""
    kept, gone = 0, 0
    for path in reversed(segments(root)):
        with suppress(FileNotFoundError):
            kept += path.stat().st_size
            if kept > most_bytes:
                path.unlink()
                gone += 1
    return gone


class Retention:
    """Expires, seals and shortens now and every ten minutes, in a thread of its own."""

    def __init__(self, root: Path, days: int, most_gb: float | None = None) -> None:
        self._root, self._days, self._most_gb = root, days, most_gb
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="retention", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while True:
            if gone := expire(self._root, self._days):
                log.info("the served log of %s is gone: it keeps %d days", ", ".join(gone), self._days)
            seal_beside(self._root)
            if self._most_gb is not None and (short := shorten(self._root, self._most_gb * 1e9)):
                log.info("%d segments of the served log are gone: it keeps %g GB", short, self._most_gb)
            if self._stop.wait(CHECK_SECONDS):
                return

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join(timeout=10)
