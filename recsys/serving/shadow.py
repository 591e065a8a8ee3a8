"""Challengers ranking unseen: in a thread of its own, after the answer, and left out when it cannot keep up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

PENDING: Final = 8  # shadows that may wait; more are left out, and counted
log = logging.getLogger("recsys.serving")


class Shadows:
    """Runs what is offered, one after the other."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shadow")
        self._room = threading.BoundedSemaphore(PENDING)
        self.left_out = 0

    def offer(self, work: Callable[[], None]) -> None:
        """Run `work` soon, or not at all."""
        if not self._room.acquire(blocking=False):
            self.left_out += 1
            return
        self._pool.submit(self._run, work)

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # nobody waits for it, and nobody may suffer from it
            log.warning("a shadow failed with %s", type(error).__name__)
        finally:
            self._room.release()

    def close(self) -> None:
        """End what runs, drop what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)
