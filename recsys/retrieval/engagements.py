"""Who engaged with what, and the read at which it had to be foreseen: the examples of retrieval."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.events import KINDS, key64, words_of_query
from recsys.features import catalog, sweep
from recsys.features.derive import Context, derive
from recsys.features.judged import searched_before
from recsys.features.log import EventLog, ItemColumns, Rows, no_items
from recsys.features.people import NO_ONE, People

READ_ROWS: Final = 100_000  # rows read at once: some 180 int64 aggregates each


class Engagements(NamedTuple):
    """One row a (user, item) engagement, [n] each: who, what, and the read at which it had to be foreseen."""

    user_key: np.ndarray
    item_key: np.ndarray
    position: np.ndarray
    as_of: np.ndarray
    shelf: np.ndarray  # key64, 0 unknown
    device: np.ndarray

    def take(self, rows: np.ndarray) -> Engagements:
        """Those rows."""
        return Engagements(*(column[rows] for column in self))


def from_impressions(impressions: pa.Table, log: EventLog, known_before: int | None = None) -> Engagements:
    """The impressions that were clicked or viewed long, in log order, each read at its own instant.

    Args:
        impressions: cleaned impressions (user_key, item_key, occurred_at, shelf, device, click, long_view,
            outcome_received_at).
        log: events up to them.
        known_before: outcomes received from this instant (ms) on do not count: at the end of a split they were unknown.
    """
    engaged = pc.or_(pc.cast(impressions["click"], pa.bool_()), pc.cast(impressions["long_view"], pa.bool_()))
    if known_before is not None:
        engaged = pc.and_(engaged, pc.less(impressions["outcome_received_at"], known_before))
    return requests(impressions.filter(engaged), log)


def requests(impressions: pa.Table, log: EventLog) -> Engagements:
    """Every impression of the table as a read at its own instant."""
    as_of = _ints(impressions, "occurred_at")
    return Engagements(
        user_key=_ints(impressions, "user_key"),
        item_key=_ints(impressions, "item_key"),
        position=sweep.read_positions(log, as_of),
        as_of=as_of,
        shelf=_codes(impressions["shelf"]),
        device=_codes(impressions["device"]),
    )


def met_by(log: EventLog) -> tuple[str, ...]:
    """The kinds of events by which users of a log met items: what was shown, or in a log that does not say so, what
    was engaged with.
    """
    says = np.isin(log.kind, [KINDS[kind] for kind in catalog.SHOWN]).any()
    return catalog.SHOWN if says else catalog.ENGAGED


def from_history(log: EventLog) -> Engagements:
    """The long views imported from before the log, each read just before it was received; no request is known."""
    rows = np.flatnonzero((log.kind == KINDS["exposure_long_view"]) & (log.user_key != 0))
    none = np.zeros(len(rows), np.int64)
    position = sweep.read_positions(log, log.received_at[rows])
    return Engagements(log.user_key[rows], log.item_key[rows], position, log.occurred_at[rows], none, none)


def concat(*parts: Engagements) -> Engagements:
    """One below the other."""
    return Engagements(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def read_rows(log: EventLog, rows: Engagements, people: People = NO_ONE) -> np.ndarray:
    """Features of the user and the request at each read, float32[n, FEATURES]; no item takes part."""
    none = np.zeros(len(rows.user_key), np.int64)
    out = np.empty((len(none), len(catalog.FEATURES)), np.float32)
    for start in range(0, len(none), READ_ROWS):
        part = slice(start, start + READ_ROWS)
        user, _, position, as_of, shelf, device = (column[part] for column in rows)
        aggregates = sweep.point_in_time(log, no_items(), Rows(user, none[part], position, as_of, shelf))
        zeros = none[part]
        item = ItemColumns(*(zeros for _ in ItemColumns._fields))
        out[part] = derive(aggregates, Context(as_of, shelf, device, zeros, item, people.columns(user, as_of, zeros)))
    return out


def about_rows(log: EventLog, rows: Engagements, people: People = NO_ONE) -> np.ndarray:
    """What a query tower reads of words about each read's user, int64[n, ABOUT_WORDS], 0 for none: keys of what is
    said of them, and behind these the codes of the words of their last searches, the last first.
    """
    searched = words_of_query(searched_before(log, rows.user_key, rows.position))
    return np.concatenate(
        [people.words_of(rows.user_key, rows.as_of), searched.reshape(len(rows.user_key), -1)], axis=1
    )


def _ints(table: pa.Table, name: str) -> np.ndarray:
    return np.ascontiguousarray(table[name].combine_chunks().to_numpy(zero_copy_only=False)).astype(np.int64)


def _codes(names: pa.ChunkedArray) -> np.ndarray:
    """key64 of each name, 0 for null: few distinct ones, so each is hashed once."""
    encoded = pc.dictionary_encode(names.combine_chunks())
    keys = np.append(key64(encoded.dictionary.to_pylist()), 0)
    return keys[pc.fill_null(encoded.indices, len(keys) - 1).to_numpy(zero_copy_only=False)]
