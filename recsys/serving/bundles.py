"""Which bundle answers whom: the champion, and the arms of experiments.

A worker asks the registry every second. A new bundle is loaded, held against the online store and the item index and
tried once, all beside those in service; only then it takes its place, by one reference. One that does not pass is
refused and named, and the old one stays.

An experiment's users are answered by the bundle of their arm, which is a hash of their id and the experiment's salt
(experiments/record.py). For some of the others its last arm ranks unseen, as a shadow: what it differs in from the
answer that is given is told to whoever listens.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

import pyarrow as pa

from recsys.experiments.record import Experiment
from recsys.registry import Bundle, Registry, RegistryError
from recsys.retrieval.item_index import IndexedItems, ItemIndexError
from recsys.serving.bundle import BundleRefused, ServingBundle
from recsys.serving.course import Role
from recsys.serving.late import Supplemented, with_late
from recsys.store.errors import StoreError

POLL_SECONDS: Final = 1.0
SHARE_AGAIN_SECONDS: Final = 10.0  # Milvus did not answer; each attempt takes up to its time-out
log = logging.getLogger("recsys.serving")


class Choice(NamedTuple):
    """The bundle that answers, and one that ranks unseen beside it."""

    bundle: ServingBundle
    role: Role = "champion"
    shadow: ServingBundle | None = None
    beside: ServingBundle | None = None  # whose ranking the slate mixes in


class Bundles(Protocol):
    """Who knows the bundles in service."""

    @property
    def current(self) -> ServingBundle:
        """The champion."""
        ...

    @property
    def refused(self) -> str | None:
        """Why the registry's champion or an arm is not in service, None when all are."""
        ...

    @property
    def late_items(self) -> int:
        """Items in the champion's catalogue that its bundle lacks."""
        ...

    def of(self, user_id: str) -> Choice:
        """The bundle that answers this user."""
        ...

    def base(self, bundle_id: str) -> ServingBundle | None:
        """A bundle in service as it was published, without late items; None when it is not in service."""
        ...

    def close(self) -> None: ...


class Fixed:
    """One bundle that never changes."""

    refused = None
    late_items = 0

    def __init__(self, current: ServingBundle) -> None:
        self.current = current

    def of(self, user_id: str) -> Choice:
        return Choice(self.current)

    def base(self, bundle_id: str) -> ServingBundle | None:
        return self.current if self.current.bundle_id == bundle_id else None

    def close(self) -> None:
        """Nothing to let go of."""


class _InService(NamedTuple):
    """What a request reads once."""

    champion: ServingBundle
    trials: tuple[Experiment, ...] = ()
    arms: Mapping[str, ServingBundle] = {}  # their bundles, by id; one that is refused is not in it


