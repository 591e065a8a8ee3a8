"""How a worker ends: it tells everybody who calls, answers for a moment longer, and then lets the server close.

A server that closes idle connections the moment it is told to end resets those whose request is on its way. For
LINGER_SECONDS each answer says `Connection: close` instead, `/readyz` and the health service say that it ends, and
callers go elsewhere by themselves. A worker whose supervisor was killed ends the same way.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

LINGER_SECONDS: Final = 2.0
WATCH_SECONDS: Final = 1.0
HARD_SECONDS: Final = 30.0  # an orphan that cannot end in order is ended
SUPERVISOR: Final = "RECOMMENDER_SUPERVISOR"  # its process, in the environment of workers


class Ending:
    """Whether this worker was told to end."""

    def __init__(self) -> None:
        self.begun = False
        self._by: int | None = None

    def watch(self, on_begin: Callable[[], Any]) -> None:
        """Stand before the server's own handlers of SIGTERM and SIGINT; call it on the loop, once they are set."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            theirs = signal.getsignal(number)

            def told(number: int, frame: FrameType | None, theirs: Any = theirs) -> None:
                if self._by == number:  # said twice: at once
                    theirs(number, frame)
                elif not self.begun:
                    self.begun, self._by = True, number
                    loop.call_soon_threadsafe(on_begin)
                    loop.call_soon_threadsafe(loop.call_later, LINGER_SECONDS, theirs, number, None)

            signal.signal(number, told)
        threading.Thread(target=_follow_supervisor, name="supervisor", daemon=True).start()


def _follow_supervisor() -> None:
    supervisor = int(os.environ.get(SUPERVISOR, os.getppid()))
    while os.getppid() == supervisor:
        time.sleep(WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(HARD_SECONDS)
    os._exit(1)
