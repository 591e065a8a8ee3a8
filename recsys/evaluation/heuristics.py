"""Heuristics that retrieve: from the whole catalogue, by counts of the log as it stood at the query's instant.

Those that rank are rankers like any other (recsys/ranking/heuristics.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from recsys.events import DAY_MS, HOUR_MS, KINDS
from recsys.features.log import EventLog, Items
from recsys.policy.filters import left_out
from recsys.retrieval.sources import co_visitation
from recsys.retrieval.top import top_k


class Queries(NamedTuple):
    """Who asks for candidates, when and on which shelf, [q] each."""

    user_key: np.ndarray  # int64
    as_of: np.ndarray  # int64, UTC ms
    shelf: Sequence[str | None]
    come_back: bool  # of Repeats: whether what was engaged with may be proposed


Retrieve = Callable[[EventLog, Items, Queries, int], np.ndarray]


def retrieve_random(log: EventLog, items: Items, queries: Queries, k: int) -> np.ndarray:
    """k different items of the catalogue each, drawn with a fixed seed: int64[q, k] item keys."""
    rng = np.random.default_rng(7)
    n, width = len(items.item_key), min(k, len(items.item_key))
    chosen = np.stack([rng.choice(n, width, replace=False) for _ in range(len(queries.as_of))]) if width else None
    lists = np.zeros((len(queries.as_of), k), dtype=np.int64)
    if chosen is not None:
        lists[:, :width] = items.item_key[chosen]
    return lists


def retrieve_popular(log: EventLog, items: Items, queries: Queries, k: int) -> np.ndarray:
    """The items with the most clicks and long views received before each query."""
    return _most_engaged(log, items, queries, k, window_ms=None)


def retrieve_trending(log: EventLog, items: Items, queries: Queries, k: int) -> np.ndarray:
    """The items with the most clicks and long views received in the 24 h before each query, then the popular ones."""
    return _most_engaged(log, items, queries, k, window_ms=DAY_MS)


def retrieve_trending_now(log: EventLog, items: Items, queries: Queries, k: int) -> np.ndarray:
    """As trending, over the last hour."""
    return _most_engaged(log, items, queries, k, window_ms=HOUR_MS)


def retrieve_trending_decayed(log: EventLog, items: Items, queries: Queries, k: int) -> np.ndarray:
    """The items with the most clicks and long views received before each query, each counting half a day later."""
    return _most_engaged(log, items, queries, k, window_ms=None, half_life_ms=DAY_MS)


def retrieve_resumed(log: EventLog, items: Items, queries: Queries, k: int) -> np.ndarray:
    """What the user opened and has not viewed long, the last first; then the popular ones."""
    opened, done = _OfUsers.of(log, items, ("click",)), _OfUsers.of(log, items, ("long_view", "exposure_long_view"))
    first = []
    for user, at in zip(queries.user_key.tolist(), queries.as_of.tolist(), strict=True):
        begun = opened.before(user, at)
        first.append(_newest(begun[~np.isin(begun, done.before(user, at))]))
    return _in_front(first, items, retrieve_popular(log, items, queries, k))


def retrieve_like_last(log: EventLog, items: Items, queries: Queries, k: int) -> np.ndarray:
    """Items that share users with the user's last item, as known before the first query; then the popular ones.

    What the shelf leaves out for the user does not come back.
    """
    engaged, seen = _OfUsers.of(log, items, OPENED), left_out_rows(log, items, queries)
    known = engaged.received < queries.as_of.min(initial=np.iinfo(np.int64).max)
    near, _ = co_visitation(engaged.user[known], engaged.item[known], len(items.item_key))
    first = []
    for query, (user, at) in enumerate(zip(queries.user_key.tolist(), queries.as_of.tolist(), strict=True)):
        past = engaged.before(user, at)
        like = near[past[-1]] if len(past) else np.empty(0, np.int64)
        first.append(like[(like >= 0) & ~np.isin(like, seen[query])])
    return _in_front(first, items, retrieve_popular(log, items, queries, k))


RETRIEVERS: Final[Mapping[str, Retrieve]] = {
    "random": retrieve_random,
    "popular": retrieve_popular,
    "trending_1h": retrieve_trending_now,
    "trending_24h": retrieve_trending,
    "trending_decayed": retrieve_trending_decayed,
    "resume_last": retrieve_resumed,
    "like_last_item": retrieve_like_last,
}
OPENED: Final = ("click", "long_view", "exposure_long_view")


def _most_engaged(
    log: EventLog, items: Items, queries: Queries, k: int, window_ms: int | None, half_life_ms: int | None = None
) -> np.ndarray:
    """Counts are kept while the log is walked from query to query: each sees what was received strictly before it."""
    n_items, n_queries = len(items.item_key), len(queries.as_of)
    lists = np.zeros((n_queries, k), dtype=np.int64)
    if not n_items:
        return lists
    counted = np.isin(log.kind, [KINDS[kind] for kind in OPENED]) & items.known(log.item_key)
    received = log.received_at[counted]
    by_time = np.argsort(received, kind="stable")
    received = received[by_time]
    item = np.searchsorted(items.item_key, log.item_key[counted][by_time])
    # Decay turned round: an event counts twice as much as one a half-life earlier, and the order is the same.
    age = (received - received[-1]) / half_life_ms if half_life_ms and len(received) else np.zeros(len(received))
    worth = np.exp2(np.maximum(age, -1_000.0))
    ever, recent = np.zeros(n_items), np.zeros(n_items)
    entered = left = 0
    width = min(k, n_items)
    seen = left_out_rows(log, items, queries)
    for query in np.argsort(queries.as_of, kind="stable"):
        until = int(np.searchsorted(received, queries.as_of[query], side="left"))
        if until > entered:
            np.add.at(ever, item[entered:until], worth[entered:until])
            np.add.at(recent, item[entered:until], 1.0)
            entered = until
        score = ever
        if window_ms is not None:
            start = int(np.searchsorted(received, queries.as_of[query] - window_ms, side="left"))
            np.subtract.at(recent, item[left:start], 1.0)
            left = start
            score = recent + ever / (ever.max() + 1.0)  # equal in the window: the more popular one first
        score = score.copy()
        score[seen[query]] = -1.0
        best = top_k(score, width)  # equal scores by item key, also at the cut
        best = best[score[best] >= 0]
        lists[query, : len(best)] = items.item_key[best]
    return lists


class _OfUsers(NamedTuple):
    """Events of some kinds, user by user in the order of receipt; `item` is a row of the catalogue."""

    user: np.ndarray
    received: np.ndarray
    item: np.ndarray

    @staticmethod
    def of(log: EventLog, items: Items, kinds: Sequence[str]) -> _OfUsers:
        chosen = np.flatnonzero(np.isin(log.kind, [KINDS[kind] for kind in kinds]) & items.known(log.item_key))
        chosen = chosen[np.lexsort((log.received_at[chosen], log.user_key[chosen]))]
        rows = np.searchsorted(items.item_key, log.item_key[chosen])
        return _OfUsers(log.user_key[chosen], log.received_at[chosen], rows)

    def before(self, user_key: int, instant: int) -> np.ndarray:
        """Catalogue rows of the user's events received strictly before the instant, oldest first."""
        first = int(np.searchsorted(self.user, user_key, side="left"))
        last = int(np.searchsorted(self.user, user_key, side="right"))
        until = first + int(np.searchsorted(self.received[first:last], instant, side="left"))
        return self.item[first:until]


def left_out_rows(log: EventLog, items: Items, queries: Queries) -> list[np.ndarray]:
    """Catalogue rows that each query's shelf leaves out for its user."""
    keys = left_out(log, queries.user_key, queries.shelf, queries.as_of, queries.come_back)
    return [np.searchsorted(items.item_key, of_one[items.known(of_one)]) for of_one in keys]


def _newest(rows: np.ndarray) -> np.ndarray:
    """Distinct rows, the last first."""
    _, first = np.unique(rows[::-1], return_index=True)
    return rows[::-1][np.sort(first)]


def _in_front(first: Sequence[np.ndarray], items: Items, lists: np.ndarray) -> np.ndarray:
    """Lists int64[q, k] of item keys with some catalogue rows of each query put in front of them."""
    in_front = np.zeros_like(lists)
    for query, rows in enumerate(first):
        front = items.item_key[rows]
        whole = np.concatenate([front, lists[query][~np.isin(lists[query], front)]])[: lists.shape[1]]
        in_front[query, : len(whole)] = whole
    return in_front
