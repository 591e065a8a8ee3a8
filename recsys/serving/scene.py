"""What one request asks, made ready: who, where, when; and what a read of the store means there."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from recsys.events import CLOCK_SKEW_MS, ITEM_TYPES, key64, words_of_query
from recsys.features.catalog import FEATURES
from recsys.features.derive import Context, derive, of_context
from recsys.features.judged import Judged
from recsys.features.people import NOTHING_SAID, Said
from recsys.policy.filters import Audience, seen_items
from recsys.policy.shelves import DEFAULT, SHELVES, Shelf, Unit, shelf_of
from recsys.ranking import habits
from recsys.ranking.orders import Asked
from recsys.retrieval.sources import Ask, Retriever
from recsys.serving.bundle import ServingBundle
from recsys.serving.candidates import Pool
from recsys.serving.schema import BadRequest, RecommendRequest
from recsys.store.blocked import Blocked
from recsys.store.past import Read
from recsys.training_sets.inputs import Inputs

ANONYMOUS = ""  # who is read and logged for a person who did not consent: no history, no name
_NO_KEYS = np.empty(0, dtype=np.int64)


def in_log(bundle: ServingBundle, shelf: str) -> str:
    """What the log that trained the bundle calls a shelf; of a log with other names (KuaiRand's tabs) its busiest."""
    return shelf if shelf in bundle.log_shelves or not bundle.log_shelves else bundle.log_shelves[0]


@functools.lru_cache(maxsize=1_000)
def _codes(log_shelf: str, device: str | None) -> tuple[int, int]:
    """Keys of both; 0 of no device."""
    shelf, of_device = key64([log_shelf, device or ""]).tolist()
    return shelf, of_device if device else 0


@dataclass(frozen=True)
class Scene:
    """Who, on which shelf, on what device, at which instant.

    `looks_back`: the log is read as it was received by that instant, not at its head. That is so for every instant that
    lies further back than a caller's clock may be wrong. Reads of the past take turns (`store.online`).
    """

    user_id: str
    shelf_name: str
    shelf: Shelf
    log_shelf: str  # the shelf as the log that trained the ranker calls it
    shelf_code: int  # its key64
    device: str | None
    device_code: int
    at: int  # UTC ms
    said: Said  # of this one person: what is kept, and before it what the request says
    looks_back: bool = False
    language: str | None = None  # as the request says it
    logged: bool = True  # whether the served log keeps the answer
    blocked_items: np.ndarray = field(default_factory=lambda: _NO_KEYS)  # int64 keys
    blocked_creators: np.ndarray = field(default_factory=lambda: _NO_KEYS)

    @classmethod
    def of(cls, bundle: ServingBundle, request: RecommendRequest, now: int) -> Scene:
        """The scene of a request.

        Raises:
            BadRequest: a shelf that neither the policy nor the bundle's log knows.
        """
        blocked, at = request.blocked, request.context.at
        return cls.at_shelf(
            bundle,
            request.user_id if request.consent else ANONYMOUS,
            now if at is None else at,
            request.shelf,
            request.context.device,
            Said.of_one(request.context.words()),
            key64(blocked.item_ids) if blocked.item_ids else _NO_KEYS,
            key64(blocked.creator_ids) if blocked.creator_ids else _NO_KEYS,
            looks_back=at is not None and at < now - CLOCK_SKEW_MS,
            language=request.context.language,
        )

    @classmethod
    def at_shelf(
        cls,
        bundle: ServingBundle,
        user_id: str,
        at: int,
        shelf: str = DEFAULT,
        device: str | None = None,
        said: Said = NOTHING_SAID,
        blocked_items: np.ndarray = _NO_KEYS,
        blocked_creators: np.ndarray = _NO_KEYS,
        *,
        looks_back: bool = False,
        language: str | None = None,
    ) -> Scene:
        """A scene of its parts; `shelf` may be one of the log's own, `said` is what the request says of its person."""
        if shelf not in SHELVES and shelf not in bundle.log_shelves:
            known = ", ".join(dict.fromkeys([*SHELVES, *bundle.log_shelves]))
            raise BadRequest(f"shelf: must be one of {known}")
        log_shelf = in_log(bundle, shelf)
        shelf_code, device_code = _codes(log_shelf, device)
        return cls(
            user_id=user_id,
            shelf_name=shelf,
            shelf=shelf_of(shelf, bundle.come_back),
            log_shelf=log_shelf,
            shelf_code=shelf_code,
            device=device,
            device_code=device_code,
            at=at,
            said=said.over(bundle.people.said(key64([user_id]), np.array([at]))) if bundle.people.words.size else said,
            looks_back=looks_back,
            language=language,
            blocked_items=blocked_items,
            blocked_creators=blocked_creators,
        )

    def features(self, read: Read, places: tuple[int, ...] | None = None) -> np.ndarray:
        """float32[k, F] of a read, or those of some places; every item is ranked as if it were the first of a slate."""
        if places is not None and not of_context(places):
            return derive(read.aggregates, None, places)
        context = Context(
            as_of=self.at,
            shelf=self.shelf_code,
            device=self.device_code,
            slot=0,
            item=read.item,
            about=self.said.columns(read.item.category_key),
        )
        return derive(read.aggregates, context, places)

    def inputs(self, read: Read) -> Inputs:
        """What the ranker is asked about the k items of a read."""
        return ReadInputs(self, read)

    def blocking(self, kept: Blocked) -> Scene:
        """The same, less what its user blocked."""
        if not len(kept.items) and not len(kept.creators):
            return self
        items, creators = np.union1d(self.blocked_items, kept.items), np.union1d(self.blocked_creators, kept.creators)
        return replace(self, blocked_items=items, blocked_creators=creators)

    def ask(self, read: Read) -> Ask:
        """What the candidate sources are asked, from the read that brought the history."""
        every = len(self.shelf.item_types) == len(ITEM_TYPES)
        item_keys, kinds, occurred_at = read.history.engaged().row(0)
        return Ask(
            at=self.at,
            shelf=self.shelf_name,
            item_keys=item_keys,
            kinds=kinds,
            occurred_at=occurred_at,
            features=self.features(read)[0],
            seen=self.seen(read.judged),
            item_types=() if every else self.shelf.item_types,
            sources=self.shelf.sources,
            unit=self.shelf.unit,
            judged=read.judged,
            about=np.concatenate([self.said.words[0], words_of_query(read.judged.last_searched()).ravel()]),
        )

    def units(self, bundle: ServingBundle, rows: np.ndarray) -> np.ndarray:
        """int64[n]: what takes a place on this shelf, of catalogue rows."""
        return bundle.retriever.unit_key[self.shelf.unit][rows]

    def asked(self, bundle: ServingBundle, pool: Pool, judged: Judged, inputs: Inputs) -> Asked:
        """Candidates as whoever orders the shelf sees them, with the inputs that were read of them."""
        return Asked(
            inputs, pool.fused, lambda: habits_of(bundle.retriever, self.shelf.unit, judged, pool.rows, self.at)
        )

    def seen(self, judged: Judged) -> np.ndarray:
        """Keys of what a person judged so that it must not come back, int64."""
        return seen_items(judged, self.shelf, self.at)

    def audience(self, seen: np.ndarray) -> Audience:
        """For whom candidates are filtered; `seen`: of the method of that name."""
        return Audience(
            self.shelf,
            self.at,
            seen=seen,
            blocked_items=self.blocked_items,
            blocked_creators=self.blocked_creators,
        )


class ReadInputs(Inputs):
    """Inputs of a read. Features are derived when they are asked for: of 500 candidates an order may look at seven."""

    _scene: Scene
    _read: Read

    def __init__(self, scene: Scene, read: Read) -> None:
        history = read.history_of(len(read.item_keys))  # a slice of it would be solved anew for the shown rows
        self.__dict__.update(item_key=read.item_keys, history=history, _scene=scene, _read=read)

    @cached_property
    def features(self) -> np.ndarray:
        return self._scene.features(self._read)

    @property
    def width(self) -> int:
        return len(FEATURES)

    def columns(self, places: tuple[int, ...]) -> np.ndarray:
        return self._scene.features(self._read, places)

    def again(self, read: Read) -> Read | None:
        """A later read of the same user, with the arrays of this one's history; None where that or what is said of
        items is another.
        """
        before = self._read
        if read.position != before.position:
            mine, theirs = ((*one.history_of(1)[:3], *one.judged) for one in (before, read))
            same = all(np.array_equal(ours, now) for ours, now in zip(mine, theirs, strict=True))
            if not same or read.item_records != before.item_records:
                return None
        return read._replace(
            history_item_keys=before.history_item_keys,
            history_kinds=before.history_kinds,
            history_occurred_at=before.history_occurred_at,
        )

    def take(self, rows: np.ndarray | slice) -> Inputs:
        return ReadInputs(self._scene, self._read.of_items(rows))


def habits_of(retriever: Retriever, unit: Unit, judged: Judged, rows: np.ndarray, at: int) -> np.ndarray:
    """float64[n, len(habits.COLUMNS)] of catalogue rows, by what a person judged and played before an instant."""
    played, going = (retriever.units(keys, unit) for keys in (judged.plays[:, 0], judged.in_progress()))
    return habits.columns(judged, played, going, retriever.unit_key[unit][rows], retriever.item_keys[rows], at)


class KnownBlocks:
    """What users blocked, as it was read here last, for when the store cannot be asked; users without are not kept."""

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._users: OrderedDict[str, Blocked] = OrderedDict()

    def put(self, user_id: str, kept: Blocked) -> None:
        with self._lock:
            self._users.pop(user_id, None)
            if len(kept.items) or len(kept.creators):
                self._users[user_id] = kept
                if len(self._users) > self._most:
                    self._users.popitem(last=False)

    def on(self, scene: Scene) -> Scene:
        """The scene, less what its user is known to have blocked."""
        with self._lock:
            kept = self._users.get(scene.user_id)
        return scene if kept is None else scene.blocking(kept)
