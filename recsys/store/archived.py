"""What the lake holds of a live log, and how the journal lets go of it (ADR 11)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from recsys.events import KINDS, SEARCH, first_position, is_live
from recsys.features.log import EventLog, empty
from recsys.store.errors import StoreCorrupt
from recsys.store.journal import ITEM_RECORD, NO_END, RECORD_RECEIVED, Journal, digest_of, events_of
from recsys.store.known import Known


class Cut(NamedTuple):
    """What became of the records that are older than a journal keeps."""

    left: int
    not_in_lake: int  # they stay
    held_by: str  # the features whose state is the oldest and keeps records back; "" where none does

    def __str__(self) -> str:
        words = f"{self.left:,} records left the journal"
        if self.not_in_lake:
            words += f"; {self.not_in_lake:,} are due and stay, since the lake does not hold them: take in their days"
        if self.held_by:
            words += f"; the state of features {self.held_by} holds others back: make upgrade DROP={self.held_by}"
        return words


def nothing(positions: np.ndarray) -> np.ndarray:
    """Of a lake that was given nothing."""
    return np.zeros(len(positions), bool)


def not_in(archive: EventLog, known: Known, journal: Journal, position: int, head: int) -> EventLog:
    """The events of a journal up to its head that an archive up to a position does not hold, by position or id."""
    live = events_of(journal.records(0, head))
    held = np.isin(live.position, archive.position)
    if len(known.digests):
        ids = {at: digest_of(json.loads(raw).get("event_key", "")) for at, _, raw in journal.raw(0, position)}
        told = np.array([at in ids for at in live.position.tolist()], bool)
        held[told] |= known.has([ids[at] for at in live.position[told].tolist()])
    return live.take(~held)


def lost(
    both: EventLog, journal: Journal, log: Callable[[], EventLog], judged: Callable[[np.ndarray], np.ndarray]
) -> EventLog:
    """The events that left the journal and that the lake lost: they are in the state alone.

    Args:
        both: what archive and journal hold
        log: that of the state, which may be torn: then nothing is known
        judged: whether the lake was given a live event of a position, int64[n] to bool[n]
    """
    cut = journal.cut_at()
    if not cut:
        return empty()
    try:
        before = log().until(cut)
    except StoreCorrupt:
        return empty()
    gone = before.take(is_live(before.position) & ~np.isin(before.position, both.position))
    gone = gone.take(~np.isin(gone.position, journal.records(0, cut).position))
    return gone.take(~judged(gone.position)) if len(gone.position) else gone


def cut(
    journal: Journal,
    fingerprint: str,
    keys: Callable[[int], Mapping[int, str]],
    known: Callable[[list[bytes]], np.ndarray],
    heard_until: int,
    days: int,
) -> Cut:
    """Let the records leave that the lake was given, events where the state of the archive knows their ids.

    Args:
        fingerprint: of the state that was just begun anew from the lake
        keys: event_key of each live event that the lake was given, by position; of those received since an instant
        known: whether that state's archive holds events of those digests, bool[n]
        heard_until: the last word about an item that the lake was given
        days: whole days that stay besides the last one
    """
    stand = {of: _stands(journal, of) for of in journal.snapshots()}
    oldest = min(stand, key=lambda of: (stand[of], of != fingerprint))
    head = journal.mark(fingerprint).head
    asked = first_position((head >> 32) - days) - 1
    until = min(asked, stand[oldest])
    old = journal.records(0, until)
    received = old.fields[:, RECORD_RECEIVED]
    words = old.fields[:, 0] == ITEM_RECORD
    heard = words & ((received == 0) | (old.position <= heard_until))  # at no instant: the lake itself said it
    given = keys(int(received[~words].min())) if not words.all() else {}
    told = old.position[~words & np.array([at in given for at in old.position.tolist()], bool)]
    told = told[known([digest_of(given[at]) for at in told.tolist()])]
    leaving = np.sort(np.concatenate([told, old.position[heard]]))
    journal.cut(leaving)
    return Cut(len(leaving), len(old.position) - len(leaving), "" if until == asked else oldest)


def _stands(journal: Journal, fingerprint: str) -> int:
    """Up to which position the log is in a snapshot, whatever the journal has; 0 of one that cannot be read."""
    while name := journal.snapshots().get(fingerprint):
        try:
            arrays = journal.load(fingerprint, name)
            return int(arrays.get("logged", arrays["about"])[0])
        except (StoreCorrupt, KeyError):
            if journal.snapshots().get(fingerprint) == name:
                return 0  # else a checkpoint put another one in its place meanwhile
    return NO_END


def of_nobody(journal: Journal, log: EventLog) -> np.ndarray:
    """bool[n]: which events of a log are searches that are nobody's in the journal, such as those that named a user."""
    searches = log.kind == KINDS[SEARCH]
    if not searches.any():
        return searches
    at = log.position[searches]  # most lie in the archive: to read all of the journal is a third of a `forget`
    records = journal.records(int(at[0]) - 1, int(at[-1]))
    stripped = (records.fields[:, 0] == KINDS[SEARCH]) & (records.fields[:, 1] == 0)
    return np.isin(log.position, records.position[stripped])
