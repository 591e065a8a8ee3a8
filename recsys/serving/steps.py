"""The steps of a recommend: read, retrieve, filter, score, select, explain. `pipeline.Recommender` calls them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import numpy as np

from recsys.experiments.interleaving import INTERLEAVED, policy_of, team_draft
from recsys.features.catalog import FEATURES
from recsys.policy.exploration import Drawn, Explorer, Scored, near
from recsys.policy.filters import dropped_by
from recsys.policy.slate import displaced, select
from recsys.policy.spread import Met, leaning
from recsys.ranking.orders import HABITS_ALONE, Asked
from recsys.retrieval.sources import SOURCES, Ask, Attempt
from recsys.serving.breakers import Breakers, PartDown
from recsys.serving.bundle import ServingBundle
from recsys.serving.candidates import Pool, PoolCache, retrieve, trending
from recsys.serving.course import Course
from recsys.serving.reasons import OwnReasons, Reason, best, language_for, named
from recsys.serving.scene import ReadInputs, Scene
from recsys.serving.schema import MAX_ITEMS, Rung
from recsys.store.online import OnlineStore
from recsys.store.past import Read
from recsys.training_sets.inputs import Inputs

# a full disk stops the journal, not the reads of the store; a challenger's ranker that fails says nothing of the other,
# nor one candidate source of the rest
PARTS: Final = ("store", "blocks", "journal", *SOURCES, "ranker", "challenger")
HANGING: Final = 16  # searches in Milvus that nobody waits for any more; its breaker opens after five
TOLD: Final = ("p_click", "watch_seconds")  # what an answer tells of each item beside its score
# rungs whose slates explore: those that a replay reaches again
EXPLORED: Final[tuple[Rung, ...]] = ("full", "partial")
IMPRESSIONS: Final = FEATURES.index("item_impressions_log_all")
SHOWN: Final = FEATURES.index("user_item_impressions_log_all")
DRAWN: Final = "drawn"
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
    missing: Sequence[str] = ()  # sources that did not answer
    asked: Asked | None = None  # what a ranker was asked of them
    places: tuple[int, ...] | None = None  # of the features that were read of them; None: all
    whole: tuple[np.ndarray, Inputs] | None = None  # candidates, rising, of which all was read since; None: of none


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
    drawn: Drawn
    displaced: np.ndarray  # int32, places above the one that its score alone would give it
    causes: list[str]  # why: a group that had its share, a UNIT, what is SURE, DRAWN, or of Spread; "" where it is not
    history_position: int | None = None  # as of Ranked
    missing: Sequence[str] = ()
    teams: np.ndarray | None = None  # int8, whose place each is, where two rankings were mixed

    @property
    def features(self) -> np.ndarray | None:
        """float32[n, F]."""
        return None if self.inputs is None else self.inputs.features


class _Moved(RuntimeError):
    """What the candidates were ranked by has changed since."""


class Steps:
    """Over one store. Safe to use from several threads."""

    def __init__(self, store: OnlineStore, breakers: Breakers, explorer: Explorer | None = None) -> None:
        """
        Args:
            explorer: draws what shelves leave to chance; None: nothing is, as in evaluation
        """
        self._store, self._explorer = store, explorer
        self.breakers = breakers
        self.position = 0  # the last that was read
        self.pools = PoolCache()
        self._searches = ThreadPoolExecutor(HANGING, thread_name_prefix="search")  # threads begin at the first use
        self.passed_over: dict[int, str] | None = None  # told by the last selection, where somebody asks why

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

    def read(
        self,
        scene: Scene,
        items: Sequence[str] | np.ndarray,
        course: Course,
        places: tuple[int, ...] | None = None,
        stage: str = "store",
    ) -> Read:
        """Features' aggregates of the user and of items, by their ids or int64 keys: at the head of the log, or where
        the scene looks back with the log as it was received by its instant.

        Args:
            places: as of `OnlineStore.read`

        Raises:
            PartDown: as `attempt`.
        """

        def work() -> Read:
            if scene.looks_back and course.then is None:
                course.then = self._store.position_at(scene.at)  # 5 to 8 ms of a log of 1.7 M events
            more: dict[str, Any] = {} if course.then is None else {"position": course.then}
            more |= {} if places is None else {"places": places}
            return self._store.read(scene.user_id, items, scene.at, shelf_key=scene.shelf_code, **more)

        read = self.attempt(course, "store", work, stage)
        self.position = max(self.position, read.position)
        return read

    def rank(
        self,
        bundle: ServingBundle,
        scene: Scene,
        course: Course,
        without: Collection[str] = (),
        sparing: bool = False,
    ) -> Ranked:
        """Candidates of the best rung that answers, scored where that is possible.

        Args:
            without: sources that are not asked (they did not answer the request that is replayed)
            sparing: a slate is all that is wanted of them: no more is read of a candidate than it is chosen by, and
                `slate` reads the shown
        """
        places = self._choosing(bundle, scene, course) if sparing else None
        read: Read | None = None
        rung: Rung = "full"
        dropped: Mapping[str, int]
        sought_at: int | None = None
        missing = set(without)
        try:
            pool, read, dropped, sought_at = self.retrieved(bundle, scene, course, missing, places)
            rung = "partial" if missing else "full"
            if not scene.looks_back:  # what was known long ago is nothing to fall back on
                self.pools.put(bundle, scene.user_id, scene.shelf_name, pool)
        except PartDown:
            rung, pool, dropped = self.remembered(bundle, scene)
            try:
                read = self.read(scene, bundle.catalogue.candidates.item_key[pool.rows], course, places)
            except PartDown:
                read = None
        ranked = in_order(rung, read.position if read else self.position, pool, dropped)
        ranked.places = places
        ranked.history_position, ranked.missing = sought_at, [name for name in scene.shelf.sources if name in missing]
        if read is None or not len(pool):
            return ranked
        order = bundle.order(scene.shelf_name)
        with course.stage("features"):
            ranked.inputs = inputs = scene.inputs(read)
        try:
            asked = ranked.asked = scene.asked(bundle, pool, read.judged, inputs)
            scores = self.attempt(course, _ranker(course), lambda: order.scores(asked), "ranker")
            if not np.isfinite(scores).all():
                raise PartDown("ranker", "predicts values that are not finite")
        except PartDown:
            ranked.rung = "no_ranker" if rung in ("full", "partial") else rung
            return ranked
        ranked.scores, ranked.is_scored = scores, True
        return ranked

    def _choosing(self, bundle: ServingBundle, scene: Scene, course: Course) -> tuple[int, ...] | None:
        """Places of the features by which candidates are chosen; None: all of them, or a part of the past."""
        reads = getattr(bundle.order(scene.shelf_name), "reads", None)
        if reads is None or scene.looks_back or scene.shelf.spread is not None or course.beside is not None:
            return None
        return reads

    def retrieved(
        self,
        bundle: ServingBundle,
        scene: Scene,
        course: Course,
        missing: set[str],
        places: tuple[int, ...] | None = None,
    ) -> tuple[Pool, Read, Mapping[str, int], int]:
        """Filtered candidates for the history of the very read that brings their features; and where it was read.

        Sources that do not answer are added to `missing`, and not asked again.

        Raises:
            PartDown: the store does not answer, or no source.
        """
        remote = bundle.retriever.remote

        def attempt(source: str, propose: Callable[[], np.ndarray]) -> np.ndarray | None:
            if source in missing:
                return None
            patience = course.patience if source in remote else None
            if patience is not None:
                propose = functools.partial(self._in_time, propose, patience)
            try:
                return self.attempt(course, source, propose)
            except PartDown:
                missing.add(source)
                return None

        keys = bundle.catalogue.candidates.item_key
        read = self.read(scene, keys[:1], course)  # any item: the tower looks at what rows share
        for _ in range(READS):
            before = read
            with course.stage("retrieval"):
                ask = scene.ask(before)
                fused = self.sought(bundle, ask, attempt)
                if not fused.names:
                    raise PartDown("retrieval", "has no source left that answers")
                pool, dropped = self._filtered(bundle, scene, fused, ask.seen)
            read = self.read(scene, keys[pool.rows], course, places)
            if read.position == before.position or _same_history(read, before):
                break
        return pool, read, dropped, before.position

    def sought(self, bundle: ServingBundle, ask: Ask, attempt: Attempt) -> Pool:
        """What the sources that answer propose, before any filter."""
        return retrieve(bundle, ask, attempt)

    def _in_time(self, propose: Callable[[], np.ndarray], seconds: float) -> np.ndarray:
        """`propose()` of a source that may hang, in a thread that is left behind when the time is up.

        Raises:
            TimeoutError: it is.
        """
        answer = self._searches.submit(propose)
        try:
            return answer.result(seconds)
        finally:
            answer.cancel()

    def remembered(self, bundle: ServingBundle, scene: Scene) -> tuple[Rung, Pool, Mapping[str, int]]:
        """What was retrieved for this user before, or else what is trending; from memory."""
        cached = self.pools.get(bundle, scene.user_id, scene.shelf_name)
        seen = scene.seen(self._store.judged(scene.user_id))
        pool, dropped = self._filtered(bundle, scene, cached or trending(bundle, scene.shelf_name), seen)
        return ("cached" if cached is not None else "trending"), pool, dropped

    def _filtered(
        self, bundle: ServingBundle, scene: Scene, pool: Pool, seen: np.ndarray
    ) -> tuple[Pool, Mapping[str, int]]:
        out, counts = dropped_by(bundle.catalogue.candidates, scene.audience(seen), pool.rows)
        return (pool.take(np.flatnonzero(~out)[:MAX_ITEMS]) if counts else pool), counts

    def slate(self, bundle: ServingBundle, scene: Scene, ranked: Ranked, k: int, course: Course) -> Slate:
        """The k to show, with the predictions and reasons that only they need."""
        try:
            return self._slate(bundle, scene, ranked, k, course)
        except (_Moved, PartDown):  # once more, with all that is read of a candidate at one position
            ranked = self.rank(bundle, scene, course, ranked.missing)
            return self._slate(bundle, scene, ranked, k, course)

    def _slate(self, bundle: ServingBundle, scene: Scene, ranked: Ranked, k: int, course: Course) -> Slate:
        rows = ranked.pool.rows
        with course.stage("slate"):
            why: dict[int, str] = {}
            placed = self.chosen(bundle, scene, ranked, k, why)
            mixed = self.mixed(bundle, scene, ranked, placed, k, why, course)
            placed, teams = (placed, None) if mixed is None else mixed
            if course.beside is None or teams is None:
                drawn = self.drawn(bundle, scene, ranked, placed, course)
            else:
                drawn = Drawn.certain(placed, policy_of(course.beside.bundle_id))
        chosen = drawn.chosen
        moved, causes = displaced(ranked.scores, bundle.catalogue.candidates.item_key[rows], chosen, why)
        inputs = self._shown(scene, ranked, chosen, course)
        pool = ranked.pool.take(chosen)
        slate = Slate(
            rung=ranked.rung,
            position=ranked.position,
            pool=pool,
            scores=ranked.scores[chosen],
            inputs=inputs,
            predictions=None,
            reasons=[f"source.{source}" for source in pool.sources],
            drawn=drawn,
            displaced=moved,
            causes=[DRAWN if by else why for by, why in zip(drawn.explored.tolist(), causes, strict=True)],
            history_position=ranked.history_position,
            missing=ranked.missing,
            teams=teams,
        )
        if ranked.is_scored and len(chosen):
            self._explain(bundle, scene, slate, course)
        shown = slate.pool.rows.tolist()
        if slate.inputs is not None and len(chosen) and course.may_begin("reasons"):
            with course.stage("reasons"):
                own = OwnReasons(bundle, slate.inputs.history.take(slice(0, 1)), scene.at)
                reasons = best(own, slate.pool.rows, slate.reasons)
        else:
            reasons = [Reason(key) for key in slate.reasons]
        language = language_for(scene.language, course.accept_language)
        slate.reasons = [why.words(language, named(bundle, row)) for why, row in zip(reasons, shown, strict=True)]
        course.bundle, course.rung, course.candidates = bundle.bundle_id, slate.rung, len(rows)
        course.dropped, course.features, course.predictions = ranked.dropped or {}, slate.features, slate.predictions
        return slate

    def _shown(self, scene: Scene, ranked: Ranked, chosen: np.ndarray, course: Course) -> Inputs | None:
        """Inputs of the chosen candidates, as `_whole`; where some were drawn, they were read with their pools."""
        if ranked.inputs is None or not len(chosen):
            return None if ranked.inputs is None else ranked.inputs.take(chosen)
        if ranked.whole is None:
            return self._whole(scene, ranked, chosen, course)
        few, inputs = ranked.whole
        return inputs.take(np.searchsorted(few, chosen))

    def _whole(self, scene: Scene, ranked: Ranked, few: np.ndarray, course: Course) -> Inputs:
        """Inputs of some candidates with all that features read of them. It is the position of that read that counts
        from here on.

        Raises:
            _Moved: what they were ranked by is another there.
            PartDown: the store does not answer any more.
        """
        inputs = ranked.inputs
        assert inputs is not None
        if ranked.places is None:
            return inputs.take(few)
        assert isinstance(inputs, ReadInputs)
        read = inputs.again(self.read(scene, inputs.item_key[few], course, stage="shown_read"))
        if read is None:
            raise _Moved
        ranked.position = read.position
        return scene.inputs(read)

    def chosen(
        self, bundle: ServingBundle, scene: Scene, ranked: Ranked, k: int, why: dict[int, str] | None = None
    ) -> np.ndarray:
        """Places of the ranked candidates that are shown, best first.

        Args:
            why: told why a candidate does not stand where its score would put it
        """
        rows, how = ranked.pool.rows, scene.shelf.spread
        item_keys = bundle.catalogue.candidates.item_key[rows]
        groups, sure = _groups(bundle, rows), ranked.pool.sure
        units = None if scene.shelf.unit == "item" else scene.units(bundle, rows)  # a candidate is there once
        why = {} if why is None else why
        met = None
        if how is not None and ranked.is_scored and ranked.inputs is not None:
            shown = np.nan_to_num(ranked.inputs.columns((SHOWN,))[:, 0].astype(np.float64))
            met = Met(
                shown,
                vectors=bundle.vectors(rows) if how.likeness else None,
                lean=leaning(scene.user_id, groups["category"]) if how.mix else None,
            )
        slate = select(ranked.scores, item_keys, k, groups, scene.shelf.caps, why, units, sure, how, met)
        if self.passed_over is not None:
            self.passed_over.update(why)
        return slate

    def mixed(
        self,
        bundle: ServingBundle,
        scene: Scene,
        ranked: Ranked,
        placed: np.ndarray,
        k: int,
        why: dict[int, str],
        course: Course,
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The slate drafted from two rankings of the same candidates, int64[k] places of them, and whose each place is,
        int8[k]; None where nothing is to be mixed, or the other does not rank.

        Caps and units hold for the whole: what they pass over gives its place to the next of the draft.
        """
        if course.beside is None or ranked.asked is None or ranked.rung != "full" or not ranked.is_scored:
            return None
        order, asked = course.beside.order(scene.shelf_name), ranked.asked
        try:
            scores = self.attempt(course, "challenger", lambda: order.scores(asked), "mixing")
        except PartDown:
            return None
        if not np.isfinite(scores).all():
            return None
        theirs = self.chosen(bundle, scene, replace(ranked, scores=scores), k)
        drafted, teams = team_draft(placed.tolist(), theirs.tolist(), 2 * k, course.request_id)
        rows = ranked.pool.rows[drafted]
        sure = None if ranked.pool.sure is None else ranked.pool.sure[drafted]
        keys, turns = bundle.catalogue.candidates.item_key[rows], -np.arange(len(drafted), dtype=np.float64)
        kept = select(turns, keys, k, _groups(bundle, rows), scene.shelf.caps, None, scene.units(bundle, rows), sure)
        why.update(dict.fromkeys(range(len(ranked.pool)), INTERLEAVED) | why)
        return np.array(drafted, np.int64)[kept], teams[kept]

    def drawn(self, bundle: ServingBundle, scene: Scene, ranked: Ranked, chosen: np.ndarray, course: Course) -> Drawn:
        """Some of the chosen places drawn anew, where the shelf leaves them to chance and a ranker answered."""
        how = scene.shelf.explores
        ranks = ranked.rung in EXPLORED and ranked.is_scored and ranked.inputs is not None
        if self._explorer is None or how is None or not ranks or course.role == "shadow":
            return Drawn.certain(chosen)
        places = self._explorer.places(how, len(chosen), course.request_id)
        if not places:  # most slates: nothing is looked at for them
            return Drawn.certain(chosen, how.policy)
        candidates = bundle.catalogue.candidates
        published = candidates.published_at[ranked.pool.rows]
        few, age_days = near(how, ranked.scores, published, scene.at, chosen, places)
        inputs, rows = self._whole(scene, ranked, few, course), ranked.pool.rows[few]
        ranked.whole = few, inputs
        item_keys = candidates.item_key[rows]
        scored = Scored(
            scores=ranked.scores[few],
            item_keys=item_keys,
            impressions=np.expm1(inputs.columns((IMPRESSIONS,))[:, 0].astype(np.float64)),
            age_days=age_days,
            units=item_keys if scene.shelf.unit == "item" else scene.units(bundle, rows),
            groups=_groups(bundle, rows),
            caps=scene.shelf.caps,
            sure=ranked.pool.sure[few],
        )
        return self._explorer.explore(how, few.searchsorted(chosen), scored, course.request_id, places).of(few)

    def _explain(self, bundle: ServingBundle, scene: Scene, slate: Slate, course: Course) -> None:
        """Add each place's predictions, and a reason in words that is true of it."""
        shown, part = slate.inputs, _ranker(course)
        assert shown is not None
        try:
            predicted = self.attempt(course, part, lambda: bundle.ranker.predict_only(shown, TOLD), "shown")
            slate.predictions = bundle.about_log.told(predicted)
            if scene.shelf.order == HABITS_ALONE:
                return  # the ranker did not bring them here: what their source says is true
            slate.reasons = self.attempt(course, part, lambda: bundle.ranker.explain(shown), "reasons")
        except PartDown:
            return


