"""What an online store takes as an event, and the words with which it refuses one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
import orjson

from recsys.events import CLOCK_SKEW_MS, DAY_MS, EVENT_SCHEMA, KINDS
from recsys.features.hot import Hot
from recsys.features.journal import Entry, digest_of, key_of

MAX_ID_LENGTH: Final = 512
MAX_EVENT_BYTES: Final = 16_384
_EVENT_NAMES: Final = frozenset(EVENT_SCHEMA.names)


def entry_of(hot: Hot, event: Mapping[str, Any], received_at: int) -> Entry | str:
    """The record of an event, or why it is refused."""
    for field in ("event_id", "kind", "user_id", "item_id"):
        value = event.get(field)
        if not isinstance(value, str) or not value:
            return f"{field} is missing"
        if len(value) > MAX_ID_LENGTH:
            return f"{field} is longer than {MAX_ID_LENGTH} characters"
    if event["kind"] not in KINDS:
        return f"unknown kind {event['kind']!r:.40}"
    if event.get("consent") is False:
        return "no consent"
    occurred_at = event.get("occurred_at")
    occurred_at = received_at if occurred_at is None else occurred_at
    if not isinstance(occurred_at, int) or isinstance(occurred_at, bool) or occurred_at < 0:
        return "occurred_at is not an instant in milliseconds"
    if occurred_at > received_at + CLOCK_SKEW_MS:
        return "occurred_at is more than five minutes ahead of our clock"
    watch_ms = event.get("watch_ms")
    if watch_ms is not None and (not isinstance(watch_ms, int) or not 0 <= watch_ms <= DAY_MS):
        return "watch_ms is not between 0 and a day"
    shelf = event.get("shelf")
    if shelf is not None and (not isinstance(shelf, str) or len(shelf) > MAX_ID_LENGTH):
        return f"shelf is not a name of at most {MAX_ID_LENGTH} characters"
    row = hot.rows.get(event["item_id"])
    if row is None:
        return "unknown item"
    occurred_at = min(occurred_at, received_at)
    known = {name: value for name, value in event.items() if value is not None and name in _EVENT_NAMES}
    known["occurred_at"], known["received_at"] = occurred_at, received_at
    if "date" not in known:
        known["date"] = _day((occurred_at + hot.utc_offset_ms) // DAY_MS)
    try:
        raw = orjson.dumps(known)  # a tenth of the time of json, which was a third of an append
    except TypeError as error:
        return f"not a plain record: {error}"
    if len(raw) > MAX_EVENT_BYTES:
        return f"larger than {MAX_EVENT_BYTES} bytes"
    item = hot.item_matrix[row].tolist()
    fields = (
        KINDS[event["kind"]],
        key_of(event["user_id"]),
        *item[:3],
        key_of(shelf) if shelf else 0,
        occurred_at,
        received_at,
        watch_ms or 0,
    )
    return Entry(digest_of(event["event_id"]), fields, raw)


@lru_cache(maxsize=64)
def _day(number: int) -> str:
    return str(np.datetime64(number, "D"))
