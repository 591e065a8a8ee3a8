"""What Prometheus sees. Labels come from fixed sets only: no path, user or item ever becomes a series."""

from __future__ import annotations

import os
from typing import Final

ROUTES: Final = ("recommend", "events", "features", "other")


class Metrics:
    """Counters of one worker; under several workers `exposition` adds up all of them.

    Made in a worker, after BentoML has set PROMETHEUS_MULTIPROC_DIR: prometheus_client looks at it when imported.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self._registry = CollectorRegistry()
        seconds = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
        self._requests = Counter("recsys_requests", "answers", ["front", "route", "code"], registry=self._registry)
        self._seconds = Histogram(
            "recsys_request_seconds", "time to answer", ["front", "route"], buckets=seconds, registry=self._registry
        )
        self._slates = Counter("recsys_slates", "slates by rung", ["rung"], registry=self._registry)
        self._items = Counter("recsys_items", "recommended items by source", ["source"], registry=self._registry)
        self._events = Counter("recsys_events", "events by outcome", ["outcome"], registry=self._registry)

    def answered(self, front: str, route: str, code: str, seconds: float) -> None:
        self._requests.labels(front, route, code).inc()
        self._seconds.labels(front, route).observe(seconds)

    def slate(self, rung: str, sources: list[str]) -> None:
        self._slates.labels(rung).inc()
        for source in sources:
            self._items.labels(source).inc()

    def events(self, accepted: int, duplicates: int, rejected: int) -> None:
        for outcome, count in (("accepted", accepted), ("duplicate", duplicates), ("rejected", rejected)):
            self._events.labels(outcome).inc(count)

    def exposition(self) -> tuple[bytes, str]:
        """The text Prometheus scrapes and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            return generate_latest(self._registry), CONTENT_TYPE_LATEST
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry), CONTENT_TYPE_LATEST
