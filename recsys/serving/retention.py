"""How long the served log is kept: whole days go once they are old enough, while the service runs."""

from __future__ import annotations

import logging
import shutil
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

CHECK_SECONDS: Final = 3600.0
log = logging.getLogger("recsys.serving")


def expire(root: Path, days: int, today: date) -> list[str]:
    """Remove the days before the last `days` (today is the first of them); returns those removed. Workers may race."""
    oldest = today - timedelta(days=days - 1)
    gone = []
    for folder in sorted(root.glob("????-??-??")):
        try:
            day = date.fromisoformat(folder.name)
        except ValueError:
            continue
        if day < oldest:
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder.name)
    return gone


class Retention:
    """Expires now and every hour, in a thread of its own."""

    def __init__(self, root: Path, days: int) -> None:
        self._root, self._days = root, days
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="retention", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while True:
            if gone := expire(self._root, self._days, datetime.now(UTC).date()):
                log.info("the served log of %s is gone: it keeps %d days", ", ".join(gone), self._days)
            if self._stop.wait(CHECK_SECONDS):
                return

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join(timeout=10)
