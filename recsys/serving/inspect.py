"""One request looked into: every candidate, who proposed it, what was left out, and why each stands where it stands.

It goes through the very steps that answer a recommend (`Steps`), which here also note what they saw. The request may be
of now, of an earlier position, one that the served log keeps, one on another bundle, or one after events that did not
happen. Nothing is written: no served log, no event, no pool. Its breakers are its own: no failure counts elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from recsys.events import KINDS, NOBODY, SANDBOX, SEARCH
from recsys.features.catalog import FEATURES, FINGERPRINT
from recsys.features.evidence import DEFINITIONS, group_of
from recsys.features.judged import VERDICTS, Judged, Judgements
from recsys.features.log import EventLog
from recsys.policy.exploration import Explorer
from recsys.privacy.border import Border
from recsys.registry import RegistryError
from recsys.serving.bundle import BundleRefused, ServingBundle
from recsys.serving.bundles import Bundles, Choice
from recsys.serving.candidates import PoolCache
from recsys.serving.course import Course
from recsys.serving.explained import Names, candidates_of, dropped, evidence, explained, why_not
from recsys.serving.inspected import (
    Feature,
    InspectRequest,
    InspectResponse,
    Logged,
    PastRequest,
    Stage,
)
from recsys.serving.pipeline import Unavailable
from recsys.serving.replay import RANKED, AsRead, ExplorerMissing, as_of_then, difference, explorer_of, scene_of
from recsys.serving.scene import ANONYMOUS, Scene
from recsys.serving.schema import BadRequest, RecommendRequest
from recsys.serving.segment_files import ServedLogError
from recsys.serving.served_log import find
from recsys.serving.taking import FORGOTTEN
from recsys.serving.watched import Copy, Looked, Watched, past_for
from recsys.store.errors import StoreError
from recsys.store.journal import key_of
from recsys.store.online import OnlineStore
from recsys.store.sandbox import copied, is_sandbox

KEPT_BUNDLES: Final = 2  # loaded for inspections alone, besides those in service
SHOWN_HISTORY: Final = 128
_KIND: Final = {code: kind for kind, code in KINDS.items()}
FEATURE_LIST: Final = [
    Feature(name=name, group=group_of(name), doc=DEFINITIONS[name].doc, default=DEFINITIONS[name].default)
    for name in FEATURES
]
RUNGS: Final[Mapping[str, str]] = {
    "partial": "Some sources did not answer: the candidates are those of the others.",
    "no_ranker": "The ranker does not answer: this is the order of retrieval.",
    "cached": "Retrieval or the store does not answer: this is what was found for this user before.",
    "trending": "Nothing personal can be read now: this is what is trending.",
}


class Inspector:
    """Looks into requests. Used by one thread at a time.

    Args:
        served_log: folder of the served log
        loading: a bundle by its id, verified; raises BundleRefused or RegistryError
        border: what callers' user ids pass; None where they are given as they are known inside
        explorer: draws what logged slates left to chance, again
    """

    def __init__(
        self,
        store: OnlineStore,
        bundles: Bundles,
        pools: PoolCache,
        *,
        served_log: Path,
        loading: Callable[[str], ServingBundle],
        border: Border | None,
        explorer: Explorer | None = None,
        clock: Callable[[], int],
    ) -> None:
        self.store, self.bundles, self.border, self._explorer = store, bundles, border, explorer
        self.served_log, self.clock = served_log, clock
        self._pools, self._loading = pools, loading
        self._kept: dict[str, ServingBundle] = {}

    def inspect(self, request: InspectRequest, course: Course) -> InspectResponse:
        """The answer to a request, looked into.

        Raises:
            BadRequest: no such bundle, request, feature or shelf; an event that the store would refuse.
            Unavailable: the store does not answer, and without it there is nothing to look into.
        """
        try:
            if request.request_id is not None:
                return self._past(request, course)
            return self._now(request, course)
        except (BundleRefused, RegistryError, ServedLogError) as error:
            raise BadRequest(str(error)) from None
        except StoreError as error:
            raise Unavailable(f"the store cannot be read now: {error}") from None

    def bundle(self, bundle_id: str) -> ServingBundle:
        """A bundle as published, in service or not.

        Raises:
            BundleRefused, RegistryError: it is not there or cannot serve.
        """
        held = self.bundles.base(bundle_id) or self._kept.get(bundle_id)
        if held is None:
            held = self._loading(bundle_id)
            self._kept = dict([*self._kept.items(), (bundle_id, held)][-KEPT_BUNDLES:])
        return held

    def _now(self, request: InspectRequest, course: Course) -> InspectResponse:
        asked = self._admitted(request)
        user_id = asked.user_id
        if is_sandbox(user_id):
            asked = asked.model_copy(update={"user_id": copied(user_id)})
        choice = Choice(self.bundles.current) if is_sandbox(user_id) else self.bundles.of(user_id)
        bundle, course.role = choice.bundle, choice.role
        if request.bundle is not None and request.bundle != bundle.bundle_id:
            bundle = as_of_then(self.bundle(request.bundle), choice.bundle.late_records, self.store)
        scene = Scene.of(bundle, asked, self.clock())
        if scene.user_id != ANONYMOUS:
            with course.stage("blocks"):
                scene = scene.blocking(self.store.blocked(scene.user_id))
        store: Any = self.store
        if request.events or request.position is not None or is_sandbox(user_id):
            store = self._followed(request, user_id, scene, bundle)
            scene = replace(scene, looks_back=False)  # it is a copy of then already
        steps = Watched(store, self._pools)
        return self._answer(request, _looked(bundle, scene, steps, request.k, course), store, course)

    def _followed(self, request: InspectRequest, user_id: str, scene: Scene, bundle: ServingBundle) -> Copy:
        """The past that the request is about, and the imagined events after it."""
        try:
            past = past_for(self.store, user_id, scene, bundle, self.clock(), request.position)
        except StoreError as error:
            raise BadRequest(f"position: {error}") from None
        if not request.events:
            return Copy(past, past.position)
        rows = [
            {
                "event_id": f"imagined {place}",
                "user_id": scene.user_id or "somebody",
                "shelf": scene.shelf_name,
                "device": scene.device,
                "occurred_at": scene.at,
                **event.model_dump(),
            }
            for place, event in enumerate(request.events)
        ]
        try:
            events = self.store.imagined(rows, scene.at, bundle.about_log.derives)
        except StoreError as error:
            raise BadRequest(str(error)) from None
        if scene.user_id == ANONYMOUS:
            events = events._replace(user_key=np.zeros_like(events.user_key))
        return Copy(past.followed_by(events), past.position)

    def _past(self, request: InspectRequest, course: Course) -> InspectResponse:
        """A request that the served log keeps, answered again."""
        assert request.request_id is not None
        with course.stage("served_log"):
            logged = find(self.served_log, request.request_id)
        if logged is None:
            raise BadRequest(
                f"request_id: the served log keeps no request {request.request_id}: it is older than the log keeps, "
                "its user was forgotten, or it was never answered here"
            )
        rows = logged.to_pylist()
        first = rows[0]
        bundle_id, late = request.bundle or first["bundle"], first["late_records"] or 0
        if first["fingerprint"] != FINGERPRINT:
            words = f"It was answered with features {first['fingerprint']}; this service computes {FINGERPRINT}: "
            return self._only_logged(
                rows, words + "its slate is shown as logged, and cannot be computed again.", course
            )
        if first["rung"] == "features":
            return self._only_logged(rows, "It asked for features alone: nothing was ranked or shown.", course)
        try:
            bundle = as_of_then(self.bundle(bundle_id), late, self.store)
        except (BundleRefused, RegistryError) as error:
            if request.bundle is not None:
                raise
            return self._only_logged(rows, f"It cannot be computed again: {error}.", course)
        scene = scene_of(first, bundle)
        try:
            explorer = explorer_of(first, scene, self._explorer)
        except ExplorerMissing as error:
            return self._only_logged(rows, f"It cannot be computed again: {error}.", course)
        exact = first["history_position"] is not None
        positions = (first["history_position"], first["position"])
        past: Any = (
            AsRead(self.store, positions) if exact else Copy(self.store.past(first["position"]), first["position"])
        )
        steps = Watched(past, self._pools, explorer, first["request_id"])
        looked = _looked(bundle, scene, steps, first["k"] or len(rows), course, first["missing"] or ())
        told = PastRequest(**_compared(rows, looked), logged=self._logged(rows))
        return self._answer(request, looked, self.store, course).model_copy(update={"past": told})

    def _only_logged(self, rows: Sequence[Mapping[str, Any]], words: str, course: Course) -> InspectResponse:
        first = rows[0]
        past = PastRequest(
            request_id=first["request_id"],
            served_at=first["served_at"],
            bundle=first["bundle"],
            rung=first["rung"],
            same=None,
            words=words,
            logged=self._logged(rows),
        )
        return InspectResponse.model_validate(
            {
                **{name: first[name] for name in ("request_id", "bundle", "user_id", "shelf", "log_shelf", "device")},
                **{name: first[name] for name in ("as_of", "position", "history_position", "fingerprint")},
                "role": "past",
                "ranker": "",
                "rung": first["rung"] if first["rung"] in ("full", *RUNGS) else "full",
                "words": words,
                **{name: [] for name in ("done_without", "items", "asked", "unknown", "candidates", "dropped")},
                **{name: [] for name in ("features", "history", "evidence")},
                "weights": {},
                "judged": {},
                "past": past,
                "stages": _stages(course),
            }
        )

    def _logged(self, rows: Sequence[Mapping[str, Any]]) -> list[Logged]:
        current = self.bundles.current
        names = Names(current)
        return [
            Logged(
                item_id=current.catalogue.written(row["item_id"]),
                title=names.title(current.catalogue.row.get(row["item_id"])),
                score=row["score"],
                p_click=row["p_click"],
                expected_watch_seconds=row["watch_seconds"],
                source=row["source"],
            )
            for row in rows
        ]

    def _admitted(self, request: InspectRequest) -> RecommendRequest:
        asked = RecommendRequest.model_construct(
            **{name: getattr(request, name) for name in RecommendRequest.model_fields}
        )
        if self.border is None:
            return asked
        inside_id = self.border.user(request.user_id)
        if inside_id == NOBODY:
            raise BadRequest(FORGOTTEN)
        return asked.model_copy(update={"user_id": inside_id})

    # -- the answer ---------------------------------------------------------------------------------------------------

    def _answer(self, request: InspectRequest, looked: Looked, store: Any, course: Course) -> InspectResponse:
        bundle, scene, slate = looked.bundle, looked.scene, looked.slate
        names = Names(bundle)
        catalogue = bundle.catalogue
        asked = [item_id for item_id in dict.fromkeys(request.item_ids) if item_id in catalogue.row]
        asked += [e.item_id for e in request.evidence if e.item_id in catalogue.row and e.item_id not in asked]
        past = store.past if isinstance(store, Copy) else self.store.past(slate.position)
        of_sandbox = is_sandbox(request.user_id) and scene.user_id != ANONYMOUS
        with course.stage("explained"):
            candidates = candidates_of(looked, names, request.network)
            rows = np.concatenate([slate.pool.rows, catalogue.rows(asked)])
            items, sources = explained(looked, past, rows, candidates, names, request.network), slate.pool.sources
            left_out = dropped(looked, names)
            out = {one["item_id"]: one["filter"] for one in left_out}
            for place, item in enumerate(items):
                if place < len(slate.pool):
                    item["source"], item["reason"] = sources[place], slate.reasons[place]
                elif item["rank"] == 0:
                    item["out"] = out.get(item["item_id"]) or why_not(looked, int(rows[place]))
            mine = past.of_user(key_of(scene.user_id)) if scene.user_id else past.log.until(-1)
        head = store.head if isinstance(store, Copy) else slate.position
        return InspectResponse.model_construct(
            request_id=course.request_id,
            bundle=bundle.bundle_id,
            role=course.role,
            ranker=bundle.ranker.name,
            rung=slate.rung,
            words=_words(slate.rung, scene, mine, of_sandbox),
            user_id=SANDBOX + scene.user_id if of_sandbox else scene.user_id,
            shelf=scene.shelf_name,
            log_shelf=scene.log_shelf,
            device=scene.device,
            as_of=scene.at,
            position=slate.position,
            history_position=slate.history_position,
            fingerprint=FINGERPRINT,
            done_without=course.down,
            weights=dict(scene.shelf.weights),
            items=items[: len(slate.pool)],
            asked=items[len(slate.pool) :],
            unknown=[item_id for item_id in request.item_ids if item_id not in catalogue.row],
            candidates=candidates,
            dropped=left_out,
            features=FEATURE_LIST,
            history=names.events(mine.take(np.flatnonzero(mine.kind != KINDS[SEARCH])[-SHOWN_HISTORY:]), head)[::-1],
            judged=_judged(Judgements.of_log(mine).of(key_of(scene.user_id))) if scene.user_id else {},
            evidence=[evidence(e, looked, past, names, head) for e in request.evidence],
            past=None,
            stages=_stages(course),
        )


def _looked(
    bundle: ServingBundle, scene: Scene, steps: Watched, k: int, course: Course, without: Sequence[str] = ()
) -> Looked:
    ranked = steps.rank(bundle, scene, course, without)
    return Looked(bundle, scene, steps, ranked, steps.slate(bundle, scene, ranked, k, course))


def _stages(course: Course) -> list[Stage]:
    return [Stage(name=stage.name, ms=round(stage.seconds * 1e3, 3)) for stage in course.stages]


def _words(rung: str, scene: Scene, mine: EventLog, of_sandbox: bool) -> str | None:
    said = [RUNGS[rung]] if rung in RUNGS else []
    if of_sandbox:
        said.append(f"This is a copy of {scene.user_id}: nothing learns from what is sent to it.")
    if not scene.user_id:
        said.append("Without consent nothing personal is read.")
    elif not len(mine.position):
        said.append("Nothing is known of this user: this is what a newcomer gets.")
    return " ".join(said) or None


def _judged(judged: Judged) -> dict[str, int]:
    return {name: int((judged.at[:, column] > 0).sum()) for name, column in VERDICTS.items()}


def _compared(rows: Sequence[Mapping[str, Any]], looked: Looked) -> dict[str, Any]:
    """How a past request compares with its answer of now."""
    first, slate = rows[0], looked.slate
    told = {name: first[name] for name in ("request_id", "served_at", "bundle", "rung")}
    same: bool | None = None
    if first["bundle"] != looked.bundle.bundle_id:
        words = f"It was answered by {first['bundle']}; this is {looked.bundle.bundle_id} with the same history."
    elif first["rung"] not in RANKED or first["history_position"] is None:
        words = f"It was answered on rung {first['rung']}, from what the log does not keep; this is the full way."
    elif slate.rung != first["rung"]:
        words = "Its history moved on while its candidates were sought: it cannot be computed again to the bit."
    else:
        why = difference(rows, slate, looked.bundle)
        same = why is None
        words = (
            "The same to the bit: items, order, scores, predictions and features." if same else f"It differs: {why}."
        )
    return {**told, "same": same, "words": words}
