"""The event vocabulary: every source ends here, every stage begins here.

An event is one thing that happened between a user and an item. Instants are int64 UTC milliseconds; ids are strings as
the source gave them (integers are written in decimal). The log's total order is the `position` (docs/consistency.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa
import xxhash

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
LABEL_WINDOW_MS: Final = DAY_MS  # an outcome counts for an impression up to 24 h after it
CLOCK_SKEW_MS: Final = 5 * MINUTE_MS  # occurred_at further ahead of received_at than this is quarantined
SESSION_GAP_MS: Final = 30 * MINUTE_MS

# kind -> code kept in integer columns and in the online state. Append only: codes are written to disk.
KINDS: Final[dict[str, int]] = {
    "impression": 1,  # the item was shown
    "click": 2,  # the user opened it
    "play": 3,  # playback ended; carries watch_ms
    "long_view": 4,  # watched far enough to count as satisfied (the source's rule, else LONG_VIEW_MS)
    "like": 5,
    "dislike": 6,
    "skip": 7,  # left within seconds
    "share": 8,
    "follow": 9,
    "exposure": 10,  # an imported impression of which only the long view is known
    "exposure_long_view": 11,
}
OUTCOMES: Final = ("click", "play", "long_view", "like", "dislike", "skip", "share", "follow")
LONG_VIEW_MS: Final = 18_000  # long view = watched to the end, or at least 18 s (KuaiRand's rule, docs of the dataset)
SKIP_MS: Final = 3_000

ITEM_TYPES: Final[dict[str, int]] = {"video": 1, "podcast": 2, "playlist": 3, "album": 4}

# Raw and cleaned events share these columns; cleaned adds `position`, `category_key`, `creator_key`, `date`.
EVENT_SCHEMA: Final = pa.schema(
    [
        ("event_id", pa.string()),  # idempotency key
        ("kind", pa.string()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("occurred_at", pa.int64()),  # client's clock
        ("received_at", pa.int64()),  # our clock; equals occurred_at where a source has none
        ("request_id", pa.string()),  # the slate (one feed page); null when unknown
        ("impression_id", pa.string()),  # event_id of the impression that an outcome answers; null when unknown
        ("shelf", pa.string()),  # surface: feed, podcasts, ...
        ("device", pa.string()),
        ("slot", pa.int32()),  # place in the slate, 0 first; null when unknown
        ("watch_ms", pa.int64()),  # plays only
        ("date", pa.string()),  # local calendar day of the source, YYYY-MM-DD: the split's unit
        ("consent", pa.bool_()),  # false: never used for training or features
        ("position", pa.int64()),  # null until cleaned; live events arrive with theirs
    ]
)

ITEM_SCHEMA: Final = pa.schema(
    [
        ("item_id", pa.string()),
        ("item_type", pa.string()),
        ("creator_id", pa.string()),
        ("category", pa.string()),  # the first, main one
        ("tags", pa.list_(pa.string())),
        ("title", pa.string()),
        ("duration_ms", pa.int64()),  # 0 when unknown
        ("published_at", pa.int64()),  # 0 when unknown
        ("is_available", pa.bool_()),
    ]
)

USER_SCHEMA: Final = pa.schema(
    [
        ("user_id", pa.string()),
        ("registered_at", pa.int64()),  # 0 when unknown
    ]
)


# The user_id of what a forgotten user did: it counts for the items, no state is kept for it, no row is about it.
NOBODY: Final = "(forgotten)"


def key64(ids: Iterable[str]) -> np.ndarray:
    """Stable 64-bit key of each id (xxh3, seed 0), shape [n] int64; 0 is kept for "none".

    The same in every process and on every machine, unlike `hash()`. At 10 million ids two collide with
    probability 3e-6.
    """
    digest = xxhash.xxh3_64_intdigest
    keys = np.fromiter((digest(i.encode()) for i in ids), dtype=np.uint64).view(np.int64)
    keys[keys == 0] = 1
    return keys


def first_position(day: int) -> int:
    """The first position of a local day (days since the epoch): position = day << 32 | rank within the day.

    So a day's events are numbered without reading the days before it, and the log stays totally ordered by
    (received_at, event_id).
    """
    return day << 32
