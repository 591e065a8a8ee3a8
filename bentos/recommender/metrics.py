"""What Prometheus sees. Labels come from fixed sets only: no path, user or item ever becomes a series."""

from __future__ import annotations

import math
import os
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from recsys.features.catalog import DEFAULTS, FEATURES
from recsys.serving.course import Course
from recsys.serving.schema import EventsResponse, RecommendResponse
from recsys.store.journal import Size

SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
CANDIDATES: Final = (0, 10, 50, 100, 200, 300, 400, 500)
STATES: Final = {"closed": 0, "half-opened": 1, "opened": 2}
BUNDLES: Final = 50  # names given to bundles in the life of a worker; later ones are "other"
PARTS: Final = ("store", "milvus", "disk")  # asked by health.py


class Metrics:
    """Counters of one worker; under several workers `exposition` adds up all of them.

    Made in a worker, after BentoML has set PROMETHEUS_MULTIPROC_DIR: prometheus_client looks at it when imported.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary

        self._registry = CollectorRegistry()
        here: dict[str, Any] = {"registry": self._registry}
        long: dict[str, Any] = {"buckets": SECONDS, **here}
        self._requests = Counter("recsys_requests", "answers", ["front", "route", "code"], **here)
        self._seconds = Histogram("recsys_request_seconds", "time to answer", ["front", "route"], **long)
        self._stages = Histogram("recsys_stage_seconds", "time of a stage of a recommend", ["stage"], **long)
        self._rungs = Histogram("recsys_slate_seconds", "time to a slate by rung", ["rung"], **long)
        self._slates = Counter("recsys_slates", "slates", ["rung", "role"], **here)
        self._bundles = Summary("recsys_bundle_seconds", "time to a slate by bundle", ["bundle", "role"], **here)
        self._items = Counter("recsys_items", "recommended items by source", ["source"], **here)
        self._candidates = Histogram("recsys_candidates", "candidates scored", buckets=CANDIDATES, **here)
        self._dropped = Counter(
            "recsys_dropped_candidates", "candidates by the filter that dropped them", ["filter"], **here
        )
        self._without = Counter("recsys_done_without", "stages left out of an answer", ["stage"], **here)
        self._predictions = Summary("recsys_prediction", "of the items shown", ["bundle", "role", "prediction"], **here)
        self._overlap = Summary(
            "recsys_shadow_overlap", "share of a slate that the shadow shows too", ["bundle"], **here
        )
        self._unknown = Counter("recsys_feature_unknown", "rows shown without this feature", ["feature"], **here)
        self._rows = Counter("recsys_feature_rows", "rows shown with features", **here)
        self._events = Counter("recsys_events", "events by outcome", ["outcome"], **here)
        self._new_items = Counter("recsys_new_items", "items recorded", **here)
        self._breakers = Gauge(
            "recsys_breaker", "0 closed, 1 half open, 2 open", ["part"], multiprocess_mode="livemax", **here
        )
        self._parts = Gauge("recsys_part_down", "1: done without", ["part"], multiprocess_mode="livemax", **here)
        self._in_flight = Gauge("recsys_in_flight", "requests being answered", multiprocess_mode="livesum", **here)
        self._lost = Gauge("recsys_lost_served_rows", "rows not logged", multiprocess_mode="livesum", **here)
        self._late = Gauge("recsys_late_items", "items newer than the bundle", multiprocess_mode="livemax", **here)
        self._journal = Gauge(
            "recsys_journal", "of the store: records, ids, bytes", ["what"], multiprocess_mode="livemax", **here
        )
        self._defaults = np.array([DEFAULTS[name] for name in FEATURES], dtype=np.float32)
        self._named: set[str] = set()
        self._children: dict[tuple[Any, ...], Any] = {}  # of fixed sets of labels
        self._noted: defaultdict[tuple[Any, ...], list[float]] = defaultdict(list)  # since they were told last
        self._shown: list[np.ndarray] = []  # features of the rows shown since
        self._lock = threading.Lock()  # shadows are told from a thread of their own

    def answered(self, front: str, route: str, code: str, seconds: float) -> None:
        """One answer, whatever it was."""
        with self._lock:
            self._noted[self._requests, front, route, code].append(1)
            self._noted[self._seconds, front, route].append(seconds)

    def slate(self, response: RecommendResponse, course: Course, seconds: float) -> None:
        """A slate that was answered."""
        with self._lock:
            noted = self._noted
            noted[self._rungs, response.rung].append(seconds)
            noted[self._slates, response.rung, course.role].append(1)
            for item in response.items:
                noted[self._items, item.source].append(1)
            for name in course.down:
                noted[self._without, name].append(1)
            for name, dropped in course.dropped.items():
                noted[self._dropped, name].append(dropped)
            noted[self._candidates,].append(course.candidates)
        self.ranked(course, seconds)

    def ranked(self, course: Course, seconds: float) -> None:
        """What a bundle did for one request, shown or not."""
        took: dict[str, float] = {}
        for stage in course.stages:
            took[stage.name] = took.get(stage.name, 0.0) + stage.seconds
        with self._lock:
            bundle, noted = self._name(course.bundle), self._noted
            noted[self._bundles, bundle, course.role].append(seconds)
            for name, total in took.items():
                noted[self._stages, name].append(total)
            for name, values in (course.predictions or {}).items():
                if len(values) and not math.isnan(values[0]):  # else the log of the training days does not know of it
                    noted[self._predictions, bundle, course.role, name].append(sum(values.tolist()) / len(values))
            if course.features is not None and course.role != "shadow":
                self._shown.append(course.features)

    def shadowed(self, course: Course, overlap: float, seconds: float) -> None:
        """A shadow's slate beside the one that was shown."""
        self.ranked(course, seconds)
        with self._lock:
            self._noted[self._overlap, self._name(course.bundle)].append(overlap)

    def events(self, response: EventsResponse) -> None:
        """What became of a batch of events."""
        for outcome, count in (
            ("accepted", response.accepted),
            ("duplicate", response.duplicates),
            ("rejected", len(response.rejected)),
        ):
            self._of(self._events, outcome).inc(count)

    def items(self, recorded: int) -> None:
        """Items recorded."""
        self._new_items.inc(recorded)

    def state(self, state: dict[str, Any], in_flight: int, down: Mapping[str, str]) -> None:
        """How the worker is; asked for now and then."""
        for part, name in state["breakers"].items():
            self._of(self._breakers, part).set(STATES.get(name, 2))
        for part in PARTS:
            self._of(self._parts, part).set(part in down)
        self._in_flight.set(in_flight)
        self._lost.set(state["lost_served_rows"])
        self._late.set(state["late_items"])

    def journal(self, size: Size) -> None:
        """How large the store's journal is."""
        for what, number in size._asdict().items():
            self._of(self._journal, what).set(number)

    def flush(self) -> None:
        """Tell what was noted: every second, and when somebody asks. One by one, a slate's 60 took .3 ms."""
        with self._lock:
            noted, self._noted = self._noted, defaultdict(list)
            shown, self._shown = self._shown, []
        for (metric, *labels), values in noted.items():
            child, total = self._of(metric, *labels), sum(values)
            if metric._type == "counter":
                child.inc(total)
                continue
            child._sum.inc(total)
            if metric._type == "summary":
                child._count.inc(len(values))
                continue
            counts = np.bincount(np.searchsorted(child._upper_bounds, values))
            for bucket in np.flatnonzero(counts).tolist():
                child._buckets[bucket].inc(int(counts[bucket]))
        if shown:  # values about which nothing was known: not applicable, or at the declared default
            rows = np.concatenate(shown)
            unknown = (np.isnan(rows) | (rows == self._defaults)).sum(axis=0)
            for name, count in zip(FEATURES, unknown.tolist(), strict=True):
                self._of(self._unknown, name).inc(count)
            self._rows.inc(len(rows))

    def _of(self, metric: Any, *labels: str) -> Any:
        """`metric.labels(...)`, which takes its lock and two microseconds every time, looked up once."""
        child = self._children.get((metric, *labels))
        if child is None:
            child = self._children[metric, *labels] = metric.labels(*labels) if labels else metric
        return child

    def _name(self, bundle: str) -> str:
        if bundle not in self._named and len(self._named) >= BUNDLES:
            return "other"
        self._named.add(bundle)
        return bundle

    def exposition(self) -> tuple[bytes, str]:
        """The text Prometheus scrapes and its content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        self.flush()
        if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            return generate_latest(self._registry), CONTENT_TYPE_LATEST
        _forget_the_dead(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry), CONTENT_TYPE_LATEST


def _forget_the_dead(folder: Path) -> None:
    """Gauges say what a worker does now, so those of a worker that is gone go; its counters stay."""
    from prometheus_client.multiprocess import mark_process_dead

    for pid in {path.stem.rpartition("_")[2] for path in folder.glob("gauge_live*.db")}:
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            mark_process_dead(int(pid))
        except (PermissionError, ValueError):
            continue
