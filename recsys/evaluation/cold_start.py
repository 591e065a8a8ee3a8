"""Cold start: do new people get what they want, and do new items and categories reach the people who want them?

Four ways to fill a first page stand side by side: the champion's candidates, what is popular with everybody, with the
user's segment, and the query tower alone. Each list is of the whole catalogue, as the log stood when it was asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from recsys.evaluation import metrics
from recsys.evaluation.bootstrap import Resamples, interval
from recsys.evaluation.heuristics import OPENED, Queries, left_out_rows
from recsys.evaluation.report import RetrievalTask
from recsys.events import DAY_MS, KINDS
from recsys.features.log import EventLog, Items
from recsys.features.people import People
from recsys.retrieval.engagements import met_by
from recsys.retrieval.top import top_k

CHAMPION, SEGMENT, POPULAR, TOWER = "champion", "segment_popular", "popular", "two_tower"
EVENTS: Final = (0, 1, 3, 5, 20)  # engaged events of a user before the request, from which on
SHOWN: Final = (0, 1, 10, 50)  # impressions of an item before the test days, from which on
AGES: Final = {"under_1_day": 1.0, "1_to_7_days": 7.0, "over_7_days": np.inf}
# Intervals of the champion's lead: no gate reads them, and they cover the truth together in 95 % all the same.
COMPARISONS: Final = 3 * len(EVENTS)
PRIOR: Final = 20.0  # engagements of everybody's that a segment's count is filled up with


def retrieve_segment_popular(log: EventLog, items: Items, queries: Queries, k: int, people: People) -> np.ndarray:
    """The items with the most clicks and long views of the user's segment received before each query, filled up with
    everybody's; everybody's alone for a user of no segment. int64[q, k] item keys.
    """
    counted = np.isin(log.kind, [KINDS[kind] for kind in OPENED]) & items.known(log.item_key)
    order = np.flatnonzero(counted)[np.argsort(log.received_at[counted], kind="stable")]
    received, n = log.received_at[order], len(items.item_key)
    row = np.searchsorted(items.item_key, log.item_key[order])
    segment = people.segments(log.user_key[order], received)
    of_query = people.segments(queries.user_key, queries.as_of)
    places = {key: np.flatnonzero(segment == key) for key in np.unique(of_query[of_query != 0]).tolist()}
    seen, lists = left_out_rows(log, items, queries), np.zeros((len(queries.as_of), k), np.int64)
    ever, entered = np.zeros(n), 0
    for query in np.argsort(queries.as_of, kind="stable"):
        until = int(np.searchsorted(received, queries.as_of[query], side="left"))
        np.add.at(ever, row[entered:until], 1.0)
        entered = until
        own = places.get(int(of_query[query]), np.zeros(0, np.int64))
        own = own[: np.searchsorted(own, until)]
        score = np.bincount(row[own], minlength=n) + PRIOR * ever / max(1.0, ever.sum())
        score[seen[query]] = -1.0
        best = top_k(score, min(k, n))
        best = best[score[best] >= 0]
        lists[query, : len(best)] = items.item_key[best]
    return lists


def told(
    task: RetrievalTask,
    candidates: Mapping[str, np.ndarray],
    log: EventLog,
    items: Items,
    people: People,
    categories: Mapping[int, str],
    come_back: bool,
) -> dict[str, Any]:
    """`cold_start` of evaluation.json.

    Args:
        candidates: int64[q, k] item keys by source, of which `fused` are the champion's
        log: of all days
        categories: names by category_key
        come_back: of `Repeats`
    """
    queries = Queries(task.user_key, task.as_of, task.shelf, come_back)
    depth = candidates["fused"].shape[1]
    lists = {
        CHAMPION: candidates["fused"],
        POPULAR: candidates["popular"],
        SEGMENT: retrieve_segment_popular(log, items, queries, depth, people),
        TOWER: candidates["two_tower"],
    }
    begin = int(task.as_of.min(initial=np.iinfo(np.int64).max))
    known = np.isin(log.kind, [KINDS[kind] for kind in (*met_by(log), *OPENED)]) & (log.received_at < begin)
    columns = items.lookup(task.target_item)
    # by target: the place in each list, and what is known of the item
    ranks = {name: _ranks(of, task) for name, of in lists.items()}
    days = (task.as_of[task.target_query] - columns.published_at) / DAY_MS
    dated = columns.published_at > 0
    there = days >= 0  # or not dated: what came after the request can be in no list
    met, times = np.unique(log.item_key[known & np.isin(log.kind, [KINDS[k] for k in met_by(log)])], return_counts=True)
    shown = _looked_up(met, times, task.target_item)
    ages, younger = {}, ~there
    for name, bound in AGES.items():
        ages[name] = dated & (days < bound) & ~younger
        younger |= days < bound
    ages["undated"] = ~dated
    is_new = ~np.isin(columns.category_key, log.category_key[known]) & (columns.category_key != 0)
    return {
        "segments": len(np.unique(people.segments(task.user_key, task.as_of))) if len(people.words) else 0,
        "users_by_events": _by_events(task, lists, events_before(log, task)),
        "not_there_yet": int((~there).sum()),
        "items_by_age": {name: _found(ranks, mask) for name, mask in ages.items()},
        "items_by_impressions": {
            str(least): _found(ranks, mask & there) for least, mask in _from_on(shown, SHOWN).items()
        },
        "new_categories": {
            str(categories.get(int(key), key)): _found(ranks, there & (columns.category_key == key))
            for key in np.unique(columns.category_key[is_new])
        },
    }


def events_before(log: EventLog, task: RetrievalTask) -> np.ndarray:
    """Engagements of each query's user that were received before it, int64[q]."""
    engaged = np.isin(log.kind, [KINDS[kind] for kind in OPENED]) & np.isin(log.user_key, task.user_key)
    order = np.lexsort((log.received_at[engaged], log.user_key[engaged]))
    users, received = log.user_key[engaged][order], log.received_at[engaged][order]
    first, last = np.searchsorted(users, task.user_key, "left"), np.searchsorted(users, task.user_key, "right")
    pairs = zip(first, last, task.as_of, strict=True)
    return np.array([np.searchsorted(received[a:b], at, "left") for a, b, at in pairs], np.int64)


