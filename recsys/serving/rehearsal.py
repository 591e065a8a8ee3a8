"""What the service would have answered at instants of a log: its own steps, over reads of the log as it stood there.

Retrieval, filters, ranker and policy are those that serve. Only the reads are made otherwise: those of all requests in
one sweep of the log, which gives the bytes that the store gives one by one (docs/consistency.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recsys.events import key64
from recsys.features import sweep
from recsys.features.history import History
from recsys.features.judged import Judgements
from recsys.features.log import EventLog, ItemHistory, Rows
from recsys.policy.filters import seen_items
from recsys.policy.shelves import DEFAULT
from recsys.ranking.orders import Asked, ByRanker, Order
from recsys.ranking.ranker import Ranker
from recsys.registry import Facts
from recsys.retrieval.item_index import ExactMirror
from recsys.retrieval.sources import Ask, Attempt, Retriever, SourceData
from recsys.retrieval.two_tower import QueryTower
from recsys.serving.breakers import Breakers
from recsys.serving.bundle import ServingBundle, catalogue_of
from recsys.serving.candidates import Pool
from recsys.serving.course import Course
from recsys.serving.scene import Scene
from recsys.serving.steps import PARTS, Ranked, Steps, in_order
from recsys.store.past import Read
from recsys.training_sets.inputs import Inputs

AT_ONCE: Final = 400  # requests read in one sweep, which orders the log anew: 200,000 rows, 320 MB of aggregates
K: Final = 10


@dataclass(frozen=True)
class Rehearsed:
    """q requests as the service would have answered them; rows are of the catalogue by item id, -1 pads a list."""

    item_keys: np.ndarray  # int64[n], the catalogue
    item_ids: tuple[str, ...]
    slates: Mapping[str, np.ndarray]  # by order, `fused` (without any) and source: int64[q, k]
    unlimited: Mapping[str, np.ndarray]  # the same by order before the policy's caps
    candidates: list[np.ndarray]  # of each request, the rows that were ranked, in the order of the fusion
    allowed: list[np.ndarray]  # of each request, the rows that might have been shown: offered then, and not left out
    known_units: list[np.ndarray]  # of each request, the units that its user had played


def bundle_of(
    tower: QueryTower, data: SourceData, ranker: Ranker, embedded: pa.Table, mirror: ExactMirror, history: ItemHistory
) -> ServingBundle:
    """A bundle as it would be registered, for requests of the past: what was offered then is the history's to say.

    Args:
        embedded: cleaned items with their embeddings
        mirror: those embeddings
    """
    retriever = Retriever(tower, mirror, mirror.collection, embedded, data, history)
    catalogue = catalogue_of(embedded.sort_by("item_id"))
    there = replace(
        catalogue.candidates,
        is_available=np.ones(len(catalogue.item_id), bool),
        published_at=np.zeros(len(catalogue.item_id), np.int64),
    )
    facts = Facts(ranker.fingerprint, ranker.fingerprint, tower.fingerprint, tower.fingerprint, mirror.collection, 0)
    return ServingBundle(
        "rehearsed", facts, retriever, ranker, replace(catalogue, candidates=there), embedded.sort_by("item_id")
    )


class _Log:
    """A store that reads the log at each request's own instant. The reads that rankers see are made beforehand."""

    def __init__(self, log: EventLog, items: ItemHistory, scenes: Sequence[Scene], any_item: np.ndarray) -> None:
        self._items, n = items, len(scenes)
        self._place = {(scene.user_id, scene.at): place for place, scene in enumerate(scenes)}
        self.user = key64([scene.user_id for scene in scenes])
        self.at = np.array([scene.at for scene in scenes], np.int64)
        self.shelf = np.array([scene.shelf_code for scene in scenes], np.int64)
        self.position = sweep.read_positions(log, self.at)
        self._history = sweep.histories(log, self.user, self.position, self.at)
        judgements = Judgements.of_log(log)
        self.judged = [judgements.of(u, p) for u, p in zip(self.user.tolist(), self.position.tolist(), strict=True)]
        first = np.repeat(any_item, n)
        self._first = sweep.point_in_time(log, items, Rows(self.user, first, self.position, self.at, self.shelf))

    def read(self, user_id: str, items: np.ndarray, as_of: int, *, shelf_key: int) -> Read:
        place = self._place[user_id, as_of]
        aggregates = self._first[place][None]
        if len(items) != 1:  # of candidates: their features are read later, all at once
            aggregates = np.zeros((len(items), self._first.shape[1]), np.int64)
        return self.read_of(place, items, aggregates)

    def read_of(self, place: int, items: np.ndarray, aggregates: np.ndarray) -> Read:
        """The read of one request, of these items with these aggregates."""
        instants = np.full(len(items), self.at[place])
        return Read(
            int(self.position[place]),
            int(self.at[place]),
            int(self.user[place]),
            items,
            aggregates,
            self._items.lookup(items, instants),
            np.ones(len(items), bool),
            *self._history.row(place),
            self.judged[place],
        )


