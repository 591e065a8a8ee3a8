"""What a process will read from next, made ready beside its requests: else one of them is the first to touch all of it,
700 pages at 4 us each on LMDB, and on Redis it fetches every owner that it asks for.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, cast

import numpy as np

from recsys.store.by_entity import ByEntity, EntityJournal
from recsys.store.errors import StoreError
from recsys.store.hot import Hot
from recsys.store.journal import Journal

READS: Final = 32  # that are tried on the next state: what they touch is what the following ones will

Asked = tuple[int, Sequence[str] | np.ndarray, int, int]  # user_key, items, as_of, shelf_key


class Ahead:
    """The states of one process: how one is made of a snapshot, and the next one.

    Args:
        cache_mb: as OnlineStore's
    """

    def __init__(self, journal: Journal, fingerprint: str, cache_mb: int | None) -> None:
        self._journal, self._fingerprint, self._cache_mb = journal, fingerprint, cache_mb
        self.asked: deque[Asked] = deque(maxlen=READS)  # the last reads, under the store's lock
        self._ready: tuple[str, Hot] | None = None
        self._looking = threading.Lock()

    def hot_of(self, arrays: Mapping[str, np.ndarray], snapshot: str) -> Hot:
        """A state of its own, of the arrays of a snapshot."""
        if self._journal.shares_pages:
            return Hot(arrays)
        return ByEntity(arrays, cast(EntityJournal, self._journal), snapshot, self._cache_mb)

    def taken(self, snapshot: str) -> Hot | None:
        """The state of a snapshot if it was made ready; it is the caller's from then on."""
        ready = self._ready
        if ready is None or ready[0] != snapshot:
            return None
        self._ready = None
        return ready[1]

    def look(self, now: Hot, asked: Sequence[Asked]) -> None:
        """Make the next state ready if one is announced. Asked from time to time, by no request.

        Args:
            now: which this process reads from
            asked: what is to be read as soon from the next one
        """
        with self._looking:
            coming = self._journal.coming(self._fingerprint)
            if self._ready is not None and self._ready[0] == coming:
                return
            self._ready = None
            if not coming:
                return
            try:
                fresh = self.hot_of(self._journal.load(self._fingerprint, coming), coming)
                fresh.catch_up(self._journal, self._journal.mark(self._fingerprint).head)
                fresh.warm(now, asked)
            except StoreError:  # it went away, or was never whole: a read will say what is wrong
                return
            self._ready = coming, fresh
