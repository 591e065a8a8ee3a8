"""Events that a log lacks and that those it has imply. They are rows of the log like any other: every feature, label
and source of candidates sees them, and nothing below knows that they were derived.

- A log without long views: a play watched to the end of its item, or for LONG_VIEW_MS, makes one.
- A log without clicks: the first of CLICKED that it has stands for the click. Each such event makes one.
- Heartbeats (many plays of one view): see `one_play_a_view`.

A derived event has the ids, instants and surroundings of what it was made of; its event_id is that one's with `#kind`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from recsys.events import DAY_MS, IDENTITY, LONG_VIEW_MS, SESSION_GAP_MS

Heartbeats = Literal["none", "increments", "totals"]
CLICKED: Final = ("play", "long_view", "like", "share", "follow")


class Rules(NamedTuple):
    """What a log's events imply."""

    long_view: bool = False  # plays make long views
    click: str | None = None  # the kind that makes clicks

    @staticmethod
    def of(kinds: Collection[str]) -> Rules:
        """The rules of a log that has these kinds of events."""
        long_view = "play" in kinds and not {"long_view", "exposure_long_view"} & set(kinds)
        click = None if "click" in kinds else next((kind for kind in CLICKED if kind in kinds), None)
        return Rules(long_view, click)

    def describe(self) -> list[str]:
        """A line a rule, in words."""
        seconds = LONG_VIEW_MS // 1000
        lines = [f"plays watched to the end, or for {seconds} s, make long views"] if self.long_view else []
        return lines + ([f"each {self.click} makes a click"] if self.click else [])


def is_long_view(watch_ms: Any, duration_ms: Any) -> np.ndarray:
    """Whether so much of items so long (0: unknown) is a long view; numbers or arrays."""
    duration = np.asarray(duration_ms)
    return np.asarray(watch_ms) >= np.where((duration > 0) & (duration < LONG_VIEW_MS), duration, LONG_VIEW_MS)


def with_derived(events: pa.Table, durations: Mapping[str, int], rules: Rules) -> pa.Table:
    """The events (EVENT_SCHEMA) and, below them, what they imply; nothing where the watch time makes no sense, user or
    item is missing, or the user does not consent.

    Args:
        durations: ms by item_id; an item without one has none that is known.
    """
    kinds, watched = events["kind"].to_pylist(), events["watch_ms"].fill_null(0).to_numpy()
    duration = np.array([durations.get(item, 0) for item in events["item_id"].to_pylist()], np.int64)
    long = is_long_view(watched, duration) if rules.long_view else np.zeros(len(watched), bool)
    made = [events]
    kind = np.array(kinds, dtype=object)
    # the others go to quarantine, and so does all that they would say
    sensible = (watched >= 0) & (watched <= DAY_MS) & events["consent"].to_numpy()
    for name in ("user_id", "item_id"):
        sensible &= events[name].is_valid().to_numpy()
    for name, rows in (("long_view", long & (kind == "play")), ("click", kind == rules.click)):
        if (rows & sensible).any():
            made.append(_as(events.filter(pa.array(rows & sensible)), name))
    return pa.concat_tables(made)


def implied_by(event: Mapping[str, Any], duration_ms: int, rules: Rules) -> Iterator[dict[str, Any]]:
    """What one live event implies, as `with_derived` does for a table."""
    if rules.long_view and event["kind"] == "play" and is_long_view(event.get("watch_ms") or 0, duration_ms):
        yield {**event, "kind": "long_view", "event_id": f"{event['event_id']}#long_view", "watch_ms": None}
    if event["kind"] == rules.click:
        yield {**event, "kind": "click", "event_id": f"{event['event_id']}#click", "watch_ms": None}


def _as(rows: pa.Table, kind: str) -> pa.Table:
    frame = pl.DataFrame(rows).with_columns(
        kind=pl.lit(kind),
        event_id=pl.concat_str("event_id", pl.lit(f"#{kind}")),
        watch_ms=pl.lit(None, pl.Int64),
    )
    return frame.to_arrow().cast(rows.schema)


def one_play_a_view(events: pl.DataFrame, heartbeats: Heartbeats) -> pl.DataFrame:
    """Heartbeats added up: the plays of one user and item that follow each other within SESSION_GAP_MS are one view.

    Of `increments` (each play says what was watched since the last one) the view has the sum, of `totals` (each says
    what was watched so far) the largest; where a total falls, another view begins. The play of the view bears the
    first one's event_id and surroundings, and stands where the last one stood: it is known only then. A repeated
    delivery adds nothing; a play that makes no sense stays by itself, and goes to quarantine.
    """
    if heartbeats == "none" or events.is_empty():
        return events
    of = ["user_id", "item_id"]
    sensible = pl.all_horizontal(pl.col(*of).is_not_null()) & pl.col("watch_ms").fill_null(0).is_between(0, DAY_MS)
    adds_up = (pl.col("kind") == "play") & sensible
    plays = events.filter(adds_up).sort("received_at", maintain_order=True)
    plays = plays.unique(IDENTITY, keep="first", maintain_order=True)
    plays = plays.sort(*of, "occurred_at", maintain_order=True)
    pause = pl.col("occurred_at").diff().over(of) > SESSION_GAP_MS
    fell = pl.col("watch_ms").diff().over(of) < 0 if heartbeats == "totals" else pl.lit(False)
    begins = (pause | fell).fill_null(False)
    last = ["occurred_at", "received_at", "date"]
    watched = pl.col("watch_ms").sum() if heartbeats == "increments" else pl.col("watch_ms").max()
    views = (
        plays.with_columns(begins.cast(pl.Int64).alias("view"))
        .with_columns(pl.col("view").cum_sum().over(of))
        .group_by(*of, "view", maintain_order=True)
        .agg(
            pl.exclude(*last, "watch_ms").first(),
            pl.col(*last).last(),
            watched.alias("watch_ms"),
        )
    )
    return pl.concat([events.filter(~adds_up), views.select(events.columns)])
