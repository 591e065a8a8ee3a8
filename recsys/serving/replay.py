"""Whole requests again: features, candidates, scores and order of what was served, from its bundle and the log.

A request is put together again from its rows in the served log and goes through the very steps that answered it, over a
store that reads where it read. Nothing of a step is written here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.experiments.interleaving import mixed_in
from recsys.features.catalog import FINGERPRINT
from recsys.features.judged import Judged
from recsys.features.people import NO_ONE, Said
from recsys.policy.exploration import RANKED as CERTAIN
from recsys.policy.exploration import Explorer
from recsys.registry import RegistryError
from recsys.serving.breakers import Breakers
from recsys.serving.bundle import BundleRefused, ServingBundle
from recsys.serving.course import Course
from recsys.serving.late import with_late
from recsys.serving.scene import Scene
from recsys.serving.steps import PARTS, Ranked, Slate, Steps, known
from recsys.store.errors import StoreError
from recsys.store.online import OnlineStore
from recsys.store.past import Read

RANKED: Final = ("full", "partial")  # rungs that a replay reaches again: what was read, retrieved and ranked


@dataclass
class Requests:
    """What a replay of requests found."""

    same: int = 0  # every item, its place, score, predictions and features, to the bit
    different: dict[str, str] = field(default_factory=dict)  # request_id -> what differs first
    left_out: dict[str, str] = field(default_factory=dict)  # request_id -> why it cannot be replayed

    @property
    def why_left_out(self) -> str:
        """The reasons with how often each was met, most often first."""
        return "; ".join(f"{count:,}: {why}" for why, count in Counter(self.left_out.values()).most_common(3))

    def __str__(self) -> str:
        words = f"{len(self.different):,} of {self.same + len(self.different):,} requests differ"
        if self.left_out:
            words += f", {len(self.left_out):,} left out ({self.why_left_out})"
        if self.different:
            words += " (" + "; ".join(f"{name}: {why}" for name, why in list(self.different.items())[:3]) + ")"
        return words


class AsRead:
    """The store as one request read it: its first read for the history, its second for the features."""

    def __init__(self, store: Any, positions: Sequence[int]) -> None:
        self._store, self._positions = store, list(positions)

    def read(self, user_id: str, items: Sequence[str] | np.ndarray, as_of: int, *, shelf_key: int) -> Read:
        if not self._positions:
            raise StoreError("the history moved on while its candidates were sought")
        return self._store.read(user_id, items, as_of, self._positions.pop(0), shelf_key=shelf_key)

    def judged(self, user_id: str) -> Judged:
        return Judged.none()  # asked of a lower rung alone, which is not replayed


def replay_requests(
    served: pa.Table,
    store: OnlineStore,
    bundle_of: Callable[[str], ServingBundle],
    explorer: Explorer | None = None,
    *,
    latest: int | None = None,
) -> Requests:
    """Answer logged requests again and compare, those of rungs "full" and "partial" and of these features.

    Args:
        served: rows of a served log (served_log.SCHEMA)
        store: holds the log that they were read from
        bundle_of: a bundle as it was published, without late items; raises BundleRefused for one that is gone
        explorer: draws as the service did; None where nothing of what is replayed explored
        latest: at most so many, the last served; each takes two reads of the past, 0.1 s where the log has 1.7 M events
    """
    replays = Requests()
    bundles: dict[tuple[str, int], ServingBundle] = {}
    for rows in by_request(served, latest):
        first = rows[0]
        name = first["request_id"]
        made_of = (first["bundle"], first["late_records"] or 0)
        try:
            if made_of not in bundles:
                bundles[made_of] = as_of_then(bundle_of(made_of[0]), made_of[1], store)
            steps, scene, ranked, course = again(first, store, bundles[made_of], explorer)
            if other := mixed_in(first["policy"]):  # its order alone is asked: no late items
                course.beside = bundles[other, 0] = bundles.get((other, 0)) or bundle_of(other)
            slate = steps.slate(bundles[made_of], scene, ranked, first["k"], course)
        except UNABLE as error:
            replays.left_out[name] = str(error)
            continue
        if slate.rung != first["rung"]:
            replays.left_out[name] = "its history moved on while its candidates were sought"
            continue
        why = difference(rows, slate, bundles[made_of])
        if why:
            replays.different[name] = why
        else:
            replays.same += 1
    return replays


def by_request(served: pa.Table, latest: int | None) -> Iterable[list[dict[str, Any]]]:
    """Rows of one request after the other, by slot, of those that a replay reaches; the last served first."""
    requests: dict[str, list[dict[str, Any]]] = {}
    fits = pc.and_(pc.is_in(served["rung"], pa.array(RANKED)), pc.equal(served["fingerprint"], FINGERPRINT))
    served = served.filter(pc.and_(fits, pc.is_valid(served["history_position"])))
    for row in served.sort_by(
        [("served_at", "descending"), ("request_id", "ascending"), ("slot", "ascending")]
    ).to_pylist():
        requests.setdefault(row["request_id"], []).append(row)
        if latest is not None and len(requests) > latest:
            return list(requests.values())[:latest]
    return requests.values()


def as_of_then(bundle: ServingBundle, late_records: int, store: OnlineStore) -> ServingBundle:
    """A bundle as published, with the late items that were in its catalogue when the log had so many records."""
    return with_late(bundle, store.late_items(late_records)[1]) if late_records else bundle


def scene_of(row: Mapping[str, Any], bundle: ServingBundle) -> Scene:
    """The scene of a logged request, of any of its rows."""
    blocked = (np.array(row[name] or [], np.int64) for name in ("blocked_items", "blocked_creators"))
    said = Said.of_flat(row["said"] or ())
    then = replace(bundle, people=NO_ONE)  # what is kept of the person by now is another thing
    return Scene.at_shelf(then, row["user_id"], row["as_of"], row["shelf"], row["device"], said, *blocked)


class ExplorerMissing(RuntimeError):
    """A logged slate was drawn by a policy that is not the shelf's any more, or by a secret that is not here."""


