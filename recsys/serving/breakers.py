"""Circuit breakers on what the service depends on: after some failures in a row a part is left alone for a while.

The state machine is purgatory's. It shares its state between threads without a lock and raises one exception object
again and again (whose traceback grows), so entering and leaving happen under a lock here and that object never leaves.
A half-open circuit is tried by one caller at a time: the others would hang with it, if it still hangs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from purgatory import SyncCircuitBreakerFactory
from purgatory.domain.model import HalfOpenedState, OpenedState

from recsys.store.errors import StoreBusy

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
        self._probed: set[str] = set()  # half-open parts that somebody is trying
        self._failed: set[str] = set()  # parts that failed and did not answer since: the others ask for no lock

    def call(self, part: str, work: Callable[[], T], limit: float | None = None) -> T:
        """`work()`; an answer that took more than `limit` seconds is given back, but counts as a failure.

        Raises:
            PartDown: it failed, or its circuit is open and it was not tried.
        """
        probing = part in self._failed and self._enter(part)
        began = time.perf_counter()
        try:
            result = work()
        except Exception as error:
            self._leave(part, probing, None if isinstance(error, StoreBusy) else error)  # busy is not broken
            raise PartDown(part, f"failed with {type(error).__name__}") from error
        slow = limit is not None and time.perf_counter() - began > limit
        if slow or part in self._failed:
            self._leave(part, probing, TimeoutError() if slow else None)
        return result

    def gave_up(self, part: str) -> None:
        """Count a failure for a call that its caller waits for no longer; the call itself may still be under way."""
        if part in self._breakers:
            self._note(part, TimeoutError())

    def _enter(self, part: str) -> bool:
        breaker = self._breakers[part]
        with self._lock:
            try:
                breaker.__enter__()
            except OpenedState as opened:
                opened.__traceback__ = None
                raise PartDown(part, "is left alone after repeated failures") from None
            probing = bool(breaker.context.state == HalfOpenedState.name)
            if probing and part in self._probed:
                raise PartDown(part, "is being tried again after repeated failures")
            if probing:
                self._probed.add(part)
        return probing

    def _leave(self, part: str, probing: bool, error: Exception | None) -> None:
        self._note(part, error)
        if probing:
            with self._lock:
                self._probed.discard(part)

    def _note(self, part: str, error: Exception | None) -> None:
        breaker = self._breakers[part]
        with self._lock:
            before = breaker.context.state
            breaker.__exit__(type(error) if error else None, error, None)
            after = breaker.context.state
            if error is not None:
                self._failed.add(part)
            elif after == "closed":
                self._failed.discard(part)
        if error is not None:
            why = "was too slow" if isinstance(error, TimeoutError) else f"failed with {type(error).__name__}"
            log.warning("%s %s%s", part, why, "" if before == after else f": now {after}")
        elif before != after:
            log.warning("%s answers again: now %s", part, after)

    def states(self) -> dict[str, str]:
        """closed, opened or half-opened, by part."""
        return {part: str(breaker.context.state) for part, breaker in self._breakers.items()}
