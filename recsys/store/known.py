"""By which ids an event that is told again is known, and for how long (ADR 4).

`occurred_at` is part of an event's key. So an event that happened within the horizon can only be known by an id that
was kept within it, and one that says it happened earlier is refused, whatever it is: none counts twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from recsys.events import CLOCK_SKEW_MS, DAY_MS
from recsys.features.log import EventLog
from recsys.store.journal import NO_END, Journal, digest_of, events_of
from recsys.vocabulary import TOO_LATE


class Known(NamedTuple):
    """The ids of an archive's events."""

    digests: np.ndarray  # uint64[n, 2], sorted
    since: int  # UTC ms: of all events received from then on

    @staticmethod
    def of(event_keys: Sequence[str], since: int = 0) -> Known:
        """By their keys."""
        pairs = np.frombuffer(b"".join(map(digest_of, event_keys)), np.uint64).reshape(-1, 2)
        return Known(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))], since)

    def has(self, digests: Sequence[bytes]) -> np.ndarray:
        """bool[n]: whether each is here."""
        wanted = np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)
        present = np.zeros(len(wanted), bool)
        first = np.searchsorted(self.digests[:, 0], wanted[:, 0], side="left")
        last = np.searchsorted(self.digests[:, 0], wanted[:, 0], side="right")
        for i in np.flatnonzero(last > first):
            present[i] = bool(np.any(self.digests[first[i] : last[i], 1] == wanted[i, 1]))
        return present


NOTHING: Final = Known.of(())


def too_late(said_at: int | None, since: int) -> str | None:
    """Why an event is refused that says it happened before the ids that are kept; None for one that may be taken."""
    earliest = since + CLOCK_SKEW_MS  # what happened from then on was received from `since` on, if it ever was
    if said_at is None or said_at >= earliest:
        return None
    return f"occurred_at is before {np.datetime64(earliest, 'ms')} UTC, from when on repeats are known ({TOO_LATE})"


def horizon(archive: EventLog, journal: Journal, days: int, now: int) -> int:
    """From which instant on (UTC ms) ids of an archive's events are kept: so many days, and all that the journal has
    could repeat.

    Args:
        now: our clock, UTC ms; the archive's end counts where that is earlier
    """
    if not len(archive.position):
        return 0
    live = events_of(journal.records(0, NO_END))
    begins = min(now, int(archive.received_at.max())) - days * DAY_MS
    earliest = min(
        (int(column.min()) for column in (live.occurred_at, live.received_at) if len(column)), default=begins
    )
    return max(0, min(begins, earliest - CLOCK_SKEW_MS))
