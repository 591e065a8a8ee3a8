"""Who gets the attention of slates: expected exposure of groups of items, to all people and to groups of them.

A place gets as much attention as the odds of a click that the evaluated ranker gives it, of the first one's
(`position.position_curve`). A group's exposure is its share of the attention of a slate, and the mean over people.
Groups are of items, creators and people's activity, newness and device; none is of sex or origin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from recsys.evaluation.bootstrap import Resamples, interval
from recsys.evaluation.served import CHALLENGER, Requests, activity_classes
from recsys.events import DAY_MS
from recsys.features.log import EventLog

FRESH_DAYS: Final = 7  # an item is fresh so long, a person new
YOUNG_DAYS: Final = 30  # a creator is, since their first item
MOST_DEVICES: Final = 5  # that a report tells apart
LEAST_PEOPLE: Final = 20  # of a group, to be told
BESIDE: Final = "fused"  # by whose slates each group of people's are judged


def of_places(curve: Mapping[str, float], places: np.ndarray) -> np.ndarray:
    """What places (0 first; int64[n]) get of the first one's attention, float64[n]: exp of the log odds that each
    costs, which of small odds is the chance of a click. A place below the curve's last one gets what that gets; without
    a curve each gets the same.
    """
    known = sorted(map(int, curve)) or [0]
    weights = np.array([math.exp(curve.get(str(place), 0.0)) for place in known])
    at = np.searchsorted(known, np.clip(places, known[0], known[-1]), side="right") - 1
    return weights[at]


def is_fresh(published: np.ndarray, at: np.ndarray, days: int = FRESH_DAYS) -> np.ndarray:
    """Whether what was published then (UTC ms, 0 unknown) was out at an instant, for less than so many days, bool."""
    age = at - published
    return np.asarray((published > 0) & (age >= 0) & (age < days * DAY_MS))


def of_small_creators(creator_key: np.ndarray) -> np.ndarray:
    """Which items of a catalogue (int64[n] creators, 0 unknown) are of creators with fewer items than the middle one of
    all creators, bool[n].
    """
    creators, of, sizes = np.unique(creator_key, return_inverse=True, return_counts=True)
    known = creators != 0
    return np.asarray((known & (sizes < (np.median(sizes[known]) if known.any() else 0)))[of])


def first_of_creators(creator_key: np.ndarray, published: np.ndarray) -> np.ndarray:
    """When each item's creator published their first one, UTC ms, int64[n]; 0 where either is not known."""
    creators, of = np.unique(creator_key, return_inverse=True)
    first = np.full(len(creators), np.iinfo(np.int64).max)
    dated = published > 0
    np.minimum.at(first, of[dated], published[dated])
    first[(first == np.iinfo(np.int64).max) | (creators == 0)] = 0
    return np.asarray(first[of])


def people(
    log: EventLog, requests: Requests, shown_before: np.ndarray, devices: Sequence[str | None]
) -> dict[str, np.ndarray]:
    """Groups of the people who ask, bool[q] each: by impressions before, since their first event, and by device."""
    users, of = np.unique(log.user_key, return_inverse=True)
    first = np.full(len(users) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, of, log.received_at)
    at = np.searchsorted(users, requests.user_key)
    there = np.append(users, 0)[at] == requests.user_key
    since = np.where(there & (first[at] < requests.at), first[at], requests.at)
    new = requests.at - since < FRESH_DAYS * DAY_MS
    named = np.array([device or "" for device in devices])
    names, counts = np.unique(named[named != ""], return_counts=True)
    often = names[np.lexsort((names, -counts))][:MOST_DEVICES].tolist()
    groups = {f"{name} impressions before": mask for name, mask in activity_classes(shown_before).items()}
    groups |= {"new people": new, "known people": ~new, **{f"device {name}": named == name for name in often}}
    return {name: mask for name, mask in groups.items() if mask.sum() >= LEAST_PEOPLE}


def judge(
    slates: Mapping[str, np.ndarray],
    allowed: Sequence[np.ndarray],
    requests: Requests,
    published: np.ndarray,
    creator_key: np.ndarray,
    groups: Mapping[str, np.ndarray],
    curve: Mapping[str, float],
) -> dict[str, Any]:
    """`evaluation.json["served"]["attention"]`: exposure of groups of items by every slate, and to groups of people.

    Args:
        slates: by name, CHALLENGER among them: int64[q, k] catalogue rows, -1 pads
        allowed: of each request, the catalogue rows that might be shown
        published, creator_key: int64[n], of the catalogue
        groups: of people, bool[q]
        curve: of `position.position_curve`

    Returns:
        `places`, the attention that each gets; `items`, by group of items `offered` (its share of what might be shown),
        and of each slate `exposure`, `distance` from what is offered (attention-weighted rank fairness: 0 is fair) and
        `interval` of the challenger's exposure less its own; `people`, by group the same of the challenger and of
        BESIDE. All intervals hold together in 95 %, people resampled in pairs.
    """
    at, small = requests.at, of_small_creators(creator_key)
    first = first_of_creators(creator_key, published)

    def members(rows: np.ndarray, asked: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "fresh items": is_fresh(published[rows], asked),
            "small creators": small[rows],
            "young creators": is_fresh(first[rows], asked, YOUNG_DAYS),
        }

    weight = of_places(curve, np.arange(slates[CHALLENGER].shape[1]))
    exposure: dict[str, dict[str, np.ndarray]] = {}  # slate -> group of items -> float64[q]
    for name, rows in slates.items():
        held = np.where(rows >= 0, weight, 0.0)
        total = np.maximum(held.sum(axis=1), np.finfo(np.float64).tiny)  # a slate without an item gives nobody any
        exposure[name] = {group: (held * of).sum(axis=1) / total for group, of in members(rows, at[:, None]).items()}
    offers = [members(rows, asked) for rows, asked in zip(allowed, at, strict=True)]
    offered = {
        group: np.array([float(of[group].mean()) if of[group].size else 0.0 for of in offers])
        for group in exposure[CHALLENGER]
    }
    beside = [name for name in slates if name != CHALLENGER]
    claims = len(offered) * (len(beside) + (len(groups) if BESIDE in slates else 0))

    def told(group: str, name: str, mask: np.ndarray, drawn: Resamples) -> dict[str, Any]:
        share, due = float(exposure[name][group][mask].mean()), float(offered[group][mask].mean())
        figures: dict[str, Any] = {"exposure": share, "distance": abs(share - due)}
        if name != CHALLENGER:
            less = exposure[CHALLENGER][group][mask] - exposure[name][group][mask]
            figures["interval"] = list(interval(drawn.mean(less), claims))
        return figures

    def of(mask: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
        drawn = Resamples.draw(np.arange(int(mask.sum())))
        return {
            group: {"offered": float(offered[group][mask].mean())}
            | {"slates": {name: told(group, name, mask, drawn) for name in names}}
            for group in offered
        }

    if not len(at):
        return {}
    pair = [CHALLENGER, *(name for name in slates if name == BESIDE)]
    return {
        "places": weight.tolist(),
        "items": of(np.ones(len(at), bool), [CHALLENGER, *beside]),
        "people": {name: {"users": int(mask.sum()), "items": of(mask, pair)} for name, mask in groups.items()},
    }
