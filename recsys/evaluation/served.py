"""What the slates that people get are worth: beside every list that is the same for all, and by stage.

Where the source knows the truth (the simulator), a slate is worth the mean true probability of a long view of its
items, each in the first place; where it does not, what it holds of the items that the user engages with next.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np

from recsys.evaluation.bootstrap import Resamples, interval
from recsys.evaluation.metrics import recall_by_query, retrieval_ndcg_by_query
from recsys.events import DAY_MS, KINDS
from recsys.features.catalog import ENGAGED, SHOWN
from recsys.features.log import EventLog
from recsys.features.people import NO_ONE, People
from recsys.policy.shelves import LISTS
from recsys.retrieval.top import top_k

MOST: Final = 1_000  # requests, one a user: the standard error of a slate's true P(long view) is then .003
# Users under which the worth of whole slates is not told: on the simulator the interval of 200 is .02 wide.
FEWEST_SERVED: Final = 200
NEXT_MS: Final = DAY_MS  # what a user engages with so soon after a request was wanted at it
SMOOTHING: Final = 20.0  # rows of everybody's rate in an item's rate
CHALLENGER: Final = "challenger"
TRUE_METRIC: Final = "p_long_view"
ACTIVITY: Final = (0, 10, 40, 100)  # impressions before the request at which a class of users begins


class Requests(NamedTuple):
    """One request a user, [q] each."""

    user_id: list[str]
    user_key: np.ndarray  # int64
    at: np.ndarray  # int64, UTC ms


class TrueOutcomes(NamedTuple):
    """The truth about every item of the catalogue for one request, float64[n] each, in the first place."""

    click: np.ndarray
    long_view: np.ndarray
    watch_ms: np.ndarray


Truth = Callable[[int], TrueOutcomes]  # by place of the request


class Lists(NamedTuple):
    """Slates of lists that are not personal, and what else the log says of the requests."""

    slates: dict[str, np.ndarray]  # int64[q, k] catalogue rows, -1 pads
    shown: np.ndarray  # int64[q], impressions of the user before


def lists(
    log: EventLog,
    item_keys: np.ndarray,
    requests: Requests,
    allowed: Sequence[np.ndarray],
    aim: str,
    k: int,
    people: People = NO_ONE,
) -> Lists:
    """What each of LISTS would show at each request, from what the log had received strictly before it.

    Args:
        item_keys: int64[n], the catalogue
        allowed: of each request, the catalogue rows that might be shown
        people: what is said of users: who says the same country and age makes one segment
        aim: the outcome whose rate `item_rate` orders by (`training_sets.labels.aim`)
    """
    n, q = len(item_keys), len(requests.at)
    by_key = np.argsort(item_keys, kind="stable")
    at = np.minimum(np.searchsorted(item_keys[by_key], log.item_key), n - 1)
    order = np.argsort(log.received_at, kind="stable")
    order = order[(item_keys[by_key][at] == log.item_key)[order]]
    row, kind, received, user = by_key[at[order]], log.kind[order], log.received_at[order], log.user_key[order]
    is_shown, is_engaged = (np.isin(kind, [KINDS[name] for name in names]) for names in (SHOWN, ENGAGED))
    is_aim = np.isin(kind, [KINDS["click"]] if aim == "click" else [KINDS["long_view"], KINDS["exposure_long_view"]])
    first = is_engaged & (received < requests.at.min(initial=np.iinfo(np.int64).max))
    segments, of_user = _segments(user[first], log.category_key[order][first])
    shown, wanted, popular = np.zeros(n), np.zeros(n), np.zeros(n)
    by_segment = np.zeros((segments, n))
    declared, which = np.unique(people.segments(user, received), return_inverse=True)
    asked_by = people.segments(requests.user_key, requests.at)
    by_declared = np.zeros((len(declared), n))
    users, seen = np.unique(user, return_inverse=True)
    impressions = np.zeros(len(users), np.int64)
    slates, before = {name: np.full((q, k), -1) for name in LISTS}, np.zeros(q, np.int64)
    entered = 0
    for place in np.argsort(requests.at, kind="stable"):
        until = int(np.searchsorted(received, requests.at[place], side="left"))
        part = slice(entered, until)
        np.add.at(shown, row[part][is_shown[part]], 1.0)
        np.add.at(wanted, row[part][is_aim[part]], 1.0)
        np.add.at(impressions, seen[part][is_shown[part]], 1)
        hot = row[part][is_engaged[part]]
        np.add.at(popular, hot, 1.0)
        np.add.at(by_segment, (of_user(user[part][is_engaged[part]]), hot), 1.0)
        np.add.at(by_declared, (which[part][is_engaged[part]], hot), 1.0)
        entered = until
        day = slice(int(np.searchsorted(received, requests.at[place] - DAY_MS, side="left")), until)
        recent = np.bincount(row[day][is_engaged[day]], minlength=n)
        rate = (wanted + SMOOTHING * wanted.sum() / max(shown.sum(), 1.0)) / (shown + SMOOTHING)
        mine = int(of_user(requests.user_key[place : place + 1])[0])
        scores = {
            "popular": popular,
            "trending": recent + popular / (popular.max() + 1.0),
            "item_rate": rate if shown.any() else popular,
            "segment_popular": by_segment[mine] + popular / (popular.max() + 1.0),
            "declared_popular": by_declared[(declared == asked_by[place]) & (declared != 0)].sum(axis=0)
            + popular / (popular.max() + 1.0),
        }
        for name, score in scores.items():
            slates[name][place] = top(score, allowed[place], k)
        me = np.searchsorted(users, requests.user_key[place])
        before[place] = impressions[me] if me < len(users) and users[me] == requests.user_key[place] else 0
    return Lists(slates, before)


def top(score: np.ndarray, allowed: np.ndarray, k: int) -> np.ndarray:
    """The k allowed rows with the highest score [n], equal ones by row; int64[k], -1 where there are fewer."""
    slate, rows = np.full(k, -1), np.sort(allowed)
    best = rows[top_k(score[rows], k)]
    slate[: len(best)] = best
    return slate


def next_items(
    log: EventLog, item_keys: np.ndarray, requests: Requests, allowed: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Of each request, the allowed rows that its user engages with within NEXT_MS and did not before."""
    engaged = np.flatnonzero(np.isin(log.kind, [KINDS[name] for name in ENGAGED]))
    engaged = engaged[np.argsort(log.user_key[engaged], kind="stable")]
    user, item, at = log.user_key[engaged], log.item_key[engaged], log.occurred_at[engaged]
    unseen = []
    for place, (key, asked) in enumerate(zip(requests.user_key.tolist(), requests.at.tolist(), strict=True)):
        mine = slice(int(np.searchsorted(user, key, "left")), int(np.searchsorted(user, key, "right")))
        soon = item[mine][(at[mine] >= asked) & (at[mine] < asked + NEXT_MS)]
        new = np.setdiff1d(soon, item[mine][at[mine] < asked])
        rows = allowed[place]
        unseen.append(rows[np.isin(item_keys[rows], new)])
    return unseen


