"""Logged requests on two bundles: how slates, predictions and time differ, by cohort. Nothing is written."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, Field

from recsys.features.catalog import FINGERPRINT
from recsys.serving.breakers import Breakers
from recsys.serving.bundle import ServingBundle
from recsys.serving.course import Course
from recsys.serving.replay import AsRead, as_of_then, scene_of
from recsys.serving.schema import Text, _Request
from recsys.serving.steps import PARTS, Slate, Steps
from recsys.store.errors import StoreError
from recsys.store.online import OnlineStore
from recsys.store.past import Read

ALL: Final = "all"
FEW: Final = 5  # engaged events, below which a person counts as new


class DiffRequest(_Request):
    """The last requests that the served log keeps, on two bundles."""

    bundle: Text
    other: Text
    latest: int = Field(default=30, ge=1, le=100)


class Cohort(BaseModel):
    """What differs over some requests; means, and of times medians."""

    cohort: str
    requests: int
    same: float  # share of requests with the same items in the same order
    kept: float  # share of the bundle's items that the other shows too
    moved: float | None  # places that an item in both moved
    p_click: tuple[float | None, float | None]  # of the items shown, by each
    p_long_view: tuple[float | None, float | None]
    ms: tuple[float, float]


class DiffResponse(BaseModel):
    bundle: str
    other: str
    cohorts: list[Cohort]  # all requests first
    left_out: int  # requests that cannot be computed again
    words: str | None


class _Reads:
    """A store that reads the same but once: bundles ask for one history, and a read of the past takes 0.1 s of CPU."""

    def __init__(self, store: OnlineStore) -> None:
        self._store, self._known = store, dict[tuple[Any, ...], Read]()

    def read(self, user_id: str, items: np.ndarray, as_of: int, position: int, *, shelf_key: int) -> Read:
        asked = user_id, items.tobytes(), as_of, position, shelf_key
        if asked not in self._known:
            self._known[asked] = self._store.read(user_id, items, as_of, position, shelf_key=shelf_key)
        return self._known[asked]


@dataclass(frozen=True)
class _Pair:
    cohorts: tuple[str, ...]
    ids: tuple[list[str], list[str]]
    predicted: tuple[Mapping[str, float | None], Mapping[str, float | None]]
    ms: tuple[float, float]


def differences(
    request: DiffRequest,
    logged: Sequence[Mapping[str, Any]],
    store: OnlineStore,
    bundle_of: Callable[[str], ServingBundle],
    seconds: float = math.inf,
) -> DiffResponse:
    """How the two bundles differ over logged requests.

    Args:
        logged: headers of the served log (`served_log.latest`), of which those of rung full and of these features count
        bundle_of: a bundle as it was published; raises BundleRefused or RegistryError
        seconds: after which no further request is begun
    """
    bundles = bundle_of(request.bundle), bundle_of(request.other)
    pairs, left_out, begun, until = list[_Pair](), 0, 0, time.monotonic() + seconds
    for row in logged:
        if pairs and time.monotonic() > until:
            break
        begun += 1
        fits = row["rung"] == "full" and row["fingerprint"] == FINGERPRINT and row.get("history_position") is not None
        pair = _pair(row, store, bundles) if fits else None
        if pair is None:
            left_out += 1
        else:
            pairs.append(pair)
    names = dict.fromkeys([ALL, *(name for pair in pairs for name in pair.cohorts)]) if pairs else {}
    cohorts = [_cohort(name, [pair for pair in pairs if name == ALL or name in pair.cohorts]) for name in names]
    words = None if begun == len(logged) else f"The newest {begun} of {len(logged)}: there was no time for the others."
    if not pairs:
        words = "The served log keeps no request that can be computed again: serve some first."
    return DiffResponse(bundle=request.bundle, other=request.other, cohorts=cohorts, left_out=left_out, words=words)


def _pair(row: Mapping[str, Any], store: OnlineStore, bundles: tuple[ServingBundle, ServingBundle]) -> _Pair | None:
    slates, times = [], []
    reads = _Reads(store)
    for bundle in bundles:
        then = as_of_then(bundle, row.get("late_records") or 0, store)
        scene = scene_of(row, then)
        past: Any = AsRead(reads, (row["history_position"], row["position"]))
        steps, course = Steps(past, Breakers(PARTS)), Course(row["request_id"])
        began = time.perf_counter()
        try:
            slate = steps.slate(then, scene, steps.rank(then, scene, course), row["k"], course)
        except StoreError:
            return None
        if slate.rung != "full":
            return None
        reading = sum(
            stage.seconds for stage in course.stages if stage.name == "store"
        )  # of the past: no bundle's time
        times.append((time.perf_counter() - began - reading) * 1e3)
        slates.append((then, slate))
    history = slates[0][1].inputs
    engaged = len(history.history.take(slice(0, 1)).engaged().row(0)[0]) if history is not None and len(history) else 0
    cohorts = (f"shelf {row['shelf']}", f"device {row['device'] or 'unknown'}", "new" if engaged < FEW else "known")
    ids = tuple(bundle.catalogue.ids(slate.pool.rows) for bundle, slate in slates)
    predicted = tuple(_means(bundle, slate) for bundle, slate in slates)
    return _Pair(cohorts, ids, predicted, (times[0], times[1]))  # type: ignore[arg-type]


def _means(bundle: ServingBundle, slate: Slate) -> dict[str, float | None]:
    if slate.inputs is None or not len(slate.inputs):
        return {"p_click": None, "p_long_view": None}
    told = bundle.about_log.told(bundle.ranker.predict_only(slate.inputs, ("p_click", "p_long_view")))
    return {name: None if np.isnan(values).any() else float(values.mean()) for name, values in told.items()}


def _cohort(name: str, pairs: Sequence[_Pair]) -> Cohort:
    kept, moved = [], []
    for pair in pairs:
        places = {item: place for place, item in enumerate(pair.ids[1])}
        both = [(place, places[item]) for place, item in enumerate(pair.ids[0]) if item in places]
        kept.append(len(both) / max(1, len(pair.ids[0])))
        moved += [abs(one - other) for one, other in both]

    def mean(prediction: str, side: int) -> float | None:
        told = [value for pair in pairs if (value := pair.predicted[side][prediction]) is not None]
        return float(np.mean(told)) if told else None

    return Cohort(
        cohort=name,
        requests=len(pairs),
        same=float(np.mean([pair.ids[0] == pair.ids[1] for pair in pairs])),
        kept=float(np.mean(kept)),
        moved=float(np.mean(moved)) if moved else None,
        p_click=(mean("p_click", 0), mean("p_click", 1)),
        p_long_view=(mean("p_long_view", 0), mean("p_long_view", 1)),
        ms=(float(np.median([pair.ms[0] for pair in pairs])), float(np.median([pair.ms[1] for pair in pairs]))),
    )
