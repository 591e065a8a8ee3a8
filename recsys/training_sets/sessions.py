"""Where people began to use the product, and which of what they knew they played then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from recsys.events import KINDS, SESSION_GAP_MS
from recsys.features.judged import PLAYED
from recsys.features.log import EventLog

_IMPORTED: Final = ("exposure", "exposure_long_view")  # of which no session is known


class Starts(NamedTuple):
    """Sessions in which something known was played, s of them, by user and then by instant."""

    user_key: np.ndarray  # int64[s]
    at: np.ndarray  # int64[s], UTC ms of the first event
    played: list[np.ndarray]  # of each: units that had been played before it, in the order in which they are played

    def take(self, rows: np.ndarray) -> Starts:
        """The sessions at these places, int64[n]."""
        return Starts(self.user_key[rows], self.at[rows], [self.played[row] for row in rows.tolist()])


def starts(log: EventLog, units: Callable[[np.ndarray], np.ndarray]) -> Starts:
    """The sessions of a log (an event more than SESSION_GAP_MS after the one before begins another).

    Args:
        units: item keys to the keys of their units, int64[n] each
    """
    chosen = np.flatnonzero((log.user_key != 0) & ~np.isin(log.kind, [KINDS[kind] for kind in _IMPORTED]))
    rows = chosen[np.lexsort((log.position[chosen], log.occurred_at[chosen], log.user_key[chosen]))]
    user, at = log.user_key[rows], log.occurred_at[rows]
    is_first = np.ones(len(rows), bool)
    is_first[1:] = (user[1:] != user[:-1]) | (at[1:] - at[:-1] > SESSION_GAP_MS)
    session, began = np.cumsum(is_first) - 1, at[is_first]
    played = np.flatnonzero(np.isin(log.kind[rows], [KINDS[kind] for kind in PLAYED]))
    unit = units(log.item_key[rows[played]])
    _, pair = np.unique(np.stack([user[played], unit]), axis=1, return_inverse=True)
    first_heard = np.full(int(pair.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first_heard, pair, log.received_at[rows[played]])
    known = first_heard[pair] < began[session[played]]
    of, unit = session[played[known]], unit[known]
    which, begin = np.unique(of, return_index=True)
    return Starts(user[is_first][which], began[which], np.split(unit, begin[1:]) if len(which) else [])
