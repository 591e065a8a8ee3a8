"""The steps of a recommend: read, retrieve, filter, score, select, explain. `pipeline.Recommender` calls them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from recsys.features.store import OnlineStore, Read
from recsys.policy.filters import dropped_by
from recsys.policy.slate import select
from recsys.policy.value import VALUE, value
from recsys.serving.breakers import Breakers, PartDown
from recsys.serving.bundle import ServingBundle
from recsys.serving.candidates import Pool, PoolCache, retrieve, trending
from recsys.serving.course import Course
from recsys.serving.scene import Scene
from recsys.serving.schema import MAX_ITEMS, Rung
from recsys.training_sets.inputs import Inputs

# a full disk stops the journal, not the reads of the store; a challenger's ranker that fails says nothing of the other
PARTS: Final = ("store", "blocks", "journal", "index", "ranker", "challenger")
TOLD: Final = ("p_click", "watch_seconds")  # what an answer tells of each item beside its score
READS: Final = 3  # a history that changes while its candidates are sought is sought for again, at most so often
T = TypeVar("T")


@dataclass
class Ranked:
    """Candidates after scoring. Sequences and arrays have one entry a candidate."""

    rung: Rung
    position: int
    pool: Pool
    scores: np.ndarray  # float64[n]
    inputs: Inputs | None = None  # of the n candidates, once they were read
    is_scored: bool = False  # the scores are the ranker's
    dropped: Mapping[str, int] | None = None  # filter -> candidates it dropped
    history_position: int | None = None  # of the read whose history the candidates were sought for


@dataclass
class Slate:
    """What is shown, best first. Sequences and arrays have one entry a place."""

    rung: Rung
    position: int
    pool: Pool
    scores: np.ndarray
    inputs: Inputs | None
    predictions: Mapping[str, np.ndarray] | None  # TOLD
    reasons: list[str]
    history_position: int | None = None  # as of Ranked

    @property
    def features(self) -> np.ndarray | None:
        """float32[n, F]."""
        return None if self.inputs is None else self.inputs.features


class Steps:
    """Over one store. Safe to use from several threads."""

    def __init__(self, store: OnlineStore, breakers: Breakers) -> None:
        self._store = store
        self.breakers = breakers
        self.position = 0  # the last that was read
        self._pools = PoolCache()

    def attempt(self, course: Course, part: str, work: Callable[[], T], stage: str | None = None) -> T:
        """`work()` of a part that may fail or be slow.

        Raises:
            PartDown: it failed, is left alone, or the request has no time left for it.
        """
        stage = stage or part
        try:
            if not course.may_begin(stage):
                raise PartDown(part, "is left out: the time of the request is nearly up")
            with course.stage(stage):
                return self.breakers.call(part, work, course.limit)
        except PartDown:
            course.down.append(stage)
            raise

    def read(self, scene: Scene, items: Sequence[str] | np.ndarray, course: Course) -> Read:
        """Features' aggregates of the user and of items, by their ids or int64 keys.

        Raises:
            PartDown: as `attempt`.
        """
        read = self.attempt(
            course, "store", lambda: self._store.read(scene.user_id, items, scene.at, shelf_key=scene.shelf_code)
        )
        self.position = max(self.position, read.position)
        return read

    def rank(self, bundle: ServingBundle, scene: Scene, course: Course) -> Ranked:
        """Candidates of the best rung that answers, scored where that is possible."""
        read: Read | None = None
        rung: Rung = "full"
        dropped: Mapping[str, int]
        sought_at: int | None = None
        try:
            pool, read, dropped, sought_at = self.retrieved(bundle, scene, course)
            self._pools.put(bundle, scene.user_id, scene.shelf_name, pool)
        except PartDown:
            rung, pool, dropped = self.remembered(bundle, scene)
            try:
                read = self.read(scene, bundle.catalogue.candidates.item_key[pool.rows], course)
            except PartDown:
                read = None
        ranked = in_order(rung, read.position if read else self.position, pool, dropped)
        ranked.history_position = sought_at
        if read is None or not len(pool):
            return ranked
        with course.stage("features"):
            ranked.inputs = inputs = scene.inputs(read)
        try:
            scores = value(
                self.attempt(course, _ranker(course), lambda: bundle.ranker.predict_only(inputs, VALUE), "ranker")
            )
            if not np.isfinite(scores).all():
                raise PartDown("ranker", "predicts values that are not finite")
        except PartDown:
            ranked.rung = "no_ranker" if rung == "full" else rung
            return ranked
        ranked.scores, ranked.is_scored = scores, True
        return ranked

    def retrieved(
        self, bundle: ServingBundle, scene: Scene, course: Course
    ) -> tuple[Pool, Read, Mapping[str, int], int]:
        """Filtered candidates for the history of the very read that brings their features; and where it was read."""
        keys = bundle.catalogue.candidates.item_key
        read = self.read(scene, keys[:1], course)  # any item: the tower looks at what rows share
        for _ in range(READS):
            before = read
            found = self.attempt(course, "index", functools.partial(retrieve, bundle, scene.ask(before)))
            pool, dropped = self._filtered(bundle, scene, found, before)
            read = self.read(scene, keys[pool.rows], course)
            if read.position == before.position or _same_history(read, before):
                break
        return pool, read, dropped, before.position

    def remembered(self, bundle: ServingBundle, scene: Scene) -> tuple[Rung, Pool, Mapping[str, int]]:
        """What was retrieved for this user before, or else what is trending; from memory."""
        cached = self._pools.get(bundle, scene.user_id, scene.shelf_name)
        pool, dropped = self._filtered(bundle, scene, cached or trending(bundle, scene.shelf_name), None)
        return ("cached" if cached is not None else "trending"), pool, dropped

    def _filtered(
        self, bundle: ServingBundle, scene: Scene, pool: Pool, history: Read | None
    ) -> tuple[Pool, Mapping[str, int]]:
        out, counts = dropped_by(bundle.catalogue.candidates.take(pool.rows), scene.audience(history))
        return (pool.take(np.flatnonzero(~out)[:MAX_ITEMS]) if counts else pool), counts

    def slate(self, bundle: ServingBundle, scene: Scene, ranked: Ranked, k: int, course: Course) -> Slate:
        """The k to show, with the predictions and reasons that only they need."""
        rows = ranked.pool.rows
        with course.stage("slate"):
            groups = {
                "creator": bundle.catalogue.candidates.creator_key[rows],
                "category": bundle.catalogue.category_key[rows],
            }
            chosen = select(ranked.scores, bundle.catalogue.candidates.item_key[rows], k, groups, scene.shelf.caps)
        slate = Slate(
            rung=ranked.rung,
            position=ranked.position,
            pool=ranked.pool.take(chosen),
            scores=ranked.scores[chosen],
            inputs=ranked.inputs.take(chosen) if ranked.inputs is not None else None,
            predictions=None,
            reasons=[ranked.pool.reason(i) for i in chosen.tolist()],
            history_position=ranked.history_position,
        )
        if ranked.is_scored and len(chosen):
            self._explain(bundle, slate, course)
        course.bundle, course.rung, course.candidates = bundle.bundle_id, slate.rung, len(rows)
        course.dropped, course.features, course.predictions = ranked.dropped or {}, slate.features, slate.predictions
        return slate

    def _explain(self, bundle: ServingBundle, slate: Slate, course: Course) -> None:
        """Add each place's predictions, and a reason in words that is true of it."""
        shown, part = slate.inputs, _ranker(course)
        assert shown is not None
        try:
            slate.predictions = self.attempt(course, part, lambda: bundle.ranker.predict_only(shown, TOLD), "shown")
            reasons = self.attempt(course, part, lambda: bundle.ranker.explain(shown), "reasons")
        except PartDown:
            return
        categories = [bundle.catalogue.category[row] for row in slate.pool.rows.tolist()]
        slate.reasons = [_named(reason, name) for reason, name in zip(reasons, categories, strict=True)]


def _ranker(course: Course) -> str:
    """The part that ranks for this role."""
    return "ranker" if course.role == "champion" else "challenger"


def in_order(rung: Rung, position: int, pool: Pool, dropped: Mapping[str, int]) -> Ranked:
    """A pool without scores of a ranker, in its own order."""
    return Ranked(rung, position, pool, -np.arange(len(pool), dtype=np.float64), dropped=dropped)


def _named(reason: str, category: str | None) -> str:
    """The reason with the category's name, where it has one that says something."""
    if category is None or category.isdigit():
        return reason
    return reason.replace("this category", category)


def _same_history(left: Read, right: Read) -> bool:
    """Whether both ask for the same candidates: what was shown meanwhile, by another request say, takes no part."""
    ours, theirs = left.history.engaged().row(0), right.history.engaged().row(0)
    return np.array_equal(ours[0], theirs[0]) and np.array_equal(ours[1], theirs[1])
