"""A state of other features, built beside the one in service: from that one's log and the journal, while services run.

What makes a state is the log; tables and cells are of one kernel and are not read. What the new kernel keeps must then
be what its own replay of the log gives, at the cut and byte for byte: else it is dropped again.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import numpy as np

from recsys.features.catalog import FINGERPRINT
from recsys.features.log import concat, empty
from recsys.store.errors import StoreCorrupt, StoreError, StoreMissing
from recsys.store.hot import LOG, log_of, packed, unpacked
from recsys.store.journal import Journal
from recsys.store.known import Known
from recsys.store.online import OnlineStore
from recsys.store.told import TOLD_SCHEMA

READS, ITEMS = 50, 20  # held against a replay: drawn by chance


def build_beside(journal: Journal, before: str, fingerprint: str = FINGERPRINT) -> tuple[int, int]:
    """Build the state of this code's features beside another one.

    Args:
        before: fingerprint of the features in service

    Returns:
        Position up to which it was compared, and values compared.

    Raises:
        StoreMissing: there is no state of `before`.
        StoreError: there is one of these features already, or it is not what a replay gives; nothing is left of it.
    """
    if not journal.mark(before).snapshot:
        raise StoreMissing(f"the online store holds no state of features {before}: materialize online_state")
    if journal.mark(fingerprint).snapshot:
        raise StoreError(f"the online store holds a state of features {fingerprint} already: nothing is to be built")
    arrays = None
    while arrays is None:
        with journal.dumped(before) as dump:
            try:
                journal.check(before, dump.snapshot, LOG)
            except StoreCorrupt:
                if journal.mark(before).snapshot == dump.snapshot:
                    raise
                continue  # a checkpoint put another one in its place meanwhile
            arrays = _anew(dump.arrays)
    if not journal.save(fingerprint, f"{uuid.uuid4().hex}-{uuid.uuid4().hex}", arrays, ""):
        raise StoreError("another process built the same state meanwhile: nothing is left to do")
    try:
        return _compared(OnlineStore(journal, fingerprint=fingerprint))
    except StoreError:
        journal.drop(fingerprint)
        raise


def _anew(held: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A snapshot of this code's features, of another one's log and items."""
    pieces, items, words = log_of(held), unpacked(held["items"]), unpacked(held["words"], TOLD_SCHEMA)
    position, utc_offset_ms, since = held["about"].tolist()
    log = concat(pieces) if pieces else empty()
    return packed(None, log, items, words, position, Known(held["digests"], since), utc_offset_ms)


def _compared(store: OnlineStore) -> tuple[int, int]:
    """Reads at the head of the log, each beside what a replay to its position gives."""
    log, items = store.export()
    chance, users, values = np.random.default_rng(1), np.unique(log.user_key), 0
    if not len(users) or not len(items.item_key):
        return store.head(), 0
    as_of = int(log.received_at.max()) + 1
    for user in chance.choice(users, READS).tolist():
        read = store.read(user, chance.choice(items.item_key, ITEMS), as_of)
        replayed = store.past(read.position).read(user, read.item_keys, as_of)
        values += replayed.aggregates.size
        if read.aggregates.tobytes() != replayed.aggregates.tobytes():
            raise StoreError(f"the new state differs from a replay at position {read.position}: it was dropped")
    return read.position, values
