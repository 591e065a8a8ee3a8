"""The slates that the service would have given the test users, judged beside every list that is the same for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from recsys.lake import Lake
from recsys.privacy.border import Border
from recsys.sources.source import Source

if TYPE_CHECKING:
    from recsys.evaluation.served import Requests, Truth
    from recsys.features.log import EventLog
    from recsys.ranking.ranker import Ranker
    from recsys.serving.rehearsal import Rehearsed


def requests_of(test: pl.DataFrame) -> Requests:
    """Each test user's first impression, the first MOST of them by key: a hash, so they are a fair sample."""
    from recsys.evaluation.served import MOST, Requests

    first = _first(test).head(MOST)
    return Requests(first["user_id"].to_list(), first["user_key"].to_numpy(), first["occurred_at"].to_numpy())


def devices_of(test: pl.DataFrame, requests: Requests) -> list[str | None]:
    """The device of each of `requests_of` the test rows."""
    return _first(test).head(len(requests.at))["device"].cast(pl.String).to_list()


def _first(test: pl.DataFrame) -> pl.DataFrame:
    return test.sort("occurred_at", "position").unique("user_key", keep="first").sort("user_key")


def served(
    lake: Lake,
    source: Source,
    border: Border,
    log: EventLog,
    requests: Requests,
    challenger: Ranker,
    aim: str,
    others: Callable[[Rehearsed], Mapping[str, np.ndarray]] | None = None,
    devices: Sequence[str | None] = (),
    curve: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Any]:
    """`evaluation.json["served"]` of what the challenger would have shown.

    Args:
        aim: the outcome that slates are ordered for
        others: gives more slates to judge beside these, int64[q, K] rows of the catalogue by item id
        devices: of each request (`devices_of`); where they are not told, no group of people is
        curve: what places cost by the challenger, by which they get attention
    """
    from recsys.evaluation import attention
    from recsys.evaluation import served as judging
    from recsys.evaluation.gates import COMPARISONS
    from recsys.policy.shelves import DEFAULT, SHELVES
    from recsys.serving.rehearsal import K, Rehearsal, rehearse
    from recsys_assets.defs.evaluation.rehearsed import trained
    from recsys_assets.defs.evaluation.shelves_judged import shelf_order

    bundle, history = trained(lake, challenger)
    order = shelf_order(lake, DEFAULT, SHELVES[DEFAULT], challenger) or bundle.order(DEFAULT)
    asked = Rehearsal(bundle, log, history, requests.user_id, requests.at)
    made = rehearse(asked, {judging.CHALLENGER: order}, by_source=True)
    lists = judging.lists(log, made.item_keys, requests, made.allowed, aim, K, bundle.people)
    slates = {**made.slates, "before_policy": made.unlimited[judging.CHALLENGER]}
    # a source may go by a list's name (popular by shelf and age, trending by half-life): both are told apart
    slates = {**{f"{n}_source" if n in lists.slates else n: chosen for n, chosen in slates.items()}, **lists.slates}
    slates |= {} if others is None else others(made)
    truth, worth = truth_of(source, border, requests, made.item_ids), None
    if truth is not None:
        oracles, worth = judging.true_slates(slates, made.candidates, made.allowed, truth, K)
        slates |= oracles
    published, creators = (bundle.items[name].to_numpy() for name in ("published_at", "creator_key"))
    people = attention.people(log, requests, lists.shown, devices) if devices else {}
    named = (judging.CHALLENGER, attention.BESIDE, *lists.slates)
    shown = {name: slates[name] for name in named if name in slates}
    told = judging.judge(
        slates,
        requests,
        judging.next_items(log, made.item_keys, requests, made.allowed),
        published,
        lists.shown,
        worth,
        COMPARISONS,
    )
    told["attention"] = attention.judge(shown, made.allowed, requests, published, creators, people, curve)
    return told


def truth_of(source: Source, border: Border, requests: Requests, item_ids: tuple[str, ...]) -> Truth | None:
    """The truth about each request, where the source knows it; None too where it does not know a user or an item."""
    from recsys.evaluation.served import TrueOutcomes
    from recsys.sources.simulator import Simulator

    if not isinstance(source, Simulator):
        return None
    given = {border.user(user): user for user in source.users()["user_id"].to_pylist()}
    users = [given.get(user, user) for user in requests.user_id]
    if not (set(users) <= source.truth.user_index.keys() and set(item_ids) <= source.truth.item_index.keys()):
        return None

    truth, n = source.truth, len(item_ids)
    items = np.array([truth.item_index[item] for item in item_ids], np.int64)

    def of(place: int) -> TrueOutcomes:
        who, at = np.full(n, truth.user_index[users[place]]), np.full(n, requests.at[place])
        outcomes = truth.world.outcome_on(None, who, items, at, np.zeros(n, np.int64))
        return TrueOutcomes(outcomes.click, outcomes.long_view, np.asarray(outcomes.watch_ms))

    return of
