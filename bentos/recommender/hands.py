"""Threads that work for an event loop, which is told how each call ended.

A ThreadPoolExecutor makes a future with a lock of every call, and asyncio another that follows it: .03 ms of CPU.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any


class Hands:
    """Threads of one event loop, begun when all others are at work, up to `most`; then calls wait for one."""

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._threads = self._at_work = 0
        self._calls: SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Future[Any], Callable[[], Any]] | None]
        self._calls = SimpleQueue()

    def begin(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        """The outcome of `call()`; a call that has begun goes on, whoever waits no longer."""
        loop = asyncio.get_running_loop()
        outcome = loop.create_future()
        self._at_work += 1
        if self._threads < min(self._at_work, self._most):
            self._threads += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()
        self._calls.put((loop, outcome, call))
        return outcome

    def close(self) -> None:
        """End the threads, each after what it has begun."""
        for _ in range(self._threads):
            self._calls.put(None)

    def _work(self) -> None:
        while (given := self._calls.get()) is not None:
            loop, outcome, call = given
            try:
                told: tuple[Callable[[Any], None], Any] = outcome.set_result, call()
            except BaseException as error:
                told = outcome.set_exception, error
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._tell, outcome, *told)
            del given, loop, outcome, call, told  # else they live until the next call

    def _tell(self, outcome: asyncio.Future[Any], tell: Callable[[Any], None], what: Any) -> None:
        self._at_work -= 1
        if not outcome.done():
            tell(what)