class _Steps(Steps):
    """Those of the service; they keep what each source proposed for the last request."""

    proposed: Mapping[str, np.ndarray] = MappingProxyType({})

    def sought(self, bundle: ServingBundle, ask: Ask, attempt: Attempt) -> Pool:
        self.proposed = bundle.retriever.propose(ask, attempt=attempt)
        return Pool.of(bundle.retriever.fuse(self.proposed, Pool.MOST, ask.sources))


class Rehearsal:
    """Requests of the past on one shelf, retrieved and filtered as the service would have; not ranked yet."""

    def __init__(
        self,
        bundle: ServingBundle,
        log: EventLog,
        items: ItemHistory,
        user_ids: Sequence[str],
        at: np.ndarray,
        shelf: str = DEFAULT,
    ) -> None:
        """
        Args:
            user_ids, at: of each request, whose and when (UTC ms); no two are the same
        """
        self.bundle, self._log, self._items = bundle, log, items
        self.scenes = [Scene.at_shelf(bundle, user, int(t), shelf) for user, t in zip(user_ids, at, strict=True)]
        self._keys = bundle.catalogue.candidates.item_key
        store: Any = _Log(log, items, self.scenes, self._keys[:1])
        self._store, self._steps = store, _Steps(store, Breakers(PARTS))
        self.pools, self.proposed = [], list[Mapping[str, np.ndarray]]()  # by source: catalogue rows, best first
        for scene in self.scenes:
            self.pools.append(self._steps.retrieved(bundle, scene, Course(), set())[0])
            self.proposed.append(self._steps.proposed)

    def known_units(self, place: int) -> np.ndarray:
        """int64: the units that a request's user had played."""
        unit = self.scenes[place].shelf.unit
        return np.unique(self.bundle.retriever.units(self._store.judged[place].plays[:, 0], unit))

    def allowed(self, place: int) -> np.ndarray:
        """Catalogue rows that might be shown at one request."""
        scene, candidates = self.scenes[place], self.bundle.catalogue.candidates
        published, available = self._items.offered(candidates.item_key, scene.at)
        there = available & (published <= scene.at) & np.isin(candidates.item_type, list(scene.shelf.type_codes))
        there[self.bundle.retriever.rows(seen_items(self._store.judged[place], scene.shelf, scene.at))] = False
        return np.flatnonzero(there)

    def habits(self, place: int) -> np.ndarray:
        """float64[n, len(habits.COLUMNS)] of one request's candidates; no feature is read for it."""
        pool = self.pools[place]
        nothing = Inputs(np.zeros((len(pool), 0), np.float32), self._keys[pool.rows], History.none(len(pool)))
        return self.scenes[place].asked(self.bundle, pool, self._store.judged[place], nothing).habits()

    def asked(self) -> Iterator[tuple[int, Asked]]:
        """The candidates of each request that has some, with their features."""
        for start in range(0, len(self.scenes), AT_ONCE):
            some = range(start, min(start + AT_ONCE, len(self.scenes)))
            sizes = [len(self.pools[place]) for place in some]
            of = np.repeat(np.arange(some.start, some.stop), sizes)
            keys = np.concatenate([self._keys[self.pools[place].rows] for place in some])
            store = self._store
            rows = Rows(store.user[of], keys, store.position[of], store.at[of], store.shelf[of])
            aggregates = sweep.point_in_time(self._log, self._items, rows)
            for place, end, size in zip(some, np.cumsum(sizes).tolist(), sizes, strict=True):
                if size:
                    read = store.read_of(place, keys[end - size : end], aggregates[end - size : end])
                    scene, inputs = self.scenes[place], self.scenes[place].inputs(read)
                    yield place, scene.asked(self.bundle, self.pools[place], read.judged, inputs)

    def newest_of(self, units: np.ndarray, allowed: Sequence[np.ndarray]) -> np.ndarray:
        """Of each unit [q, k] (0: none) the catalogue row of its newest allowed item, -1 where there is none."""
        rows = np.full(units.shape, -1)
        for place, wanted in enumerate(units):
            retriever, unit = self.bundle.retriever, self.scenes[place].shelf.unit
            newest = retriever.newest_first(allowed[place])
            keys, first = np.unique(retriever.unit_key[unit][newest], return_index=True)
            if len(keys):
                at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
                rows[place] = np.where(keys[at] == wanted, newest[first[at]], -1)
        return rows

    def slate(self, place: int, scores: np.ndarray | None, k: int) -> np.ndarray:
        """Catalogue rows of at most k that are shown at one request; without scores in the order of the fusion."""
        pool, at = self.pools[place], int(self._store.position[place])
        ranked = in_order("full", at, pool, {}) if scores is None else Ranked("full", at, pool, scores)
        return pool.rows[self._steps.chosen(self.bundle, self.scenes[place], ranked, k)]


