"""One request from user to slate: hydrate, source, filter, score, select. Every front calls this and nothing beside it.

A request reads the bundle in service once and keeps it, and reads the user's history and every candidate's features at
one position of the event log and one instant. What does not answer is left out, and the answer names the rung:

    full        retrieved, ranked
    no_ranker   retrieved, in the order of retrieval
    cached      what was retrieved for this user before, because retrieval or the store does not answer
    trending    what is trending on the shelf, because nothing was retrieved before either
"""

from __future__ import annotations

import functools
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import numpy as np

from recsys.events import DAY_MS, ITEM_TYPES, key64
from recsys.features import catalog
from recsys.features.derive import Context, derive
from recsys.features.store import OnlineStore, Read, StoreError
from recsys.policy.filters import Audience, dropped_by, seen_items
from recsys.policy.shelves import DEFAULT, SHELVES, Shelf
from recsys.policy.slate import select
from recsys.policy.value import value
from recsys.ranking.ranker import Predictions
from recsys.retrieval.sources import Ask
from recsys.serving.breakers import Breakers, PartDown
from recsys.serving.bundle import ServingBundle
from recsys.serving.candidates import Pool, PoolCache, retrieve, trending
from recsys.serving.schema import (
    MAX_ITEMS,
    BadRequest,
    Event,
    EventsRequest,
    EventsResponse,
    FeaturesRequest,
    RecommendedItem,
    RecommendRequest,
    RecommendResponse,
    Rejected,
    Rung,
    events_of,
    written,
)
from recsys.serving.served_log import Served, ServedLog

PARTS: Final = ("store", "journal", "index", "ranker")  # a full disk stops the journal, not the reads of the store
READS: Final = 3  # a history that changes while its candidates are sought is sought for again, at most so often
log = logging.getLogger("recsys.serving")


class Unavailable(RuntimeError):
    """The call needs a part that does not answer; try again later."""


class Bundles(Protocol):
    """Who knows the bundle in service (`bundle.ChampionWatch`)."""

    @property
    def current(self) -> ServingBundle: ...

    @property
    def refused(self) -> str | None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class FeatureRows:
    """Answer of `features`: rows float32[len(item_ids), len(names)]."""

    position: int
    at: int
    fingerprint: str
    names: Sequence[str]
    rows: np.ndarray


@dataclass(frozen=True)
class Scene:
    """What a request says, made ready: who, where, when."""

    user_id: str
    shelf_name: str
    shelf: Shelf
    log_shelf: str  # the shelf as the log that trained the ranker calls it
    shelf_code: int  # its key64
    device: str | None
    device_code: int
    at: int


@dataclass
class Ranked:
    """Candidates after scoring. Sequences and arrays have one entry a candidate."""

    rung: Rung
    position: int
    pool: Pool
    scores: np.ndarray  # float64[n]
    predictions: Predictions | None = None
    features: np.ndarray | None = None  # float32[n, F]
    dropped: Mapping[str, int] = field(default_factory=dict)  # filter -> candidates it dropped