def hits(slates: np.ndarray, wanted: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """hit, recall and ndcg of slates [q, k], float64 of the requests that have something to hit, in their order."""
    q, k = slates.shape
    targets = np.array([len(rows) for rows in wanted], np.int64)
    hit = np.array([np.isin(slate, rows) for slate, rows in zip(slates, wanted, strict=True)], bool).reshape(q, k)
    return {
        f"hit@{k}": np.asarray(hit[targets > 0].any(axis=1), np.float64),
        f"recall@{k}": recall_by_query(hit, targets, k),
        f"ndcg@{k}": retrieval_ndcg_by_query(hit, targets, k),
    }


def least(slates: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> int:
    """The first of several slates [q, k] each that is not certainly behind any later one: by ndcg of what is wanted,
    in pairs, at two standard errors. The first too where too few requests tell.
    """
    metric = f"ndcg@{slates[0].shape[1]}"
    worth = np.stack([hits(each, wanted)[metric] for each in slates])
    if worth.shape[1] < FEWEST_SERVED:
        return 0
    for place, mine in enumerate(worth):
        less = mine - worth[place + 1 :]
        if (less.mean(axis=1) + 2.0 * less.std(axis=1) / np.sqrt(worth.shape[1]) >= 0.0).all():
            return place
    raise AssertionError("the last one has none behind it")


def judge(
    slates: Mapping[str, np.ndarray],
    requests: Requests,
    wanted: Sequence[np.ndarray],
    published: np.ndarray,
    shown_before: np.ndarray,
    truth: Mapping[str, np.ndarray] | None,
    claims: int = 1,
) -> dict[str, Any]:
    """Every slate's figures, and the interval of CHALLENGER's minus each other, users resampled in pairs.

    Args:
        slates: by name, CHALLENGER among them: int64[q, k] catalogue rows, -1 pads
        wanted: of each request, the rows engaged with next
        published: int64[n], of the catalogue, UTC ms, 0 unknown
        shown_before: int64[q], impressions of the user before
        truth: by name, float64[q, 3]: mean true P(click), P(long view) and watch ms of each slate; None where unknown
        claims: intervals that hold together in 95 %
    """
    judged = np.flatnonzero([len(rows) > 0 for rows in wanted])
    worth = {name: hits(chosen, wanted) for name, chosen in slates.items()}
    metric = TRUE_METRIC if truth is not None else f"ndcg@{slates[CHALLENGER].shape[1]}"
    told: dict[str, Any] = {
        "metric": metric,
        "users": len(requests.at),
        "users_with_next_items": len(judged),
        "users_judged": len(requests.at) if truth is not None else len(judged),
        "lists": list(LISTS),
        "slates": {},
        "intervals": {},
    }
    for name, chosen in slates.items():
        figures: dict[str, Any] = {metric: _mean(values) for metric, values in worth[name].items()}
        ahead = {metric: worth[CHALLENGER][metric] - values for metric, values in worth[name].items()}
        if truth is not None:
            click, long_view, watch_ms = truth[name].T
            figures |= {
                "p_click": _mean(click),
                TRUE_METRIC: _mean(long_view),
                "watch_seconds": _mean(watch_ms) / 1000.0,
            }
            figures["by_impressions_before"] = _by_activity(long_view, shown_before)
            ahead[TRUE_METRIC] = truth[CHALLENGER][:, 1] - long_view
        told["slates"][name] = {**figures, **_variety(chosen, published, requests.at)}
        if name != CHALLENGER:
            told["intervals"][name] = {metric: _interval(by_user, claims) for metric, by_user in ahead.items()}
    if truth is not None:
        told["lost"] = _lost({name: figures[TRUE_METRIC] for name, figures in told["slates"].items()})
    return told


@functools.lru_cache(maxsize=2)  # the same for all slates and metrics: of all requests, or of those with next items
def _drawn(users: int) -> Resamples:
    return Resamples.draw(np.arange(users))


def _interval(by_user: np.ndarray, claims: int) -> list[float]:
    """Interval of the mean of one value a user, NaN without any."""
    n = len(by_user)
    return list(interval(_drawn(n).mean(by_user), claims)) if n else [float("nan")] * 2


def _lost(worth: Mapping[str, float]) -> dict[str, float]:
    """P(long view) lost by each stage: from the best of the catalogue to what is shown."""
    stages = ("best_each", "best_of_candidates", "before_policy", CHALLENGER)
    return {
        stage: worth[before] - worth[after]
        for stage, (before, after) in zip(("retrieval", "ranking", "policy"), pairwise(stages), strict=True)
    }


def true_slates(
    slates: Mapping[str, np.ndarray],
    candidates: Sequence[np.ndarray],
    allowed: Sequence[np.ndarray],
    truth: Truth,
    k: int,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The slates that only the truth knows, int64[q, k], and what every slate is worth, float64[q, 3].

    `best_list`: the items with the highest mean P(long view), the same for all; `best_each`: for each user;
    `best_of_candidates`: of what retrieval found.
    """
    q = len(allowed)
    known = [truth(place) for place in range(q)]
    total = np.sum([outcome.long_view for outcome in known], axis=0) if known else np.zeros(0)
    oracles = {
        "best_list": np.array([top(total, rows, k) for rows in allowed]),
        "best_each": np.array([top(f.long_view, rows, k) for f, rows in zip(known, allowed, strict=True)]),
        "best_of_candidates": np.array([top(f.long_view, rows, k) for f, rows in zip(known, candidates, strict=True)]),
    }
    worth = {}
    for name, chosen in {**slates, **oracles}.items():
        rows = np.zeros((q, 3))
        for place, (slate, told) in enumerate(zip(chosen, known, strict=True)):
            held = slate[slate >= 0]
            if len(held):
                rows[place] = [column[held].mean() for column in told]
        worth[name] = rows
    return oracles, worth


def _segments(user: np.ndarray, category: np.ndarray) -> tuple[int, Callable[[np.ndarray], np.ndarray]]:
    """How many segments these engagements make, and that of each user key: the category engaged with most, 0 of
    strangers.
    """
    users, place = np.unique(user, return_inverse=True)
    categories, which = np.unique(category, return_inverse=True)
    pairs, counts = np.unique(np.stack([place, which]), axis=1, return_counts=True)
    favourite = np.zeros(len(users) + 1, np.int64)
    order = np.argsort(counts, kind="stable")  # the last to be written is the one with the most
    favourite[pairs[0][order] + 1] = pairs[1][order] + 1

    def of(keys: np.ndarray) -> np.ndarray:
        if not len(users):
            return np.zeros(len(keys), np.int64)
        at = np.minimum(np.searchsorted(users, keys), len(users) - 1)
        return np.asarray(favourite[np.where(users[at] == keys, at + 1, 0)])

    return len(categories) + 1, of


def _by_activity(values: np.ndarray, shown: np.ndarray) -> dict[str, Any]:
    return {
        name: {"users": int(mask.sum()), "mean": _mean(values[mask])} for name, mask in activity_classes(shown).items()
    }


def activity_classes(shown: np.ndarray) -> dict[str, np.ndarray]:
    """Who belongs to which class by impressions before, of int64[n]: bool[n] each."""
    bounds = (*ACTIVITY, np.inf)
    return {f"{low} to {high}": (shown >= low) & (shown < high) for low, high in pairwise(bounds)}


def _variety(slates: np.ndarray, published: np.ndarray, at: np.ndarray) -> dict[str, Any]:
    """How different people's slates are, and how old what they show is."""
    q = len(slates)
    there = slates >= 0
    counts = np.bincount(slates[there], minlength=len(published))
    first = np.bincount(slates[:, 0][there[:, 0]], minlength=1)
    ages = (np.broadcast_to(at[:, None], slates.shape)[there] - published[slates[there]]) / DAY_MS
    ages = ages[published[slates[there]] > 0]
    # items that two people's slates share, over all pairs: an item in c of q slates is in c (c - 1) / 2 of the pairs
    pairs = q * (q - 1) / 2
    return {
        "distinct_items": int((counts > 0).sum()),
        "coverage": float((counts > 0).mean()),
        "share_of_first_place": float(first.max(initial=0) / max(q, 1)),
        "items_two_share": float((counts * (counts - 1.0) / 2).sum() / pairs) if pairs else float("nan"),
        "median_age_days": float(np.median(ages)) if len(ages) else float("nan"),
        "full": float(there.all(axis=1).mean()) if q else float("nan"),
    }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
