"""The course of one request: the time it has, the time its stages took, and what it met on the way.

A stage that needs a part which may hang or fail (the store, the index, the ranker) is not begun once too much of the
request's time is gone: a lower rung answers in what is left. Hosts make a course for each request, end what overstays
it (`bentos.recommender.calls`) and turn what it noted into metrics, logs and traces.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from recsys.serving.bundle import ServingBundle

Role = Literal["champion", "canary", "shadow"]

# Share of a request's time after which a stage is not begun any more. Scoring comes late and costs most; the words of
# the reasons are the first to go.
BEGIN_BY: Final[Mapping[str, float]] = {"blocks": 0.5, "store": 0.5, "two_tower": 0.4, "ranker": 0.6, "reasons": 0.7}
SOURCES_BY: Final = 0.5  # share after which no source is waited for: what the others found is still read and ranked
SLOW: Final = 1 / 3  # a part that took more than this share of the time counts as failed for its circuit breaker


class Stage(NamedTuple):
    """One stage, by `time.perf_counter`."""

    name: str
    began: float
    seconds: float


class _Timing:
    """A stage under way; a generator in its place takes three times as long, fifteen times a request."""

    __slots__ = ("_course", "_outer", "_stage")

    def __init__(self, course: Course, name: str) -> None:
        self._course, self._outer, self._stage = course, course.within, (name, time.perf_counter())

    def __enter__(self) -> None:
        self._course.within = self._stage

    def __exit__(self, *_: object) -> None:
        course, (name, began) = self._course, self._stage
        seconds = time.perf_counter() - began
        course.within = self._outer
        course.stages.append(Stage(name, began, seconds))
        if (limit := course.limit) is not None and seconds > limit:
            course.slow.add(name)


@dataclass
class Course:
    """One request under way. Used by one thread at a time."""

    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    seconds: float | None = None  # the time it has; None: as long as it takes (batch, warming, replays of the past)
    began: float = field(default_factory=time.perf_counter)
    stages: list[Stage] = field(default_factory=list)
    slow: set[str] = field(default_factory=set)  # stages that took longer than `limit`
    within: tuple[str, float] | None = None  # the stage under way and when it began
    traceparent: str | None = None  # of the caller's trace (W3C Trace Context)
    said_id: str = ""  # the caller's own X-Request-ID: told back and logged, and no key of anything
    accept_language: str = ""  # in which languages the caller reads
    key_id: str = ""  # of the API key that the caller showed
    then: int | None = None  # log position of the past instant that it looks back to: found once, for all its reads
    beside: ServingBundle | None = None  # whose ranking the slate mixes in (experiments/interleaving.py)
    # what was met, for whoever watches
    role: Role = "champion"
    bundle: str = ""
    rung: str = ""
    candidates: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)  # filter -> candidates it dropped
    down: list[str] = field(default_factory=list)  # parts that were done without
    features: np.ndarray | None = None  # float32[k, F], of the rows shown
    predictions: Mapping[str, np.ndarray] | None = None  # of the rows shown

    def may_begin(self, stage: str) -> bool:
        """Whether enough time is left for a stage; one that was slow is not begun again."""
        if self.seconds is None:
            return True
        if stage in self.slow:
            return False
        return time.perf_counter() - self.began < BEGIN_BY.get(stage, 1.0) * self.seconds

    @property
    def limit(self) -> float | None:
        """Seconds after which a part counts as slow."""
        return None if self.seconds is None else SLOW * self.seconds

    @property
    def patience(self) -> float | None:
        """Seconds for which a candidate source is waited for from now on; None: as long as it takes."""
        if self.seconds is None or self.limit is None:
            return None
        return max(0.0, min(self.limit, SOURCES_BY * self.seconds - (time.perf_counter() - self.began)))

    def stage(self, name: str) -> _Timing:
        """Time a stage."""
        return _Timing(self, name)

    def tell(self, other: Course) -> None:
        """Take over what the course met that answered in this one's place."""
        self.role, self.bundle, self.rung = other.role, other.bundle, other.rung
        self.candidates, self.dropped = other.candidates, other.dropped
        self.features, self.predictions = other.features, other.predictions
        self.down = [*self.down, *other.down]
