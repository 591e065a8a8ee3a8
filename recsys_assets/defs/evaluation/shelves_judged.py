"""Every shelf as the service would have shown it to the test users, judged by its own label beside its heuristics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from recsys.lake import Lake
from recsys.privacy.border import Border
from recsys.sources.source import Source

if TYPE_CHECKING:
    from recsys.evaluation.served import Truth
    from recsys.features.log import EventLog
    from recsys.policy.shelves import Shelf
    from recsys.ranking.orders import Order
    from recsys.ranking.ranker import Ranker
    from recsys.serving.bundle import ServingBundle
    from recsys.serving.rehearsal import Rehearsal
    from recsys.training_sets.sessions import Starts

MOST_REQUESTS = 800  # a shelf, one a user
MOST_STARTS = 2_000  # of sessions
MOST_ROWS = 40_000_000  # requests times items that might be shown: 0.3 GB
FEWEST_FRESH = 200  # requests that the champion did not learn from, to compare its way on


def judged(
    lake: Lake,
    source: Source,
    border: Border,
    log: EventLog,
    test: pl.DataFrame,
    challenger: Ranker,
    learned_until: int,
) -> tuple[dict[str, Any], dict[str, pl.DataFrame]]:
    """`evaluation.json["shelves"]`, and the table of each shelf that could be judged.

    Args:
        log: of all days
        test: the training set's rows of the test days
        learned_until: last instant (UTC ms) of what the champion learned from
    """
    from recsys.evaluation import shelves
    from recsys.evaluation.served import Requests
    from recsys.policy.shelves import SHELVES
    from recsys.serving.rehearsal import Rehearsal
    from recsys_assets.defs.evaluation.rehearsed import trained
    from recsys_assets.defs.evaluation.slates_judged import truth_of

    bundle, history = trained(lake, challenger)
    former, known_users, told, tables = former_orders(lake, challenger), users(lake), {}, {}
    for name, shelf in SHELVES.items():
        label = shelves.label_in(log, shelf)
        order = shelf_order(lake, name, shelf, challenger)
        if order is None:
            told[name] = shelves.nothing(shelf, label, "nothing could be learned for it: no session to learn from")
            continue
        asked = _requests(bundle, log, test, name, shelf)
        if not np.isin(bundle.catalogue.candidates.item_type, list(shelf.type_codes)).any():
            told[name] = shelves.nothing(shelf, label, f"the catalogue has no {' or '.join(shelf.item_types)}")
            continue
        if not len(asked.at):
            told[name] = shelves.nothing(shelf, label, "nobody could be asked for it on the test days")
            continue
        orders = {shelves.CHALLENGER: order}
        fresh = np.flatnonzero(asked.at > learned_until)
        if name in former and len(fresh) >= FEWEST_FRESH:
            asked, orders[shelves.FORMER] = asked.take(fresh), former[name]
        user_id = [known_users[key] for key in asked.user_key.tolist()]
        truth = truth_of(source, border, Requests(user_id, asked.user_key, asked.at), bundle.catalogue.item_id)
        made = Rehearsal(bundle, log, history, user_id, asked.at, name)
        told[name], tables[name] = judge_one(made, log, shelf, label, asked, orders, truth)
    return told, tables


def shelf_order(lake: Lake, name: str, shelf: Shelf, ranker: Ranker) -> Order | None:
    """Who is to order a shelf, as trained now; None where the shelf found nothing to learn from."""
    from recsys.ranking.orders import RANKER, ByRanker, default_order, load_order

    folder = lake.models / "shelves" / name
    if folder.is_dir():
        return load_order(folder, ByRanker(ranker, shelf.weights))
    return default_order(shelf, ranker) if shelf.order == RANKER else None


def former_orders(lake: Lake, challenger: Ranker) -> dict[str, Order]:
    """How the champion orders each shelf, where it can be asked about the same features."""
    from recsys.policy.shelves import SHELVES
    from recsys.ranking.orders import default_order
    from recsys.ranking.saved import load_ranker
    from recsys.registry import Registry
    from recsys.serving.bundle import ORDERS, saved_orders

    champion = Registry(lake.registry).champion()
    if champion is None:
        return {}
    ranker = load_ranker(champion.path / "ranker")
    if ranker.fingerprint != challenger.fingerprint:
        return {}
    saved = saved_orders(champion.path / ORDERS, ranker)
    return {name: saved.get(name) or default_order(shelf, ranker) for name, shelf in SHELVES.items()}


def users(lake: Lake) -> dict[int, str]:
    """Ids of the users of the training set, by their keys."""
    from recsys.training_sets.split import PARTS

    columns = ["user_key", "user_id"]
    frames = [pl.DataFrame(lake.read(lake.table("training_sets", part), columns)) for part in PARTS]
    return dict(pl.concat(frames).unique().iter_rows())


def first_starts(bundle: ServingBundle, log: EventLog, shelf: Shelf) -> Starts:
    """The sessions of a log in which something was played that its person knew, by the units of a shelf."""
    from recsys.training_sets.sessions import starts

    return starts(log, lambda keys: bundle.retriever.units(keys, shelf.unit))


def _requests(bundle: ServingBundle, log: EventLog, test: pl.DataFrame, name: str, shelf: Shelf) -> Starts:
    """Where a shelf is asked for: at the starts of sessions, or at each user's first impression on it, or where the log
    has none of that name, anywhere. By user key, a hash: the first of them are a fair sample.
    """
    from recsys.evaluation.shelves import LABELS
    from recsys.training_sets.sessions import Starts

    most = max(1, MOST_ROWS // len(bundle.catalogue.item_id))
    if LABELS[shelf.label].at_start:
        sessions = first_starts(bundle, log, shelf)
        known = np.isin(sessions.user_key, test["user_key"].to_numpy())
        return sessions.take(
            np.flatnonzero((sessions.at >= test["occurred_at"].min()) & known)[: min(MOST_STARTS, most)]
        )
    there = test.filter(pl.col("shelf") == name) if name in test["shelf"] else test
    first = there.sort("occurred_at", "position").unique("user_key", keep="first").sort("user_key")
    first = first.head(min(MOST_REQUESTS, most))
    nothing = [np.zeros(0, np.int64)] * first.height
    return Starts(first["user_key"].to_numpy(), first["occurred_at"].to_numpy(), nothing)


def judge_one(
    asked: Rehearsal,
    log: EventLog,
    shelf: Shelf,
    label: str,
    starts: Starts,
    orders: Mapping[str, Order],
    truth: Truth | None,
) -> tuple[dict[str, Any], pl.DataFrame]:
    """One shelf's part of the report, and its table: every slate of every order with what was wanted.

    Args:
        starts: where it is asked for, in the order of the rehearsal
        truth: of each request, where the source knows it
    """
    from recsys.evaluation import served, shelves
    from recsys.policy.shelves import HABITS, LISTS
    from recsys.ranking.orders import ByRule
    from recsys.serving.rehearsal import rehearse

    k, retriever, user_id = shelves.places(shelf), asked.bundle.retriever, [scene.user_id for scene in asked.scenes]
    rules = {rule: ByRule(rule) for rule in shelf.heuristics if rule in HABITS}
    made = rehearse(asked, {**orders, **rules}, k)
    units_of, unit_key = lambda keys: retriever.units(keys, shelf.unit), retriever.unit_key[shelf.unit]
    allowed = [np.unique(unit_key[rows]) for rows in made.allowed]
    if shelves.LABELS[label].at_start:
        wanted = [played[np.isin(played, there)][:1] for played, there in zip(starts.played, allowed, strict=True)]
    else:
        wanted = shelves.wanted_next(log, label, starts.user_key, starts.at, made.allowed, units_of, made.item_keys)
    task = shelves.Task(user_id, starts.user_key, starts.at, wanted, made.known_units)
    rows = {name: made.slates[name] for name in (*orders, *rules)}
    if lists := [heuristic for heuristic in shelf.heuristics if heuristic in LISTS]:
        units = np.unique(unit_key)
        there = [np.searchsorted(units, keys) for keys in allowed]
        by_unit = log._replace(item_key=units_of(log.item_key))
        requests = served.Requests(user_id, starts.user_key, starts.at)
        aim, people = "click" if label == "click" else "long_view", asked.bundle.people
        shown = served.lists(by_unit, units, requests, there, aim, k, people).slates
        rows |= {
            name: asked.newest_of(np.where(shown[name] >= 0, units[shown[name]], 0), made.allowed) for name in lists
        }
    slates = {name: np.where(shown >= 0, unit_key[shown], 0) for name, shown in rows.items()}
    worth = None
    if truth is not None and label in ("click", "long_view"):
        known = [getattr(truth(place), label) for place in range(len(user_id))]
        best = [shelves.best_units(of, there, unit_key, k) for of, there in zip(known, made.allowed, strict=True)]
        worth = shelves.true_worth({**rows, shelves.BEST: np.array(best)}, known)
    told = shelves.judge(shelf, label, task, slates, {name: order.name for name, order in orders.items()}, worth)
    return told, shelves.table(task, slates, rows, made.item_ids)