class BundleWatch:
    """Holds the bundles in service and follows the registry."""

    def __init__(
        self,
        registry: Registry,
        loading: Callable[[Bundle], ServingBundle],
        late: Callable[[], tuple[int, pa.Table]] | None = None,
        share: Callable[[str, IndexedItems], None] | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """
        Args:
            late: items newer than any bundle, and a number that grows with them (OnlineStore.late_items)
            share: takes late items and the collection beside which they belong (MilvusIndex.add_late)
            clock: UTC ms now, by which experiments begin, widen and end
        """
        self._registry = registry
        self._loading = loading
        self._late = late
        self._share = share
        self._clock = clock
        self._wrong: list[str] = []  # experiments that cannot be read
        self._shared: dict[str, dict[str, bytes]] = {}  # by collection: late items that it has, and their vectors
        self._share_from = 0.0  # not before that instant (monotonic)
        self._bases: dict[str, ServingBundle] = {}  # as loaded, by id
        self._grown: dict[str, tuple[int, ServingBundle]] = {}  # with late items, by id; and their number
        self._refused: dict[str, str] = {}  # bundle -> why; it never changes, so it is not tried again
        self._wanted: tuple[str | None, ...] = ()
        self._stop = threading.Event()
        champion = registry.champion()
        if champion is None:
            raise BundleRefused("no bundle yet: run `make run` first")
        base = self._bases[champion.bundle_id] = loading(champion)
        self._now = _InService(self._with_late(base))
        self._thread = threading.Thread(target=self._watch, name="bundles", daemon=True)

    def start(self, seconds: float = POLL_SECONDS) -> None:
        """Follow the registry from now on, in a thread of its own."""
        self._seconds = seconds
        self._thread.start()

    @property
    def current(self) -> ServingBundle:
        return self._now.champion

    @property
    def refused(self) -> str | None:
        reasons = [self._refused[bundle_id] for bundle_id in self._wanted if bundle_id in self._refused]
        return "; ".join([*reasons, *self._wrong]) or None

    @property
    def late_items(self) -> int:
        champion = self._now.champion
        base = self._bases.get(champion.bundle_id, champion)
        return champion.items.num_rows - base.items.num_rows

    def of(self, user_id: str) -> Choice:
        now = self._now
        if not now.trials:
            return Choice(now.champion)
        at, bundle, unseen, beside = self._clock(), None, None, None
        for trial in now.trials:
            arm = trial.arm_of(user_id, at)
            if arm is None or bundle is not None:
                continue
            if trial.kind == "interleave":
                control, other = (now.arms.get(bundle_id) for bundle_id in trial.arms.values())
                if control is not None and other is not None:  # with one alone there is nothing to mix
                    bundle, beside = control, other
            else:
                bundle = now.arms.get(trial.arms[arm])
        bundle = bundle or now.champion
        for trial in now.trials:
            if bundle.bundle_id != trial.tried and trial.ranks_unseen(user_id, at):
                unseen = unseen or now.arms.get(trial.tried)
        return Choice(bundle, "champion" if bundle.bundle_id == now.champion.bundle_id else "canary", unseen, beside)

    def base(self, bundle_id: str) -> ServingBundle | None:
        return self._bases.get(bundle_id)

    def look(self) -> bool:
        """Adopt what the registry names; True when something in service changed."""
        before = self._now
        champion_id = self._registry.alias_id()
        trials, self._wrong = self._registry.experiments.running()
        arms = {bundle_id for trial in trials for bundle_id in trial.arms.values()}
        self._wanted = (champion_id, *sorted(arms))
        self._refused = {bundle_id: why for bundle_id, why in self._refused.items() if bundle_id in self._wanted}
        champion = self._loaded(champion_id) or before.champion
        tried = {bundle_id: bundle for bundle_id in sorted(arms) if (bundle := self._loaded(bundle_id)) is not None}
        self._now = _InService(champion, tuple(trials), tried)
        of_id = {**tried, champion.bundle_id: champion}
        kept = of_id.keys()
        self._bases = {bundle_id: base for bundle_id, base in self._bases.items() if bundle_id in kept}
        self._grown = {bundle_id: grown for bundle_id, grown in self._grown.items() if bundle_id in kept}
        serving = list(of_id.values())
        self._shared = {b.facts.collection: self._shared.get(b.facts.collection, {}) for b in serving}
        for bundle in serving:
            self._share_late(bundle)
        if before.champion.bundle_id != champion.bundle_id:
            log.info("champion is bundle %s now", champion.bundle_id)
        if before.trials != self._now.trials:
            log.info("experiments: %s", ", ".join(trial.name for trial in trials) or "none")
        return before.champion is not champion or before.trials != self._now.trials

    def _loaded(self, bundle_id: str | None) -> ServingBundle | None:
        """The bundle of that id with the items that are newer than it; None where there is none or it is refused."""
        if bundle_id is None or bundle_id in self._refused:
            return None
        if bundle_id not in self._bases:
            try:
                self._bases[bundle_id] = self._loading(self._registry.get(bundle_id))
            except (BundleRefused, RegistryError) as error:
                self._refused[bundle_id] = str(error)
                log.error("%s; %s stays in service", error, self._now.champion.bundle_id)
                return None
        return self._with_late(self._bases[bundle_id])

    def _with_late(self, base: ServingBundle) -> ServingBundle:
        """The bundle and the late items there are now, made once."""
        number, grown = self._grown.get(base.bundle_id, (0, base))
        if self._late is None:
            return base
        try:
            records, items = self._late()
            if records != number:
                grown = replace(with_late(base, items), late_records=records)
                self._grown[base.bundle_id] = (records, grown)
        except (StoreError, ItemIndexError) as error:
            log.error("new items cannot be taken up now: %s", error)
        return grown

    def _share_late(self, bundle: ServingBundle) -> None:
        """Hand on the late items that are new or changed; answers do not wait for it, and do not need it."""
        index = bundle.retriever.index
        if self._share is None or not isinstance(index, Supplemented) or time.monotonic() < self._share_from:
            return
        items = index.late.items
        vectors = {item_id: row.tobytes() for item_id, row in zip(items.item_ids, items.vectors, strict=True)}
        shared = self._shared[bundle.facts.collection]
        fresh = [row for row, item_id in enumerate(items.item_ids) if shared.get(item_id) != vectors[item_id]]
        if not fresh:
            return
        try:
            ids, types = ([column[row] for row in fresh] for column in (items.item_ids, items.item_types))
            self._share(bundle.facts.collection, IndexedItems.of(ids, types, items.vectors[fresh]))
        except ItemIndexError as error:
            log.warning("%d new items are not in Milvus yet: %s", len(fresh), error)
            self._share_from = time.monotonic() + SHARE_AGAIN_SECONDS
        else:
            shared.update(vectors)

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _watch(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.look()
            except Exception as error:  # a registry that cannot be read now may be read in a second
                log.error("the registry cannot be read: %s", type(error).__name__)
