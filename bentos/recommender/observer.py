"""What is seen of a request from outside: metrics, one line in the log, and spans where traces are asked for."""

from __future__ import annotations

import logging
import time

from bentos.recommender.metrics import Metrics
from recsys.serving.course import Course
from recsys.serving.schema import EventsResponse, RecommendResponse

log = logging.getLogger("recsys.requests")


class Observer:
    """Told by both fronts, after the answer is made."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics

    def slate(self, response: RecommendResponse, course: Course) -> None:
        """A slate that is about to be sent."""
        self.metrics.slate(response, course, time.perf_counter() - course.began)

    def events(self, response: EventsResponse) -> None:
        """What became of a batch of events."""
        self.metrics.events(response)

    def answered(self, front: str, route: str, code: str, course: Course) -> None:
        """Any answer, an error too."""
        self.metrics.answered(front, route, code, time.perf_counter() - course.began)

    def exposition(self) -> tuple[bytes, str]:
        """For Prometheus."""
        return self.metrics.exposition()