def explorer_of(row: Mapping[str, Any], scene: Scene, explorer: Explorer | None) -> Explorer | None:
    """Who draws a logged slate again; None where nothing of it was left to chance.

    Raises:
        ExplorerMissing: it was, and cannot be drawn again.
    """
    if row["policy"] in (None, CERTAIN) or mixed_in(row["policy"]):
        return None
    how = scene.shelf.explores
    if explorer is None or how is None or how.policy != row["policy"]:
        raise ExplorerMissing(f"it explored by policy {row['policy']}, which shelf {row['shelf']} has no more")
    return explorer


UNABLE: Final = (BundleRefused, RegistryError, StoreError, ExplorerMissing)  # a request cannot be answered again


def again(
    row: Mapping[str, Any], store: OnlineStore, bundle: ServingBundle, explorer: Explorer | None
) -> tuple[Steps, Scene, Ranked, Course]:
    """A logged request, of any of its rows, up to its ranked candidates; the steps go on from there.

    Raises:
        UNABLE: where it cannot be.
    """
    scene = scene_of(row, bundle)
    past: Any = AsRead(store, (row["history_position"], row["position"]))
    steps = Steps(past, Breakers(PARTS), explorer_of(row, scene, explorer))
    course = Course(row["request_id"])
    return steps, scene, steps.rank(bundle, scene, course, without=row["missing"] or ()), course


def difference(rows: Sequence[Mapping[str, Any]], slate: Slate, bundle: ServingBundle) -> str | None:
    """What of a request is not the same bits, None when all is."""
    if bundle.catalogue.ids(slate.pool.rows) != [row["item_id"] for row in rows]:
        return "items or their order"
    told = slate.predictions or {}
    columns = {"score": slate.scores, **{name: told[name] for name in ("p_click", "watch_seconds") if name in told}}
    for name, values in columns.items():
        if known(np.asarray(values, np.float64)) != [row[name] for row in rows]:
            return name
    drawn = {name: getattr(slate.drawn, name).tolist() for name in ("propensity", "pool_size", "explored")}
    drawn |= {"team": [None] * len(rows) if slate.teams is None else slate.teams.tolist()}
    for name, again in {**drawn, "displaced": slate.displaced.tolist(), "cause": slate.causes}.items():
        if rows[0][name] is not None and again != [row[name] for row in rows]:
            return name
    logged = np.array([row["features"] for row in rows], np.float32)
    return None if slate.features is not None and slate.features.tobytes() == logged.tobytes() else "features"
