"""What a feature is, as frozen data: entities, measures, windows, views, and the features derived from them.

Nothing here computes. `layout.compile_program` turns views into the integer tables that the kernel reads, and the
names of columns are derived, never typed: `{entity}_{measure}_{op}_{window}`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal

from recsys.events import DAY_MS, HOUR_MS, KINDS, MINUTE_MS, SEARCH

KERNEL_VERSION: Final = 5  # raise it when kernel.py or derive.py changes one byte of any output, or of state
FIXED_POINT: Final = 1 << 16  # decayed sums are int64 with 16 fractional bits
PARTS: Final = (
    "user",
    "item",
    "category",
    "creator",
    "shelf",
)  # the keys that an event and a read carry, in this order

Op = Literal["count", "sum", "latest", "last", "decayed"]


class DefinitionError(ValueError):
    """A view or feature is declared wrongly; the message names it and the rule."""


@dataclass(frozen=True)
class Entity:
    """What a state is kept for: one or two of an event's keys."""

    name: str
    parts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.parts) <= 2 or any(part not in PARTS for part in self.parts):
            raise DefinitionError(f"entity {self.name}: parts must be one or two of {', '.join(PARTS)}")


@dataclass(frozen=True)
class Window:
    """A sawtooth window: from `floor((s - length) / hop) * hop` on. Length 0 is the lifetime, without tiles.

    It admits an event only if `received_at - occurred_at <= length`, so its state stays bounded and the past can be
    swept without replaying it (docs/consistency.md, 3).
    """

    name: str
    length_ms: int
    hop_ms: int

    def __post_init__(self) -> None:
        if self.hop_ms and self.length_ms % self.hop_ms:
            raise DefinitionError(f"window {self.name}: its length must be a multiple of its hop")

    @property
    def tiles(self) -> int:
        """Tiles kept: those of the window, the running one, and one more for reads up to a hop behind the log."""
        return self.length_ms // self.hop_ms + 2 if self.hop_ms else 0


HOUR: Final = Window("1h", HOUR_MS, 5 * MINUTE_MS)
DAY: Final = Window("24h", DAY_MS, HOUR_MS)
WEEK: Final = Window("7d", 7 * DAY_MS, DAY_MS)
MONTH: Final = Window("28d", 28 * DAY_MS, DAY_MS)
LIFETIME: Final = Window("all", 0, 0)


@dataclass(frozen=True)
class Measure:
    """What is added up: the kinds of event it takes, and how.

    count: 1 an event. sum: its watch_ms. latest: the greatest occurred_at. last: what
    the last one was about, of a search its words (`events.query_key`). decayed: `weights` (one per kind),
    halved every window length, on an integer grid.
    """

    name: str
    kinds: tuple[str, ...]
    op: Op = "count"
    weights: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise DefinitionError(f"measure {self.name}: kinds must be some of {', '.join(KINDS)}, not {unknown}")
        if self.op == "decayed" and (len(self.weights) != len(self.kinds) or min(self.weights) < 0):
            raise DefinitionError(f"measure {self.name}: a decayed measure needs one weight >= 0 for each kind")
        if self.op == "last" and self.kinds != (SEARCH,):  # the sweep has no room for a key of 64 bits
            raise DefinitionError(f"measure {self.name}: last is kept of searches only")


@dataclass(frozen=True)
class Aggregation:
    """Every measure over every window."""

    measures: tuple[Measure, ...]
    windows: tuple[Window, ...]

    def __post_init__(self) -> None:
        for measure in self.measures:
            for window in self.windows:
                if measure.op in ("latest", "last") and window != LIFETIME:
                    raise DefinitionError(f"measure {measure.name}: {measure.op} is kept over the lifetime only")
                if measure.op == "decayed" and not window.length_ms:
                    raise DefinitionError(f"measure {measure.name}: a decayed measure needs a half-life, not all")


@dataclass(frozen=True)
class Session:
    """The session that runs at the read: a gap longer than `gap` ends it. Defined in log order."""

    kinds: tuple[str, ...]
    gap: Window


@dataclass(frozen=True)
class Recent:
    """The last `length` events of these kinds, in log order. Gives a history, no column."""

    kinds: tuple[str, ...]
    length: int


@dataclass(frozen=True)
class FeatureView:
    """Everything kept for one entity."""

    entity: Entity
    aggregations: tuple[Aggregation, ...]
    session: Session | None = None
    recent: Recent | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its int64 columns, in the order in which the kernel writes them."""
        names = [
            f"{self.entity.name}_{measure.name}_{measure.op}_{window.name}"
            for aggregation in self.aggregations
            for window in aggregation.windows
            for measure in aggregation.measures
        ]
        if self.session is not None:
            names += [f"{self.entity.name}_session_{op}_{self.session.gap.name}" for op in ("start", "count")]
        return tuple(names)


@dataclass(frozen=True)
class Feature:
    """One float32 column: an operation of derive.py on int64 columns of a row.

    `inputs` are names of aggregates or of context columns; `constants` belong to the operation. `default` is the
    value of a row about which nothing is known, counted by completeness; `valid_range` bounds every other one.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    constants: tuple[float, ...]
    default: float
    valid_range: tuple[float, float]
    doc: str


def fingerprint(views: tuple[FeatureView, ...], features: tuple[Feature, ...]) -> str:
    """Hash of every definition and of the kernel's version: equal fingerprints give equal bytes."""
    text = repr((KERNEL_VERSION, views, features))  # frozen dataclasses print every field, in order
    return hashlib.sha256(text.encode()).hexdigest()[:16]
