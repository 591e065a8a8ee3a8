"""One request from user to slate: hydrate, source, filter, score, select. Every front calls this and nothing beside it.

A request reads the bundle in service once and keeps it, and reads the user's history and every candidate's features at
one position of the event log and one instant. What does not answer in time is left out, and the answer names the rung:

    full        retrieved from every source, ranked
    partial     retrieved from the sources that answer, ranked; `missing` names the others
    no_ranker   retrieved, in the order of retrieval
    cached      what was retrieved for this user before, because retrieval or the store does not answer
    trending    what is trending on the shelf, because nothing was retrieved before either
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from recsys import events
from recsys.events import DAY_MS, ITEM_SCHEMA
from recsys.features import catalog
from recsys.policy.exploration import Explorer
from recsys.privacy.border import Border
from recsys.serving.breakers import Breakers, PartDown
from recsys.serving.bundle import ServingBundle
from recsys.serving.bundles import Bundles
from recsys.serving.candidates import PoolCache
from recsys.serving.course import Course
from recsys.serving.scene import ANONYMOUS, KnownBlocks, Scene
from recsys.serving.schema import (
    BadRequest,
    BlockRequest,
    BlockResponse,
    BlocksRequest,
    BlocksResponse,
    EventsRequest,
    EventsResponse,
    FeaturesRequest,
    Item,
    ItemsRequest,
    ItemsResponse,
    RecommendRequest,
    RecommendResponse,
)
from recsys.serving.served_log import Served, ServedLog
from recsys.serving.shadow import Shadows
from recsys.serving.steps import PARTS, Slate, Steps, in_order, known
from recsys.serving.taking import FORGOTTEN, Told
from recsys.serving.watched import Copy, Watched, past_for
from recsys.store.blocked import Blocked, TooManyBlocked
from recsys.store.errors import StoreError
from recsys.store.intake import Appended
from recsys.store.journal import Size
from recsys.store.online import OnlineStore
from recsys.store.sandbox import copied, is_sandbox, take
from recsys.vocabulary import wrong_embedding

R = TypeVar("R", RecommendRequest, FeaturesRequest, BlockRequest, BlocksRequest)
log = logging.getLogger("recsys.serving")


class Unavailable(RuntimeError):
    """The call needs a part that does not answer; try again later."""


@dataclass(frozen=True)
class FeatureRows:
    """Answer of `features`: rows float32[len(item_ids), len(names)]."""

    position: int
    at: int
    fingerprint: str
    names: Sequence[str]
    rows: np.ndarray


class Recommender:
    """The calls. Safe to use from several threads."""

    def __init__(
        self,
        store: OnlineStore,
        bundles: Bundles,
        served_log: ServedLog | None,
        *,
        border: Border | None = None,
        breakers: Breakers | None = None,
        explorer: Explorer | None = None,
        sandbox: bool = False,
        owned: ExitStack | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._bundles = bundles
        self._served_log = served_log
        self._steps = Steps(store, breakers or Breakers(PARTS), explorer)
        self._border = border  # None: callers know users by their ids inside
        self._sandbox = sandbox  # whether copies of users take events
        self._clock = clock
        self._owned = owned or ExitStack()  # closed with it
        self._shadows = Shadows()
        self.on_shadow: Callable[[Course, float], None] | None = None  # told a shadow's course and its overlap
        self._known_blocks = KnownBlocks()
        self._lost_rows = 0
        self.journal = Size(0, 0, 0)  # as of the last probe
        self._lock = threading.Lock()

    @property
    def pools(self) -> PoolCache:
        """What was found for users before."""
        return self._steps.pools

    # -- calls --------------------------------------------------------------------------------------------------------

    def recommend(self, request: RecommendRequest, course: Course | None = None) -> RecommendResponse:
        """A slate, on whatever rung is reached.

        Raises:
            BadRequest: a shelf that neither the policy nor the bundle's log knows.
        """
        course, request = course or Course(), self._admitted(request)
        if is_sandbox(request.user_id):
            return self._of_sandbox(request, course)
        choice = self._bundles.of(request.user_id)
        course.role, course.beside = choice.role, choice.beside
        scene = self._blocking(Scene.of(choice.bundle, request, self._clock()), course)
        ranked = self._steps.rank(choice.bundle, scene, course, sparing=True)
        slate = self._steps.slate(choice.bundle, scene, ranked, request.k, course)
        response = self._answer(choice.bundle, scene, slate, request.k, course)
        unseen = choice.shadow
        if unseen is not None and self.on_shadow is not None:
            self._shadows.offer(lambda: self._shadow(unseen, request, scene, response))
        return response

    def fallback(self, request: RecommendRequest, course: Course) -> RecommendResponse:
        """A slate from memory alone, for a request whose time is up: nothing that could hang is asked.

        Raises:
            BadRequest: as `recommend`.
        """
        request = self._admitted(request)
        choice = self._bundles.of(request.user_id)
        course.role = choice.role
        scene = self._known_blocks.on(Scene.of(choice.bundle, request, self._clock()))
        rung, pool, dropped = self._steps.remembered(choice.bundle, scene)
        ranked = in_order(rung, self._steps.position, pool, dropped)
        slate = self._steps.slate(choice.bundle, scene, ranked, request.k, course)
        return self._answer(choice.bundle, scene, slate, request.k, course)

    def gave_up(self, course: Course) -> None:
        """Tell the breakers about a request that nobody waits for any more: the part it waits for counts as failed."""
        if course.within is not None:
            self._steps.breakers.gave_up(course.within[0])

    def record_events(self, request: EventsRequest, course: Course | None = None) -> EventsResponse:
        """Make events durable and visible to the next read; a repeated event_id changes nothing.

        Raises:
            Unavailable: the store does not take them; none was kept, send them again.
        """
        bundle = self._bundles.current
        now = self._clock()
        told = Told.of(request.events, self._border)

        def append() -> Appended:
            if self._sandbox:
                return take(self._store, told.rows, now, bundle.about_log.derives)
            return self._store.append(told.rows, now, bundle.about_log.derives)

        try:
            return told.answer(self._steps.attempt(course or Course(), "journal", append))
        except PartDown as down:
            raise Unavailable(f"events cannot be stored now ({_why(down)}): send them again") from None

    def put_items(self, request: ItemsRequest, course: Course | None = None) -> ItemsResponse:
        """Make metadata of items durable; new ones are candidates and may have events within seconds.

        Raises:
            BadRequest: an embedding of another length than those that the tower in service learned from.
            Unavailable: the store does not take them; send them again.
        """
        now = self._clock()
        for place, item in enumerate(request.items):
            if item.embedding is None:
                continue
            due = self._bundles.current.retriever.tower.given_length
            if wrong := wrong_embedding(np.array(item.embedding), due):
                raise BadRequest(f"items.{place}.embedding: {wrong}")

        def said() -> pa.Table:
            known = self._store.known_items([item.item_id for item in request.items])
            rows = []
            for item in request.items:  # said twice in one request: the later word follows the earlier one
                known[item.item_id] = row = _item(item, known.get(item.item_id), now)
                rows.append(row)
            return pa.Table.from_pylist(rows, schema=ITEM_SCHEMA)

        try:
            recorded = self._steps.attempt(course or Course(), "journal", lambda: self._store.put_items(said, now))
        except PartDown as down:
            raise Unavailable(f"items cannot be stored now ({_why(down)}): send them again") from None
        return ItemsResponse(recorded=recorded, position=self._store.head())

    def block(self, request: BlockRequest, course: Course | None = None) -> BlockResponse:
        """Keep what a user never wants to see out of their slates, from the next one on, until it is unblocked.

        Raises:
            BadRequest: too many, or a user who was forgotten.
            Unavailable: the store does not take it; send it again.
        """
        user_id = self._admitted(request).user_id
        if user_id == events.NOBODY:
            raise BadRequest(FORGOTTEN)
        if is_sandbox(user_id):
            raise BadRequest("user_id: a sandbox user has the blocks of the user whose copy it is: block for that one")
        more, less = (Blocked.of(part.item_ids, part.creator_ids) for part in (request.block, request.unblock))
        try:
            now = self._steps.attempt(course or Course(), "journal", lambda: _held(self._store, user_id, more, less))
        except PartDown as down:
            raise Unavailable(f"this cannot be kept now ({_why(down)}): send it again") from None
        if isinstance(now, str):
            raise BadRequest(now)
        self._known_blocks.put(user_id, now)
        return BlockResponse(items=len(now.items), creators=len(now.creators))

    def blocks(self, request: BlocksRequest, course: Course | None = None) -> BlocksResponse:
        """What a user blocked once and for all, by the ids of the catalogue in service.

        Raises:
            Unavailable: the store does not answer.
        """
        bundle = self._bundles.current
        user_id, items = copied(self._admitted(request).user_id), bundle.items
        try:
            kept = self._steps.attempt(course or Course(), "blocks", lambda: self._store.blocked(user_id))
        except PartDown as down:
            raise Unavailable(f"blocks cannot be read now ({_why(down)}): try again") from None
        item_rows = np.flatnonzero(np.isin(items["item_key"].to_numpy(), kept.items))
        creators, first = np.unique(items["creator_key"].to_numpy(), return_index=True)
        creator_rows = first[np.isin(creators, kept.creators)]
        return BlocksResponse(
            item_ids=[bundle.catalogue.written(i) for i in items["item_id"].take(item_rows).to_pylist()],
            creator_ids=items["creator_id"].take(creator_rows).to_pylist(),
            unnamed=len(kept.items) + len(kept.creators) - len(item_rows) - len(creator_rows),
        )

    def probe(self) -> None:
        """Ask the store whether it would take events now, and how large its journal is.

        Raises:
            StoreError: it would not, or does not answer.
        """
        self._store.journal.probe()
        self.journal = self._store.journal.size()

    def features(self, request: FeaturesRequest, course: Course | None = None) -> FeatureRows:
        """The float32 rows that ranking would see for these items on the default shelf; logged for replay like slates.

        With `at` they are those of that instant, from the log as it was received by then.

        Raises:
            Unavailable: the store does not answer.
        """
        course, request = course or Course(), self._admitted(request)
        bundle = self._bundles.current
        at = self._clock() if request.at is None else request.at
        scene = Scene.at_shelf(bundle, copied(request.user_id), at, looks_back=request.at is not None)
        steps = self._steps
        try:
            if is_sandbox(request.user_id):
                steps, scene = self._sandboxed(bundle, scene, request.user_id)
            read = steps.read(scene, request.item_ids, course)
        except PartDown as down:
            raise Unavailable(f"features cannot be read now ({_why(down)}): try again") from None
        rows = scene.features(read)
        n = len(rows)
        self._log(
            bundle,
            scene,
            course.request_id,
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
        bundle, course = self._bundles.current, Course()
        scene = Scene.at_shelf(bundle, "", self._clock())
        ranked = self._steps.rank(bundle, scene, course)
        self._steps.slate(bundle, scene, ranked, 20, course)  # of so many places one explores
        long_ago = replace(scene, at=scene.at - 60 * DAY_MS)  # a read from the log itself compiles for seconds, once
        self._steps.read(long_ago, bundle.catalogue.item_id[:1], course)

    def state(self) -> dict[str, Any]:
        """What a health check wants to know."""
        return {
            "bundle": self._bundles.current.bundle_id,
            "refused": self._bundles.refused,
            "position": self._steps.position,
            "breakers": self._steps.breakers.states(),
            "lost_served_rows": self._lost_rows,
            "late_items": self._bundles.late_items,
        }

    def close(self) -> None:
        """Let go of everything; what was logged is on disk afterwards."""
        self._bundles.close()
        self._shadows.close()
        if self._served_log is not None:
            self._served_log.close()
        self._owned.close()

    def _of_sandbox(self, request: RecommendRequest, course: Course) -> RecommendResponse:
        """A slate for a copy of a user, by the bundle in service: no experiment, no chance, nothing logged or kept."""
        bundle = self._bundles.current
        asked = request.model_copy(update={"user_id": copied(request.user_id)})
        steps, scene = self._sandboxed(bundle, Scene.of(bundle, asked, self._clock()), request.user_id)
        slate = steps.slate(bundle, scene, steps.rank(bundle, scene, course), request.k, course)
        return self._answer(bundle, scene, slate, request.k, course)

    def _sandboxed(self, bundle: ServingBundle, scene: Scene, user_id: str) -> tuple[Steps, Scene]:
        try:
            past = past_for(self._store, user_id, scene, bundle, self._clock())
            scene = scene.blocking(self._store.blocked(scene.user_id)) if scene.user_id != ANONYMOUS else scene
        except StoreError as error:
            raise Unavailable(f"the store cannot be read now ({error}): try again") from None
        return Watched(Copy(past, past.position), self.pools), replace(scene, looks_back=False, logged=False)

    def _blocking(self, scene: Scene, course: Course) -> Scene:
        """The scene with what its user blocked once and for all; as last known here while the store does not answer."""
        if scene.user_id == ANONYMOUS:
            return scene
        with suppress(PartDown):
            kept = self._steps.attempt(course, "blocks", lambda: self._store.blocked(scene.user_id))
            self._known_blocks.put(scene.user_id, kept)
        return self._known_blocks.on(scene)

    def _admitted(self, request: R) -> R:
        """The request with the id by which its user is known inside."""
        if self._border is None:
            return request
        return request.model_copy(update={"user_id": self._border.user(request.user_id)})

    def _shadow(self, bundle: ServingBundle, request: RecommendRequest, asked: Scene, shown: RecommendResponse) -> None:
        """What a challenger would have answered, and the share of the shown items that is in it."""
        course = Course(shown.request_id, role="shadow")
        scene = replace(
            Scene.of(bundle, request, asked.at),
            at=asked.at,
            looks_back=asked.looks_back,
            blocked_items=asked.blocked_items,
            blocked_creators=asked.blocked_creators,
        )
        slate = self._steps.slate(bundle, scene, self._steps.rank(bundle, scene, course), request.k, course)
        ours = {bundle.catalogue.written(item_id) for item_id in bundle.catalogue.ids(slate.pool.rows)}
        overlap = sum(item.item_id in ours for item in shown.items) / max(1, len(shown.items))
        if self.on_shadow is not None:
            self.on_shadow(course, overlap)

    def _answer(self, bundle: ServingBundle, scene: Scene, slate: Slate, k: int, course: Course) -> RecommendResponse:
        """The response, once the slate is in the served log."""
        n, predictions = len(slate.pool), slate.predictions
        ids = bundle.catalogue.ids(slate.pool.rows)
        clicks, seconds = (
            known(predictions[name]) if predictions else [None] * n for name in ("p_click", "watch_seconds")
        )
        sources = slate.pool.sources
        scores = slate.scores.tolist()
        with course.stage("log"):
            self._log(
                bundle,
                scene,
                course.request_id,
                rung=slate.rung,
                position=slate.position,
                item_id=ids,
                source=sources,
                score=scores,
                p_click=clicks,
                watch_seconds=seconds,
                features=slate.features,
                k=k,
                history_position=slate.history_position,
                missing=list(slate.missing),
                late_records=bundle.late_records,
                blocked_items=scene.blocked_items.tolist(),
                blocked_creators=scene.blocked_creators.tolist(),
                propensity=slate.drawn.propensity.tolist(),
                pool_size=slate.drawn.pool_size.tolist(),
                explored=slate.drawn.explored.tolist(),
                policy=slate.drawn.policy,
                displaced=slate.displaced.tolist(),
                cause=slate.causes,
                team=None if slate.teams is None else slate.teams.tolist(),
                took_ms=(time.perf_counter() - course.began) * 1e3,
            )
        items = [
            {
                "item_id": bundle.catalogue.written(item_id),
                "score": score,
                "p_click": p_click,
                "expected_watch_seconds": watch_seconds,
                "source": source,
                "reason": reason,
            }
            for item_id, score, p_click, watch_seconds, source, reason in zip(
                ids, scores, clicks, seconds, sources, slate.reasons, strict=True
            )
        ]
        # checked too, and still a third of the time that model_construct takes in Python
        return RecommendResponse.model_validate(
            {
                "request_id": course.request_id,
                "bundle": bundle.bundle_id,
                "position": slate.position,
                "rung": slate.rung,
                "missing": list(slate.missing),
                "items": items,
            }
        )

    def _log(self, bundle: ServingBundle, scene: Scene, request_id: str, **rows: Any) -> None:
        """An answer is given even when it cannot be logged (a full disk); the loss is counted and shown."""
        if self._served_log is None or not scene.logged:
            return
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
            said=scene.said.flat(),
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


def _item(item: Item, known: Mapping[str, Any] | None, now: int) -> dict[str, Any]:
    """ITEM_SCHEMA of what was said of an item; what was not said stays as it is known."""
    first = {**item.model_dump(), "id_is_integer": item.id_is_integer}
    row = {**first, **(known or {}), **item.model_dump(exclude_unset=True)}
    if item.published_at is None:  # of a new one it is now; said again, it is what it was
        row["published_at"] = known["published_at"] if known else now
    return row


def _held(store: OnlineStore, user_id: str, more: Blocked, less: Blocked) -> Blocked | str:
    """What is blocked now, or why it stays as it was: too many is the caller's fault, and no failure of the store."""
    try:
        return store.block(user_id, more, less)
    except TooManyBlocked as error:
        return str(error)


def _why(down: PartDown) -> str:
    """The store's own words where it has some (a full disk), else which part is down."""
    return str(down.__cause__) if isinstance(down.__cause__, StoreError) else str(down)
