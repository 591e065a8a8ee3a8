"""The steps of a recommend, watched: what the sources proposed, what was chosen, what was passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recsys.events import key64
from recsys.features.judged import Judged
from recsys.policy.exploration import Drawn, Explorer
from recsys.retrieval.sources import Ask, Attempt
from recsys.serving.breakers import Breakers
from recsys.serving.bundle import ServingBundle
from recsys.serving.candidates import Pool, PoolCache
from recsys.serving.course import Course
from recsys.serving.scene import ANONYMOUS, Scene
from recsys.serving.steps import PARTS, Ranked, Slate, Steps
from recsys.store.journal import key_of
from recsys.store.online import OnlineStore
from recsys.store.past import Past, Read
from recsys.store.sandbox import is_sandbox, past_of


class Copy:
    """A past as the store that `Steps` reads: what-ifs and earlier positions, without the store's lock."""

    def __init__(self, past: Past, head: int) -> None:
        self.past, self.head = past, head  # what follows the head did not happen

    def read(
        self,
        user_id: str,
        items: Sequence[str] | np.ndarray,
        as_of: int,
        position: int | None = None,
        *,
        shelf_key: int = 0,
    ) -> Read:
        keys = items if isinstance(items, np.ndarray) else key64(items)
        return self.past.read(key_of(user_id), keys, as_of, shelf_key)

    def judged(self, user_id: str) -> Judged:
        return self.past.judged(key_of(user_id))


def past_for(
    store: OnlineStore, user_id: str, scene: Scene, bundle: ServingBundle, now: int, position: int | None = None
) -> Past:
    """The log as a scene reads it, which has the user of a sandbox user; with what was sent to a sandbox user.

    Args:
        position: of the log; None: where the scene looks back to, else now

    Raises:
        StoreError: the store does not answer, or its log has no such position.
    """
    if position is None and scene.looks_back:
        position = store.position_at(scene.at)
    past = store.past(position)
    if is_sandbox(user_id) and scene.user_id != ANONYMOUS:
        past = past_of(store, user_id, past, scene.at, now, bundle.about_log.derives)
    return past


class _ReadOnly(PoolCache):
    """The pools of the service, which an inspection may be answered from and never adds to."""

    def __init__(self, pools: PoolCache) -> None:
        self._of_service = pools

    def put(self, bundle: ServingBundle, user_id: str, shelf: str, pool: Pool) -> None: ...

    def get(self, bundle: ServingBundle, user_id: str, shelf: str) -> Pool | None:
        return self._of_service.get(bundle, user_id, shelf)


class Watched(Steps):
    """The steps of one request, which note what they saw."""

    def __init__(
        self, store: Any, pools: PoolCache, explorer: Explorer | None = None, request_id: str | None = None
    ) -> None:
        """
        Args:
            explorer, request_id: draw what the slate of that request left to chance
        """
        super().__init__(store, Breakers(PARTS), explorer)
        self._request_id = request_id
        self.pools = _ReadOnly(pools)
        self.passed_over = {}
        self.ask: Ask | None = None
        self.proposals: Mapping[str, np.ndarray] = {}
        self.places = np.empty(0, np.int64)

    def sought(self, bundle: ServingBundle, ask: Ask, attempt: Attempt) -> Pool:
        self.ask, self.proposals = ask, bundle.retriever.propose(ask, attempt=attempt)
        return Pool.of(bundle.retriever.fuse(self.proposals, Pool.MOST, ask.sources))

    def drawn(self, bundle: ServingBundle, scene: Scene, ranked: Ranked, chosen: np.ndarray, course: Course) -> Drawn:
        course = course if self._request_id is None else replace(course, request_id=self._request_id)
        drawn = super().drawn(bundle, scene, ranked, chosen, course)
        self.places = drawn.chosen
        return drawn


@dataclass
class Looked:
    """What came out of the steps."""

    bundle: ServingBundle
    scene: Scene
    steps: Watched
    ranked: Ranked
    slate: Slate
