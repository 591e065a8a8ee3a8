"""What is seen of a request from outside: metrics, a line in the log, and spans where traces are asked for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from bentos.recommender.calls import Calls
from bentos.recommender.metrics import Metrics
from bentos.recommender.traces import Traces
from recsys.serving.course import Course
from recsys.serving.schema import EventsResponse, ItemsResponse, RecommendResponse
from recsys.settings import Settings

log = logging.getLogger("recsys.requests")
SCRAPE_SECONDS = 1.0  # an exposition is given out again for so long: adding up all workers' counters takes a while
HUNG_UP = "499"


class Observer:
    """Told by both fronts once an answer is made.

    Args:
        every: log every request; else only those that were refused, failed or answered on a lower rung
    """

    def __init__(self, calls: Calls, every: bool = False, traces: Traces | None = None) -> None:
        self._calls = calls
        self._every = every
        self._traces = traces
        self._scraping = asyncio.Lock()
        self._scraped: tuple[float, tuple[bytes, str]] | None = None
        self.metrics = Metrics()

    @classmethod
    def of(cls, settings: Settings, calls: Calls) -> Observer:
        """The observer that the settings ask for."""
        traces = Traces(settings.traces.get_secret_value(), settings.trace_share) if settings.traces else None
        return cls(calls, settings.log_requests == "all", traces)

    def slate(self, response: RecommendResponse, course: Course) -> None:
        """A slate that is about to be sent."""
        self.metrics.slate(response, course, time.perf_counter() - course.began)

    def shadowed(self, course: Course, overlap: float) -> None:
        """What a challenger ranked unseen; called from a thread of its own."""
        self.metrics.shadowed(course, overlap, time.perf_counter() - course.began)

    def events(self, response: EventsResponse) -> None:
        """What became of a batch of events."""
        self.metrics.events(response)

    def items(self, response: ItemsResponse) -> None:
        """Metadata of items that was recorded."""
        self.metrics.items(response.recorded)

    def answered(self, front: str, route: str, code: str, course: Course) -> None:
        """Any answer, an error too."""
        seconds = time.perf_counter() - course.began
        self.metrics.answered(front, route, code, seconds)
        if self._traces is not None and route != "other":
            self._traces.request(front, route, code, course)
        good = code in ("200", "OK") and course.rung in ("", "full")
        if route != "other" and (self._every or not (good or code == HUNG_UP)):
            self._line(front, route, code, course, seconds)

    def tick(self, down: Mapping[str, str]) -> None:
        """Tell what was noted, and set the gauges; told every second, also when nobody calls."""
        self.metrics.flush()
        self.metrics.state(self._calls.recommender.state(), self._calls.in_flight, down)
        self.metrics.journal(self._calls.recommender.journal)

    def _line(self, front: str, route: str, code: str, course: Course, seconds: float) -> None:
        told = {
            "request_id": course.request_id,
            "front": front,
            "code": code,
            "ms": round(seconds * 1e3, 1),
        }
        if course.said_id:
            told["caller_request_id"] = course.said_id
        if course.key_id:
            told["key"] = course.key_id
        if course.rung:
            told |= {
                "rung": course.rung,
                "role": course.role,
                "bundle": course.bundle,
                "candidates": course.candidates,
                "done_without": course.down,
                "stages_ms": {stage.name: round(stage.seconds * 1e3, 1) for stage in course.stages},
            }
        log.info(route, extra=told)

    async def exposition(self) -> tuple[bytes, str]:
        """For Prometheus, put together off the event loop, once a second at most however many ask."""
        async with self._scraping:
            if self._scraped is None or time.monotonic() - self._scraped[0] > SCRAPE_SECONDS:
                self._scraped = time.monotonic(), await asyncio.to_thread(self.metrics.exposition)
            return self._scraped[1]

    def close(self) -> None:
        """Send what waits to be sent."""
        self.metrics.flush()
        if self._traces is not None:
            self._traces.close()
