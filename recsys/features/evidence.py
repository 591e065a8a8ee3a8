"""The events behind a feature: of each int64 column that it reads, the events of the log that the kernel counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np

from recsys.events import KINDS
from recsys.features.catalog import ABOUT, FEATURE_DEFINITIONS, VIEWS
from recsys.features.definition import Feature, Window
from recsys.features.layout import DECAY_REACH
from recsys.features.log import EventLog

GROUP_OF_CONTEXT: Final[Mapping[str, str]] = {  # context columns that are nobody's aggregates -> group
    "item_category_key": "category",
    "item_creator_key": "creator",
    "item_type": "item",
    "item_duration_ms": "item",
    "item_published_at": "item",
    "shelf": "shelf",
    "device": "moment",
    "slot": "moment",
    "as_of": "moment",
    **dict.fromkeys(ABOUT, "user"),
    "user_utc_offset_ms": "moment",
}


class Column(NamedTuple):
    """How an aggregate comes about."""

    parts: tuple[str, ...]  # keys of an event that must be those of the read
    kinds: tuple[str, ...]
    window: Window
    op: str  # as Measure.op, or "session"
    entity: str


def _columns() -> Iterator[tuple[str, Column]]:
    for view in VIEWS:
        for aggregation in view.aggregations:
            for window in aggregation.windows:
                for m in aggregation.measures:
                    name = f"{view.entity.name}_{m.name}_{m.op}_{window.name}"
                    yield name, Column(view.entity.parts, m.kinds, window, m.op, view.entity.name)
        if view.session is not None:
            gap = view.session.gap
            for op in ("start", "count"):
                name = f"{view.entity.name}_session_{op}_{gap.name}"
                yield name, Column(view.entity.parts, view.session.kinds, gap, "session", view.entity.name)


COLUMNS: Final[Mapping[str, Column]] = dict(_columns())
DEFINITIONS: Final[Mapping[str, Feature]] = {feature.name: feature for feature in FEATURE_DEFINITIONS}


def group_of(feature: str) -> str:
    """The group of a feature: the entity whose events it counts, `item` or the like for an attribute, else `moment`."""
    inputs = DEFINITIONS[feature].inputs
    entity = next((COLUMNS[name].entity for name in inputs if name in COLUMNS), None)
    return entity or next(GROUP_OF_CONTEXT[name] for name in reversed(inputs))


GROUPS: Final[tuple[str, ...]] = tuple(dict.fromkeys(group_of(name) for name in DEFINITIONS))


def behind(log: EventLog, column: str, keys: Mapping[str, int], as_of: int) -> np.ndarray:
    """Places in the log of the events that are counted in a column, in log order.

    Args:
        log: up to the position of the read
        keys: of the read: user, item, category, creator, shelf; 0 where there is none
        as_of: instant of the read, UTC ms
    """
    how = COLUMNS[column]
    if any(keys[part] == 0 for part in how.parts):
        return np.empty(0, np.int64)
    chosen = np.isin(log.kind, [KINDS[kind] for kind in how.kinds])
    for part in how.parts:
        chosen &= getattr(log, f"{part}_key") == keys[part]
    places = np.flatnonzero(chosen)
    at, late = log.occurred_at[places], log.received_at[places] - log.occurred_at[places]
    length, hop = how.window.length_ms, how.window.hop_ms
    if how.op == "session":
        return _session(places, at, length, as_of)
    if how.op == "decayed":
        return places[late <= DECAY_REACH * length]
    if how.op == "latest":
        return places[at == at.max()] if len(at) else places
    if hop:
        return places[(at >= (as_of - length) // hop * hop) & (late <= length)]
    return places


def _session(places: np.ndarray, at: np.ndarray, gap: int, as_of: int) -> np.ndarray:
    """The running session in log order, as the kernel keeps it."""
    first, last = 0, 0
    for place, instant in enumerate(at.tolist()):
        if place == 0 or instant - last > gap:
            first, last = place, instant
        last = max(last, instant)
    return places[first:] if len(at) and as_of - last <= gap else places[:0]
