"""Circuit breakers on what the service depends on: after some failures in a row a part is left alone for a while.

The state machine is purgatory's. It shares its state between threads without a lock and raises one exception object
again and again (whose traceback grows), so entering and leaving happen under a lock here and that object never leaves.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from purgatory import SyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState

FAILURES: Final = 5  # in a row, then the circuit opens
SECONDS: Final = 10.0  # it stays open; then one success closes it, one failure opens it again
T = TypeVar("T")
log = logging.getLogger("recsys.serving")


class PartDown(RuntimeError):
    """A part of the service failed or is left alone after failures; the next rung answers without it."""

    def __init__(self, part: str, why: str) -> None:
        super().__init__(f"{part} {why}")
        self.part = part


class Breakers:
    """One breaker a part."""

    def __init__(self, parts: Iterable[str], failures: int = FAILURES, seconds: float = SECONDS) -> None:
        factory = SyncCircuitBreakerFactory(default_threshold=failures, default_ttl=seconds)
        self._breakers = {part: factory.get_breaker(part) for part in parts}
        self._lock = threading.Lock()

    def call(self, part: str, work: Callable[[], T]) -> T:
        """`work()`.

        Raises:
            PartDown: it failed, or its circuit is open and it was not tried.
        """
        breaker = self._breakers[part]
        with self._lock:
            try:
                breaker.__enter__()
            except OpenedState as opened:
                opened.__traceback__ = None
                raise PartDown(part, "is left alone after repeated failures") from None
        try:
            result = work()
        except Exception as error:
            with self._lock:
                before = breaker.context.state
                breaker.__exit__(type(error), error, None)
                after = breaker.context.state
            log.warning("%s failed with %s%s", part, type(error).__name__, "" if before == after else f": now {after}")
            raise PartDown(part, f"failed with {type(error).__name__}") from error
        with self._lock:
            breaker.__exit__(None, None, None)
        return result

    def states(self) -> dict[str, str]:
        """closed, opened or half-opened, by part."""
        return {part: str(breaker.context.state) for part, breaker in self._breakers.items()}