class Recommender:
    """The three calls. Safe to use from several threads."""

    def __init__(
        self,
        store: OnlineStore,
        bundles: Bundles,
        served_log: ServedLog,
        *,
        breakers: Breakers | None = None,
        owned: ExitStack | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._bundles = bundles
        self._served_log = served_log
        self._breakers = breakers or Breakers(PARTS)
        self._clock = clock
        self._owned = owned or ExitStack()  # closed with it
        self._pools = PoolCache()
        self._lost_rows = 0
        self._lock = threading.Lock()
        self._position = 0

    # -- calls --------------------------------------------------------------------------------------------------------

    def recommend(self, request: RecommendRequest, request_id: str | None = None) -> RecommendResponse:
        """A slate, on whatever rung is reached.

        Raises:
            BadRequest: a shelf that neither the policy nor the bundle's log knows.
        """
        bundle = self._bundles.current
        scene = self._scene(bundle, request.user_id, request.shelf, request.context.device, request.context.at)
        ranked = self._rank(bundle, scene)
        slate = self._slate(bundle, scene, ranked, request.k)
        reasons = self._reasons(bundle, ranked, slate)
        request_id = request_id or uuid.uuid4().hex
        self._log_slate(bundle, scene, ranked, slate, request_id)
        items = [
            RecommendedItem.model_construct(
                item_id=written(bundle.catalogue.item_id[ranked.pool.rows[i]], bundle.facts.id_type),
                score=float(ranked.scores[i]),
                p_click=float(ranked.predictions.p_click[i]) if ranked.predictions else None,
                expected_watch_seconds=float(ranked.predictions.watch_seconds[i]) if ranked.predictions else None,
                source=ranked.pool.source_of(i),
                reason=reason,
            )
            for i, reason in zip(slate.tolist(), reasons, strict=True)
        ]
        return RecommendResponse.model_construct(
            request_id=request_id, bundle=bundle.bundle_id, position=ranked.position, rung=ranked.rung, items=items
        )

    def record_events(self, request: EventsRequest) -> EventsResponse:
        """Make events durable and visible to the next read; a repeated event_id changes nothing.

        Raises:
            Unavailable: the store does not take them; none was kept, send them again.
        """
        offset = self._bundles.current.facts.utc_offset_ms
        now = self._clock()
        good, rejected = events_of(request)
        rows = [_row(event, now, offset) for _, event in good]
        try:
            appended = self._breakers.call("journal", lambda: self._store.append(rows, now))
        except PartDown as down:
            raise Unavailable(f"events cannot be stored now ({_why(down)}): send them again") from None
        rejected += [Rejected(index=good[i][0], reason=reason) for i, reason in appended.rejected]
        return EventsResponse(
            accepted=appended.accepted,
            duplicates=appended.duplicates,
            rejected=sorted(rejected, key=lambda r: r.index),
            position=appended.position,
        )

    def features(self, request: FeaturesRequest, request_id: str | None = None) -> FeatureRows:
        """The float32 rows that ranking would see for these items on the default shelf; logged for replay like slates.

        Raises:
            Unavailable: the store does not answer.
        """
        bundle = self._bundles.current
        scene = self._scene(bundle, request.user_id, DEFAULT, None, request.at)
        try:
            read = self._read(scene, request.item_ids)
        except PartDown as down:
            raise Unavailable(f"features cannot be read now ({_why(down)}): try again") from None
        rows = _features(scene, read)
        n = len(rows)
        self._log(
            bundle,
            scene,
            request_id or uuid.uuid4().hex,
            rung="features",
            position=read.position,
            item_id=request.item_ids,
            source=["asked"] * n,
            score=[None] * n,
            p_click=[None] * n,
            watch_seconds=[None] * n,
            features=rows,
        )
        return FeatureRows(read.position, scene.at, catalog.FINGERPRINT, catalog.FEATURES, rows)

    def warm(self) -> None:
        """One slate for a stranger, not logged: what is compiled or read at first use is, before anybody waits."""
        bundle = self._bundles.current
        scene = self._scene(bundle, "", DEFAULT, None, None)
        ranked = self._rank(bundle, scene)
        self._reasons(bundle, ranked, self._slate(bundle, scene, ranked, 1))
        long_ago = replace(scene, at=scene.at - 60 * DAY_MS)  # a read from the log itself compiles for seconds, once
        self._read(long_ago, bundle.catalogue.item_id[:1])

    def state(self) -> dict[str, Any]:
        """What a health check wants to know."""
        return {
            "bundle": self._bundles.current.bundle_id,
            "refused": self._bundles.refused,
            "position": self._position,
            "breakers": self._breakers.states(),
            "lost_served_rows": self._lost_rows,
        }

    def close(self) -> None:
        """Let go of everything; what was logged is on disk afterwards."""
        self._bundles.close()
        self._served_log.close()
        self._owned.close()

    # -- steps --------------------------------------------------------------------------------------------------------

    def _scene(self, bundle: ServingBundle, user_id: str, shelf: str, device: str | None, at: int | None) -> Scene:
        if shelf not in SHELVES and shelf not in bundle.log_shelves:
            known = ", ".join(dict.fromkeys([*SHELVES, *bundle.log_shelves]))
            raise BadRequest(f"shelf: must be one of {known}")
        # a log with shelves of its own (KuaiRand's tabs) taught the ranker those: ours stands for its busiest
        in_log = shelf if shelf in bundle.log_shelves or not bundle.log_shelves else bundle.log_shelves[0]
        codes = key64([in_log, device or ""])
        return Scene(
            user_id=user_id,
            shelf_name=shelf,
            shelf=SHELVES.get(shelf, SHELVES[DEFAULT]),
            log_shelf=in_log,
            shelf_code=int(codes[0]),
            device=device,
            device_code=int(codes[1]) if device else 0,
            at=self._clock() if at is None else at,
        )

    def _read(self, scene: Scene, item_ids: Sequence[str]) -> Read:
        read = self._breakers.call("store", lambda: self._store.read(scene.user_id, item_ids, scene.at))
        self._position = max(self._position, read.position)
        return read

    def _rank(self, bundle: ServingBundle, scene: Scene) -> Ranked:
        """Candidates of the best rung that answers, scored where that is possible."""
        read: Read | None = None
        rung: Rung = "full"
        try:
            pool, read, dropped = self._retrieved(bundle, scene)
            self._pools.put(bundle.bundle_id, scene.user_id, scene.shelf_name, pool)
        except PartDown:
            cached = self._pools.get(bundle.bundle_id, scene.user_id, scene.shelf_name)
            rung = "cached" if cached is not None else "trending"
            pool, dropped = self._filtered(bundle, scene, cached or trending(bundle, scene.shelf_name), None)
            try:
                read = self._read(scene, bundle.catalogue.ids(pool.rows))
            except PartDown:
                read = None
        in_order = -np.arange(len(pool), dtype=np.float64)  # the pool is ordered best first
        unscored = Ranked(rung, read.position if read else self._position, pool, in_order, dropped=dropped)
        if read is None or not len(pool):
            return unscored
        features = _features(scene, read)
        try:
            predictions = self._breakers.call("ranker", lambda: bundle.ranker.predict(features))
            scores = value(predictions.columns())
            if not np.isfinite(scores).all():
                raise PartDown("ranker", "predicts values that are not finite")
        except PartDown:
            unscored.rung = "no_ranker" if rung == "full" else rung
            unscored.features = features
            return unscored
        return Ranked(rung, read.position, pool, scores, predictions, features, dropped)

    def _retrieved(self, bundle: ServingBundle, scene: Scene) -> tuple[Pool, Read, Mapping[str, int]]:
        """Filtered candidates for the history of the very read that brings their features."""
        read = self._read(scene, bundle.catalogue.item_id[:1])  # any item: the tower looks at what all rows share
        for _ in range(READS):
            before = read
            found = self._breakers.call("index", functools.partial(retrieve, bundle, _ask(scene, before)))
            pool, dropped = self._filtered(bundle, scene, found, before)
            read = self._read(scene, bundle.catalogue.ids(pool.rows))
            if read.position == before.position or _same_history(read, before):
                break
        return pool, read, dropped

    def _filtered(
        self, bundle: ServingBundle, scene: Scene, pool: Pool, history: Read | None
    ) -> tuple[Pool, Mapping[str, int]]:
        seen = (
            seen_items(history.history_item_keys, history.history_kinds)
            if history is not None
            else np.empty(0, dtype=np.int64)
        )
        audience = Audience(scene.shelf, scene.at, seen=seen)
        reasons = dropped_by(bundle.catalogue.candidates.take(pool.rows), audience)
        kept = np.flatnonzero(reasons == "")
        dropped = Counter(reasons[reasons != ""].tolist()) if len(kept) < len(pool) else {}
        return pool.take(kept[:MAX_ITEMS]), dropped

    def _slate(self, bundle: ServingBundle, scene: Scene, ranked: Ranked, k: int) -> np.ndarray:
        rows = ranked.pool.rows
        groups = {
            "creator": bundle.catalogue.candidates.creator_key[rows],
            "category": bundle.catalogue.category_key[rows],
        }
        return select(ranked.scores, bundle.catalogue.candidates.item_key[rows], k, groups, scene.shelf.caps)

    def _reasons(self, bundle: ServingBundle, ranked: Ranked, slate: np.ndarray) -> list[str]:
        of_source = [ranked.pool.reason(i) for i in slate.tolist()]
        if ranked.predictions is None or ranked.features is None or not slate.size:
            return of_source
        shown = ranked.features[slate]
        try:
            reasons = self._breakers.call("ranker", lambda: bundle.ranker.explain(shown))
        except PartDown:
            return of_source
        rows = ranked.pool.rows[slate].tolist()
        return [_named(reason, bundle.catalogue.category[row]) for reason, row in zip(reasons, rows, strict=True)]

    def _log_slate(
        self, bundle: ServingBundle, scene: Scene, ranked: Ranked, slate: np.ndarray, request_id: str
    ) -> None:
        chosen, predictions = slate.tolist(), ranked.predictions
        self._log(
            bundle,
            scene,
            request_id,
            rung=ranked.rung,
            position=ranked.position,
            item_id=bundle.catalogue.ids(ranked.pool.rows[slate]),
            source=[ranked.pool.source_of(i) for i in chosen],
            score=ranked.scores[slate].tolist(),
            p_click=predictions.p_click[slate].tolist() if predictions else [None] * len(chosen),
            watch_seconds=predictions.watch_seconds[slate].tolist() if predictions else [None] * len(chosen),
            features=ranked.features[slate] if ranked.features is not None else None,
        )

    def _log(self, bundle: ServingBundle, scene: Scene, request_id: str, **rows: Any) -> None:
        """An answer is given even when it cannot be logged (a full disk); the loss is counted and shown."""
        count = len(rows["item_id"])
        served = Served(
            request_id=request_id,
            served_at=self._clock(),
            user_id=scene.user_id,
            shelf=scene.shelf_name,
            device=scene.device,
            bundle=bundle.bundle_id,
            as_of=scene.at,
            fingerprint=catalog.FINGERPRINT,
            log_shelf=scene.log_shelf,
            slot=range(count),
            **rows,
        )
        try:
            self._served_log.append(served)
        except OSError as error:
            with self._lock:
                first, self._lost_rows = self._lost_rows == 0, self._lost_rows + count
            if first:
                log.error("the served log cannot be written (%s): free some disk", error.strerror or error)


def _row(event: Event, now: int, utc_offset_ms: int) -> dict[str, Any]:
    """An event as the store takes it: EVENT_SCHEMA without the position, which the store gives."""
    occurred_at = now if event.occurred_at is None else event.occurred_at
    day = (occurred_at + utc_offset_ms) // DAY_MS
    fields = event.model_dump()
    return {**fields, "occurred_at": occurred_at, "received_at": now, "date": str(np.datetime64(day, "D"))}


def _why(down: PartDown) -> str:
    """The store's own words where it has some (a full disk), else which part is down."""
    return str(down.__cause__) if isinstance(down.__cause__, StoreError) else str(down)


def _named(reason: str, category: str | None) -> str:
    """The reason with the category's name, where it has one that says something."""
    if category is None or category.isdigit():
        return reason
    return reason.replace("this category", category)


def _same_history(left: Read, right: Read) -> bool:
    return np.array_equal(left.history_item_keys, right.history_item_keys) and np.array_equal(
        left.history_kinds, right.history_kinds
    )


def _ask(scene: Scene, read: Read) -> Ask:
    """What the candidate sources are asked, from the read that brought the history."""
    every = len(scene.shelf.item_types) == len(ITEM_TYPES)
    seen = seen_items(read.history_item_keys, read.history_kinds)
    return Ask(
        at=scene.at,
        shelf=scene.shelf_name,
        item_keys=read.history_item_keys,
        kinds=read.history_kinds,
        occurred_at=read.history_occurred_at,
        features=_features(scene, read)[0],
        seen=seen[:0] if scene.shelf.again else seen,
        item_types=() if every else scene.shelf.item_types,
    )


def _features(scene: Scene, read: Read) -> np.ndarray:
    """float32[k, F] of a read; every place of a slate is ranked as if it were the first."""
    n = len(read.aggregates)
    context = Context(
        as_of=np.full(n, scene.at, dtype=np.int64),
        shelf=np.full(n, scene.shelf_code, dtype=np.int64),
        device=np.full(n, scene.device_code, dtype=np.int64),
        slot=np.zeros(n, dtype=np.int64),
        item=read.item,
    )
    return derive(read.aggregates, context)
