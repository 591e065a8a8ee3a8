"""Whole requests again: features, candidates, scores and order of what was served, from its bundle and the log.

A request is put together again from its rows in the served log and goes through the very steps that answered it, over a
store that reads where it read. Nothing of a step is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.features.catalog import FINGERPRINT
from recsys.features.store import OnlineStore, Read, StoreError
from recsys.registry import RegistryError
from recsys.serving.breakers import Breakers
from recsys.serving.bundle import BundleRefused, ServingBundle
from recsys.serving.course import Course
from recsys.serving.late import with_late
from recsys.serving.scene import Scene
from recsys.serving.steps import PARTS, Slate, Steps


@dataclass
class Requests:
    """What a replay of requests found."""

    same: int = 0  # every item, its place, score, predictions and features, to the bit
    different: dict[str, str] = field(default_factory=dict)  # request_id -> what differs first
    left_out: dict[str, str] = field(default_factory=dict)  # request_id -> why it cannot be replayed

    def __str__(self) -> str:
        words = f"{len(self.different):,} of {self.same + len(self.different):,} requests differ"
        if self.left_out:
            words += f", {len(self.left_out):,} left out"
        if self.different:
            words += " (" + "; ".join(f"{name}: {why}" for name, why in list(self.different.items())[:3]) + ")"
        return words


class _Past:
    """The store as one request read it: its first read for the history, its second for the features."""

    def __init__(self, store: OnlineStore, positions: Sequence[int]) -> None:
        self._store, self._positions = store, list(positions)

    def read(self, user_id: str, items: Sequence[str] | np.ndarray, as_of: int, *, shelf_key: int) -> Read:
        if not self._positions:
            raise StoreError("the history moved on while its candidates were sought")
        return self._store.read(user_id, items, as_of, self._positions.pop(0), shelf_key=shelf_key)


def replay_requests(
    served: pa.Table, store: OnlineStore, bundle_of: Callable[[str], ServingBundle], *, latest: int | None = None
) -> Requests:
    """Answer logged requests again and compare, those of rung "full" and of these features.

    Args:
        served: rows of a served log (served_log.SCHEMA)
        store: holds the log that they were read from
        bundle_of: a bundle as it was published, without late items; raises BundleRefused for one that is gone
        latest: at most so many, the last served; each takes two reads of the past, 0.1 s where the log has 1.7 M events
    """
    found = Requests()
    fits = pc.and_(pc.equal(served["rung"], "full"), pc.equal(served["fingerprint"], FINGERPRINT))
    bundles: dict[tuple[str, int], ServingBundle] = {}
    for rows in _by_request(served.filter(pc.and_(fits, pc.is_valid(served["history_position"]))), latest):
        first = rows[0]
        name = first["request_id"]
        made_of = (first["bundle"], first["late_records"] or 0)
        try:
            if made_of not in bundles:
                base = bundle_of(made_of[0])
                bundles[made_of] = with_late(base, store.late_items(made_of[1])[1]) if made_of[1] else base
            slate = _again(first, store, bundles[made_of])
        except (BundleRefused, RegistryError, StoreError) as error:
            found.left_out[name] = str(error)
            continue
        if slate.rung != "full":
            found.left_out[name] = "its history moved on while its candidates were sought"
            continue
        why = _difference(rows, slate, bundles[made_of])
        if why:
            found.different[name] = why
        else:
            found.same += 1
    return found


def _by_request(served: pa.Table, latest: int | None) -> Iterable[list[dict[str, Any]]]:
    """Rows of one request after the other, by slot; the last served first."""
    requests: dict[str, list[dict[str, Any]]] = {}
    for row in served.sort_by(
        [("served_at", "descending"), ("request_id", "ascending"), ("slot", "ascending")]
    ).to_pylist():
        requests.setdefault(row["request_id"], []).append(row)
        if latest is not None and len(requests) > latest:
            return list(requests.values())[:latest]
    return requests.values()


def _again(row: dict[str, Any], store: OnlineStore, bundle: ServingBundle) -> Slate:
    blocked = (np.array(row[name] or [], np.int64) for name in ("blocked_items", "blocked_creators"))
    scene = Scene.at_shelf(bundle, row["user_id"], row["as_of"], row["shelf"], row["device"], *blocked)
    past: Any = _Past(store, (row["history_position"], row["position"]))
    steps, course = Steps(past, Breakers(PARTS)), Course(row["request_id"])
    return steps.slate(bundle, scene, steps.rank(bundle, scene, course), row["k"], course)


def _difference(rows: list[dict[str, Any]], slate: Slate, bundle: ServingBundle) -> str | None:
    """What of a request is not the same bits, None when all is."""
    if bundle.catalogue.ids(slate.pool.rows) != [row["item_id"] for row in rows]:
        return "items or their order"
    told = slate.predictions or {}
    columns = {"score": slate.scores, **{name: told[name] for name in ("p_click", "watch_seconds") if name in told}}
    for name, values in columns.items():
        if np.asarray(values, np.float64).tolist() != [row[name] for row in rows]:
            return name
    logged = np.array([row["features"] for row in rows], np.float32)
    return None if slate.features is not None and slate.features.tobytes() == logged.tobytes() else "features"