def _groups(bundle: ServingBundle, rows: np.ndarray) -> dict[str, np.ndarray]:
    """What caps bound, of catalogue rows: int64[n] each, 0 where it is not known."""
    catalogue = bundle.catalogue
    return {"creator": catalogue.candidates.creator_key[rows], "category": catalogue.category_key[rows]}


def known(prediction: np.ndarray) -> list[float | None]:
    """As answers and logs hold it: null where the log of the training days could not teach it."""
    return [None if math.isnan(value) else value for value in prediction.tolist()]


def _ranker(course: Course) -> str:
    """The part that ranks for this role."""
    return "ranker" if course.role == "champion" else "challenger"


def in_order(rung: Rung, position: int, pool: Pool, dropped: Mapping[str, int]) -> Ranked:
    """A pool without scores of a ranker, in its own order."""
    return Ranked(rung, position, pool, -np.arange(len(pool), dtype=np.float64), dropped=dropped)


def _same_history(left: Read, right: Read) -> bool:
    """Whether both ask for the same candidates: what was shown meanwhile, by another request say, takes no part."""
    ours, theirs = left.history.engaged().row(0), right.history.engaged().row(0)
    pairs = ((ours[0], theirs[0]), (ours[1], theirs[1]), *zip(left.judged, right.judged, strict=True))
    return all(np.array_equal(mine, other) for mine, other in pairs)
