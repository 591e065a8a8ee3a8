"""Whether the people of a log come back to what they engaged with: a slate brings it back where they do."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from recsys.events import DAY_MS, KINDS
from recsys.features.catalog import ENGAGED
from recsys.features.log import EventLog

SELDOM: Final = (
    0.01  # of what people engage with; the simulator's come back to .04, KuaiRand's to .0007, MovieLens' never
)


class Repeats(NamedTuple):
    """Engagements (a user, an item and a day) after each user's first day."""

    again: int = 0  # those with an item that the user engaged with on an earlier day
    of: int = 0  # all

    @staticmethod
    def counted(log: EventLog) -> Repeats:
        """Those of a log; nothing behind it is used."""
        engaged = np.flatnonzero(np.isin(log.kind, [KINDS[kind] for kind in ENGAGED]) & (log.user_key != 0))
        day = log.received_at[engaged] // DAY_MS
        rows = np.unique(np.stack([log.user_key[engaged], log.item_key[engaged], day], axis=1), axis=0)
        user, item, day = rows.T
        users, of_user = np.unique(user, return_inverse=True)
        first = np.full(len(users), np.iinfo(np.int64).max)
        np.minimum.at(first, of_user, day)
        is_later = day > first[of_user]
        is_again = (user[1:] == user[:-1]) & (item[1:] == item[:-1])
        return Repeats(int(is_again.sum()), int(is_later.sum()))

    @property
    def come_back(self) -> bool:
        """Whether they come back, or too few were seen to tell: none of 300 may be chance (3 / n is the 95 % bound)."""
        return self.again + 3 >= SELDOM * self.of