def _by_events(task: RetrievalTask, lists: Mapping[str, np.ndarray], events: np.ndarray) -> dict[str, Any]:
    """Mean recall@50 and ndcg@10 of the users of each class, and the champion's lead in recall with its interval."""
    targets = np.bincount(task.target_query, minlength=len(task.user_key))
    hit = {name: metrics.hits(of, task.target_query, task.target_item) for name, of in lists.items()}
    recall = {name: of[:, :50].sum(axis=1) / np.maximum(targets, 1) for name, of in hit.items()}
    classes: dict[str, Any] = {}
    for least, mask in _from_on(events, EVENTS).items():
        rows = np.flatnonzero(mask & (targets > 0))
        classes[str(least)] = {"rows": len(rows)}
        if not len(rows):
            continue
        drawn = Resamples.draw(rows)
        for name in lists:
            classes[str(least)][name] = {
                "recall@50": float(recall[name][rows].mean()),
                "ndcg@10": metrics.retrieval_ndcg_at_k(hit[name][rows], targets[rows], 10),
            }
        classes[str(least)]["intervals"] = {
            name: list(interval(drawn.mean(recall[CHAMPION][rows] - recall[name][rows]), COMPARISONS))
            for name in lists
            if name != CHAMPION
        }
    return classes


def _from_on(values: np.ndarray, bounds: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Masks of the values from each bound on and below the next."""
    place = np.searchsorted(bounds, values, side="right") - 1
    return {least: place == n for n, least in enumerate(bounds)}


def _ranks(lists: np.ndarray, task: RetrievalTask) -> np.ndarray:
    """Place of each target in its query's list, int64[t]; far behind where it is not in it."""
    is_it = lists[task.target_query] == task.target_item[:, None]
    return np.where(is_it.any(axis=1), np.argmax(is_it, axis=1), np.iinfo(np.int64).max)


def _found(ranks: Mapping[str, np.ndarray], mask: np.ndarray) -> dict[str, Any]:
    """Of the targets of a mask, how many there are, and the share that is among the first 50 and 200 of each list."""
    told: dict[str, Any] = {"targets": int(mask.sum())}
    if mask.any():
        for name, rank in ranks.items():
            told[name] = {f"recall@{k}": float((rank[mask] < k).mean()) for k in (50, 200)}
    return told


def _looked_up(keys: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Value of each key asked for, 0 where it is not among the sorted keys."""
    at = np.minimum(np.searchsorted(keys, asked), max(len(keys) - 1, 0))
    return np.where(keys[at] == asked, values[at], 0) if len(keys) else np.zeros(len(asked), np.int64)
