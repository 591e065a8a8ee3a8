"""Baselines that implement the recommender protocol: what every model has to beat, on the same rows.

A heuristic orders impressions by one signal a label, read from the same point-in-time columns as the models, and
retrieves from the whole catalogue by counts of the log as it stood at the query's instant. Its signal becomes a
probability by the same isotonic calibration on validation as a model's, so log loss compares like with like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import polars as pl

from recsys.events import DAY_MS, HOUR_MS, KINDS
from recsys.features.catalog import SHOWN
from recsys.features.log import EventLog, Items
from recsys.ranking import calibration
from recsys.ranking.calibration import Calibration
from recsys.ranking.ranker import Predictions
from recsys.retrieval.sources import co_visitation

Label = Literal["click", "long_view"]
Signal = Callable[[pl.DataFrame, Label], np.ndarray]


class HeuristicError(ValueError):
    """A heuristic needs a feature column that the rows do not have; the message names it."""


def _column(rows: pl.DataFrame, name: str) -> np.ndarray:
    if name not in rows.columns:
        raise HeuristicError(f"the rows have no column {name}: materialize training_set with the present catalogue")
    return rows[name].to_numpy().astype(np.float64)


def _rate(entity: str, label: Label) -> str:
    return f"{entity}_{'ctr' if label == 'click' else 'long_view_rate'}_all"


def _logit(p: np.ndarray) -> np.ndarray:
    kept = np.clip(p, 1e-4, 1 - 1e-4)
    return np.log(kept / (1 - kept))


def _random(rows: pl.DataFrame, label: Label) -> np.ndarray:
    # Of the impression's own id: the same draw whatever the order or number of rows.
    return (rows["impression_id"].hash(seed=7).to_numpy() >> np.uint64(11)).astype(np.float64) / 2.0**53


SIGNALS: Final[dict[str, Signal]] = {
    "random": _random,
    "popular": lambda rows, label: _column(rows, "item_popularity_log_all"),
    "trending_1h": lambda rows, label: _column(rows, "item_popularity_log_1h"),
    "trending_24h": lambda rows, label: _column(rows, "item_popularity_log_24h"),
    "item_rate": lambda rows, label: _column(rows, _rate("item", label)),
    "category_popular": lambda rows, label: _column(rows, _rate("category", label)),
    "user_category_rate": lambda rows, label: _column(rows, _rate("user_category", label)),
    "user_times_item_rate": lambda rows, label: (
        _logit(_column(rows, _rate("user", label))) + _logit(_column(rows, _rate("item", label)))
    ),
}

# Not recommenders but controls of the metrics: they know nothing of the items. This one puts a user's impressions after
# many long views last. `gauc` by user rewards that, because an early positive raises the rate of every later row of its
# user and only users with both classes count: on the test days of KuaiRand it scores 0.82, above any model.
# `gauc@slate` compares rows of one moment, gives it 0.5, and is what a served slate's order is worth.
CONTROLS: Final[dict[str, Signal]] = {
    "fewest_past_outcomes": lambda rows, label: -_column(rows, _rate("user", label).replace("_all", "_7d")),
}


@dataclass(frozen=True)
class Heuristic:
    """One signal, calibrated for both labels."""

    name: str
    signal: Signal
    calibrations: Mapping[Label, Calibration]
    mean_watch_seconds: float

    @staticmethod
    def fit(name: str, validation: pl.DataFrame) -> Heuristic:
        """Calibrate on validation rows (features and labels, one row an impression)."""
        signal = (SIGNALS | CONTROLS)[name]
        labels: tuple[Label, ...] = ("click", "long_view")
        fitted = {label: calibration.fit(signal(validation, label), validation[label].to_numpy()) for label in labels}
        return Heuristic(name, signal, fitted, float(validation["watch_ms"].to_numpy().mean()) / 1000.0)

    def score(self, rows: pl.DataFrame) -> Predictions:
        """Predictions of impressions; `score` is the signal for a long view."""
        signal = self.signal(rows, "long_view")
        return Predictions(
            p_click=self.calibrations["click"](self.signal(rows, "click")),
            p_long_view=self.calibrations["long_view"](signal),
            watch_seconds=np.full(rows.height, self.mean_watch_seconds),
            score=signal,
        )


class Queries(NamedTuple):
    """Who asks for candidates and when, [q] int64 each."""

    user_key: np.ndarray
    as_of: np.ndarray


Retrieve = Callable[[EventLog, Items, Queries, int], np.ndarray]


def retrieve_random(log: EventLog, items: Items, queries: Queries, k: int) -> np.ndarray:
    """k different items of the catalogue each, drawn with a fixed seed: int64[q, k] item keys."""
    rng = np.random.default_rng(7)
    n, width = len(items.item_key), min(k, len(items.item_key))
    chosen = np.stack([rng.choice(n, width, replace=False) for _ in range(len(queries.as_of))]) if width else None
    found = np.zeros((len(queries.as_of), k), dtype=np.int64)
    if chosen is not None:
        found[:, :width] = items.item_key[chosen]
    return found


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
    """What others engaged with who engaged with the user's last item, as known before the first query; then the
    popular ones. What the user was shown before does not come back.
    """
    engaged, seen = _OfUsers.of(log, items, ENGAGED), _OfUsers.of(log, items, SHOWN)
    known = engaged.received < queries.as_of.min(initial=np.iinfo(np.int64).max)
    near, _ = co_visitation(engaged.user[known], engaged.item[known], len(items.item_key))
    first = []
    for user, at in zip(queries.user_key.tolist(), queries.as_of.tolist(), strict=True):
        past = engaged.before(user, at)
        like = near[past[-1]] if len(past) else np.empty(0, np.int64)
        first.append(like[(like >= 0) & ~np.isin(like, seen.before(user, at))])
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
ENGAGED: Final = ("click", "long_view", "exposure_long_view")


def _most_engaged(
    log: EventLog, items: Items, queries: Queries, k: int, window_ms: int | None, half_life_ms: int | None = None
) -> np.ndarray:
    """Counts are kept while the log is walked from query to query: each sees what was received strictly before it."""
    n_items, n_queries = len(items.item_key), len(queries.as_of)
    found = np.zeros((n_queries, k), dtype=np.int64)
    if not n_items:
        return found
    counted = np.isin(log.kind, [KINDS[kind] for kind in ENGAGED]) & items.known(log.item_key)
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
    seen = _OfUsers.of(log, items, SHOWN)
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
        score[seen.before(int(queries.user_key[query]), int(queries.as_of[query]))] = -1.0
        best = np.argpartition(-score, width - 1)[:width]
        best = best[np.lexsort((best, -score[best]))]
        best = best[score[best] >= 0]
        found[query, : len(best)] = items.item_key[best]
    return found


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


def _newest(rows: np.ndarray) -> np.ndarray:
    """Distinct rows, the last first."""
    _, first = np.unique(rows[::-1], return_index=True)
    return rows[::-1][np.sort(first)]


def _in_front(first: Sequence[np.ndarray], items: Items, lists: np.ndarray) -> np.ndarray:
    """Lists int64[q, k] of item keys with some catalogue rows of each query put in front of them."""
    found = np.zeros_like(lists)
    for query, rows in enumerate(first):
        front = items.item_key[rows]
        whole = np.concatenate([front, lists[query][~np.isin(lists[query], front)]])[: lists.shape[1]]
        found[query, : len(whole)] = whole
    return found
