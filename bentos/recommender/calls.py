"""The three calls as both fronts make them: off the event loop, no more at once than can be answered in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from recsys.serving.pipeline import Recommender

THREADS: Final = 4  # scoring frees the GIL; more threads than cores only queue elsewhere
IN_FLIGHT: Final = 64  # beyond this a request waits longer than its client does: refuse it at once
SECONDS: Final = 10.0
T = TypeVar("T")


class Overloaded(RuntimeError):
    """Too many requests are being answered; try again shortly."""


class TooSlow(RuntimeError):
    """The answer took longer than its budget."""


class Starting(RuntimeError):
    """The worker has no recommender yet, or is going down."""


class Calls:
    """Runs calls of one recommender in a small pool of threads."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="recommend")
        self._in_flight = 0
        self._recommender: Recommender | None = None

    def open(self, recommender: Recommender) -> None:
        self._recommender = recommender

    @property
    def recommender(self) -> Recommender:
        if self._recommender is None:
            raise Starting("the recommender is starting: try again in a few seconds")
        return self._recommender

    async def run(self, call: Callable[[Recommender], T]) -> T:
        """`call(recommender)` in the pool.

        Raises:
            Starting, Overloaded, TooSlow: see there. Whatever `call` raises passes through.
        """
        recommender = self.recommender
        if self._in_flight >= IN_FLIGHT:
            raise Overloaded(f"{IN_FLIGHT} requests are being answered already: try again in a second")
        self._in_flight += 1
        try:
            future = asyncio.get_running_loop().run_in_executor(self._pool, call, recommender)
            return await asyncio.wait_for(future, SECONDS)
        except TimeoutError:
            raise TooSlow(f"no answer within {SECONDS:.0f} s: try again") from None
        finally:
            self._in_flight -= 1

    def close(self) -> None:
        """Answer what was begun, then let go of the recommender."""
        self._pool.shutdown(wait=True)
        if self._recommender is not None:
            self._recommender.close()
            self._recommender = None