def weighed(made: Rehearsal, order: ByRanker, weights: Sequence[float], k: int = K) -> list[np.ndarray]:
    """Slates int64[q, k] of that order with each weight of what the sources propose; -1 pads."""
    slates = [np.full((len(made.scenes), k), -1) for _ in weights]
    orders = [replace(order, retrieval=weight) for weight in weights]
    for place, asked in made.asked():
        alone = replace(order, retrieval=0.0).scores(asked)  # once: a network takes 5 ms for 500 rows
        for slate, weighing in zip(slates, orders, strict=True):
            rows = made.slate(place, weighing.beside(alone, asked.fused), k)
            slate[place, : len(rows)] = rows
    return slates


def rehearse(made: Rehearsal, orders: Mapping[str, Order], k: int = K, *, by_source: bool = False) -> Rehearsed:
    """Slates of k for every request, in the order of each of `orders`.

    Args:
        by_source: in the order of none, and what each candidate source proposes alone, too
    """
    q, keys = len(made.scenes), made.bundle.catalogue.candidates.item_key
    slates = {name: np.full((q, k), -1) for name in (*orders, *(["fused"] if by_source else []))}
    unlimited = {name: np.full((q, k), -1) for name in orders}

    def put(into: np.ndarray, place: int, rows: np.ndarray) -> None:
        into[place, : min(k, len(rows))] = rows[:k]

    for place in range(q) if by_source else ():
        put(slates["fused"], place, made.slate(place, None, k))
        for source, rows in made.proposed[place].items():
            put(slates.setdefault(source, np.full((q, k), -1)), place, rows)
    for place, asked in made.asked():
        rows = made.pools[place].rows
        for name, order in orders.items():
            scores = order.scores(asked)
            put(slates[name], place, made.slate(place, scores, k))
            put(unlimited[name], place, rows[np.lexsort((keys[rows], -scores))])
    return Rehearsed(
        keys,
        made.bundle.catalogue.item_id,
        slates,
        unlimited,
        [pool.rows for pool in made.pools],
        [made.allowed(place) for place in range(q)],
        [made.known_units(place) for place in range(q)],
    )
