"""The event vocabulary: every source ends here, every stage begins here.

An event is one thing that happened between a user and an item. Instants are int64 UTC milliseconds; ids are strings as
the source gave them (integers are written in decimal). The log's total order is the `position` (docs/consistency.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import xxhash

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
LABEL_WINDOW_MS: Final = DAY_MS  # an outcome counts for an impression up to 24 h after it
CLOCK_SKEW_MS: Final = 5 * MINUTE_MS  # occurred_at further ahead of received_at than this is quarantined
SESSION_GAP_MS: Final = 30 * MINUTE_MS
MAX_ID_BYTES: Final = 256  # of an id in UTF-8: the item index keeps no longer one
MAX_DESCRIPTION_BYTES: Final = 8_192  # of an item's description in UTF-8: each version of an item keeps it whole
MAX_EMBEDDING: Final = 4_096  # numbers of an item's embedding: those of the largest models have 3,072
MAX_INTEGER_DIGITS: Final = 15  # of an id that is answered as a JSON integer: a double still tells all of those apart

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
    "search": 12,  # what a user asked for in words, of no item (lake/cleaned/searches); its item_key is `query_key`
}
SEARCH: Final = "search"
WORD: Final = re.compile(r"\w+")
QUERY_WORDS: Final = 3  # of a search that are read, the first ones
WORD_BITS: Final = 18  # of each: of 10,000 words 4 % share a code with another
QUERY_MASK: Final = (1 << QUERY_WORDS * WORD_BITS) - 1  # what a view keeps of a search: its words, 54 bits
OUTCOMES: Final = ("click", "play", "long_view", "like", "dislike", "skip", "share", "follow")
LONG_VIEW_MS: Final = 18_000  # long view = watched to the end, or at least 18 s (KuaiRand's rule, docs of the dataset)
SKIP_MS: Final = 3_000

ITEM_TYPES: Final[dict[str, int]] = {"video": 1, "podcast": 2, "playlist": 3, "album": 4}

# Raw and cleaned events share these columns, but for `query`, which the searches have; cleaned adds keys and a session.
EVENT_SCHEMA: Final = pa.schema(
    [
        ("event_id", pa.string()),  # as the source gave it; sources reuse theirs: see event_key
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
        ("query", pa.string()),  # searches only: the words
        ("date", pa.string()),  # local calendar day of the source, YYYY-MM-DD: the split's unit
        ("consent", pa.bool_()),  # false: never used for training or features
        ("position", pa.int64()),  # null until cleaned; live events arrive with theirs
        ("event_key", pa.string()),  # what the event is (event_key below); null until it has passed the border
    ]
)

# What a live event counted for in the online store, as it comes back beside its position; null for any other event.
COUNTED_AS: Final = ("category_key", "creator_key")
RAW_EVENT_SCHEMA: Final = pa.schema([*EVENT_SCHEMA, *((name, pa.int64()) for name in COUNTED_AS)])

# What a catalogue may say of items beside: no feature counts it, the item tower reads it (recsys/retrieval/text.py).
_SAID_OF_ITEMS: Final = [
    ("language", pa.string()),
    ("description", pa.string()),
    ("creator_name", pa.string()),
    ("embedding", pa.list_(pa.float32())),  # by the user's own text, image or audio model; of one length for all items
]
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
        ("id_is_integer", pa.bool_()),  # the JSON type in which the id first came, and so is answered
        *_SAID_OF_ITEMS,
    ]
)
# Of a source whose items say none of that.
BARE_ITEM_SCHEMA: Final = pa.schema([field for field in ITEM_SCHEMA if field.name not in dict(_SAID_OF_ITEMS)])

# What a source may say of items: several rows of one, each from its `valid_from` on (UTC ms; null where it says none).
VALID_ITEM_SCHEMA: Final = pa.schema([*ITEM_SCHEMA, ("valid_from", pa.int64())])

USER_SCHEMA: Final = pa.schema(
    [
        ("user_id", pa.string()),
        ("registered_at", pa.int64()),  # 0 when unknown
    ]
)

# What a source says of users beside that: several rows of one, each from its `valid_from` on (UTC ms; null: not said).
ATTRIBUTE_SCHEMA: Final = pa.schema(
    [
        ("user_id", pa.string()),
        ("attributes", pa.list_(pa.string())),  # words of the form name=value, sorted (recsys/sources/attributes.py)
        ("valid_from", pa.int64()),
    ]
)


UTC_OFFSET: Final = "utc_offset_minutes"  # the attribute that says by which clock somebody lives
OFFSETS: Final = range(-12 * 60, 14 * 60 + 1)  # minutes ahead of UTC that a clock on earth may be

# The user_id of what a forgotten user did: it counts for the items, no state is kept for it, no row is about it.
NOBODY: Final = "(forgotten)"

# `sandbox:ID` is a copy of user ID, to whom events may be sent that nothing learns from (docs/adr/0013).
SANDBOX: Final = "sandbox:"


def whole_items(items: pa.Table, schema: pa.Schema = ITEM_SCHEMA) -> pa.Table:
    """Items in that schema; columns that they lack, as those of an earlier version of this code do, are null."""
    made = pa.concat_tables([schema.empty_table(), items], promote_options="default")
    return made.select(schema.names).cast(schema)


def is_integer_id(item_id: str) -> bool:
    """Whether an id that came without a type, as in a CSV, is an integer: written as one, in at most 15 digits."""
    digits = item_id.removeprefix("-")
    return len(digits) <= MAX_INTEGER_DIGITS and digits.isascii() and digits.isdigit() and str(int(item_id)) == item_id


def event_key(
    event_id: str | None, user_id: str | None, kind: str | None, item_id: str | None, occurred_at: int | None
) -> str:
    """What an event is: of two deliveries with one key, the second is a duplicate (docs/adr/0004). 32 hex digits.

    Args:
        user_id: as the user is known inside
        occurred_at: as it was said, before any clamp to received_at; None where nothing was said
    """
    said = orjson.dumps([event_id, user_id, kind, item_id, occurred_at])
    return xxhash.xxh3_128_hexdigest(said)


IDENTITY: Final = ("event_id", "user_id", "kind", "item_id", "occurred_at")  # arguments of event_key


# What a row says; of one without an event_id they make its id, in files and over HTTP and gRPC alike.
ROW: Final = (
    "occurred_at", "slot", "watch_ms", "kind", "user_id", "item_id", "request_id", "impression_id", "shelf", "device",
)  # fmt: skip
ROW_SEPARATOR: Final = "\x1f"


def row_id(words: str) -> str:
    """The event_id of a row that has none, 32 hex digits: the same row, told again, is the same event.

    Args:
        words: the values of ROW, joined by ROW_SEPARATOR, then the query; a missing value is no text.
    """
    return xxhash.xxh3_128_hexdigest(words.encode())


def with_event_keys(table: pa.Table) -> pa.Table:
    """The same events (EVENT_SCHEMA), each with its event_key."""
    rows = zip(*(table[name].to_pylist() for name in IDENTITY), strict=True)
    keys = pa.array([event_key(*row) for row in rows], pa.string())
    return table.set_column(table.column_names.index("event_key"), EVENT_SCHEMA.field("event_key"), keys)


def key64(ids: Iterable[str]) -> np.ndarray:
    """Stable 64-bit key of each id (xxh3, seed 0), shape [n] int64; 0 is kept for "none".

    The same in every process and on every machine, unlike `hash()`. At 10 million ids two collide with
    probability 3e-6.
    """
    digest = xxhash.xxh3_64_intdigest
    keys = np.fromiter((digest(i.encode()) for i in ids), dtype=np.uint64).view(np.int64)
    keys[keys == 0] = 1
    return keys


def words_in(text: str | None) -> list[str]:
    """The words of a text, of items and of searches alike: case, and what stands between them, make no other word."""
    return WORD.findall((text or "").casefold())


def word_codes(keys: np.ndarray) -> np.ndarray:
    """WORD_BITS bits of the key64 of each word, int64 of the shape of `keys`; 0 of 0 alone."""
    codes: np.ndarray = (keys ^ (keys >> 32)) & (1 << WORD_BITS) - 1
    return np.where(keys == 0, 0, np.maximum(codes, 1))


def query_key(query: str) -> int:
    """The codes of the first QUERY_WORDS distinct words of a search, the first lowest; 0 where it has no word."""
    words = list(dict.fromkeys(words_in(query)))[:QUERY_WORDS]
    return sum(int(code) << WORD_BITS * place for place, code in enumerate(word_codes(key64(words))))


def words_of_query(keys: np.ndarray) -> np.ndarray:
    """The codes of the words in each `query_key`, int64[..., QUERY_WORDS], 0 for none."""
    codes: np.ndarray = keys[..., None] >> WORD_BITS * np.arange(QUERY_WORDS) & (1 << WORD_BITS) - 1
    return codes


def first_position(day: int) -> int:
    """The first position of a local day (days since the epoch): position = day << 32 | rank within the day.

    So a day's events are numbered without reading the days before it, and the log stays totally ordered by
    (received_at, event_id, event_key).
    """
    return day << 32


LIVE_RANK: Final = 1 << 31  # live events take the upper half of their day's positions: no import of the day meets them


def is_live(position: np.ndarray) -> np.ndarray:
    """bool[n] of int64[n]: which positions a store gave, and no import."""
    return (position & ((1 << 32) - 1)) >= LIVE_RANK
