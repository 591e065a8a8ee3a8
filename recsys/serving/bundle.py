"""The bundle in service: everything an answer is made of as one immutable object, swapped by one reference.

A worker asks the registry every second which bundle is champion. A new one is loaded, held against the online store and
the item index and tried once, all beside the one in service; only then it takes its place. One that does not pass is
refused and named, and the old one stays.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.policy.filters import Candidates
from recsys.ranking.ranker import Ranker, load_ranker
from recsys.registry import Bundle, Facts, Registry, RegistryError
from recsys.retrieval.item_index import (
    ExactMirror,
    IndexedItems,
    ItemIndex,
    ItemIndexError,
    MilvusIndex,
)
from recsys.retrieval.sources import Retriever, SourceData, SourceDataError
from recsys.retrieval.two_tower import QueryTower, TowerError

MIRROR_ROWS: Final = 200_000  # 100k x 64 are searched in 2-3 ms in memory; beyond this Milvus itself is faster
POLL_SECONDS: Final = 1.0
log = logging.getLogger("recsys.serving")


class BundleRefused(RuntimeError):
    """A bundle must not go into service; the message says why."""


@dataclass(frozen=True)
class Catalogue:
    """The items of a bundle by row, ascending by item id."""

    item_id: tuple[str, ...]
    row: Mapping[str, int]  # item id -> row
    candidates: Candidates  # columns of every item, for the filters
    category_key: np.ndarray  # int64[n]
    category: Sequence[str | None]  # its name, or only a number where the source has no more

    def ids(self, rows: np.ndarray) -> list[str]:
        """Id of each row."""
        item_id = self.item_id
        return [item_id[row] for row in rows.tolist()]

    def rows(self, item_ids: Sequence[str]) -> np.ndarray:
        """Row of each id that is known, int64; unknown ids are left out."""
        return np.array([self.row[i] for i in item_ids if i in self.row], dtype=np.int64)


@dataclass(frozen=True)
class ServingBundle:
    """One loaded bundle."""

    bundle_id: str
    facts: Facts
    retriever: Retriever
    ranker: Ranker
    catalogue: Catalogue

    @property
    def log_shelves(self) -> Sequence[str]:
        """Shelves of the log it learned from, busiest first."""
        return self.retriever.data.log_shelves


def load(bundle: Bundle, milvus: MilvusIndex | None, held: str, registry: Registry) -> ServingBundle:
    """Verify every byte of a bundle, load it and try it once.

    Args:
        milvus: the published item index; None, or one that does not answer, leaves the bundle's own copy of it.
        held: fingerprint of the features the online store holds.

    Raises:
        BundleRefused: for whatever is wrong with it.
    """
    try:
        registry.verify(bundle, held)
        tower = QueryTower.load(bundle.path / "query_tower")
        ranker = load_ranker(bundle.path / "ranker")
        sources = SourceData.load(bundle.path / "sources")
        table = pq.read_table(bundle.path / "items.parquet").sort_by("item_id")
        index = _index(bundle, table, milvus)
        retriever = Retriever(tower, index, bundle.facts.collection, table, sources)
    except KeyError as error:
        raise BundleRefused(f"bundle {bundle.bundle_id}: {error} is missing in it") from None
    except (
        RegistryError,
        TowerError,
        SourceDataError,
        ItemIndexError,
        OSError,
        ValueError,
    ) as error:
        raise BundleRefused(f"bundle {bundle.bundle_id}: {error}") from error
    if tower.fingerprint != bundle.facts.tower:
        raise BundleRefused(f"bundle {bundle.bundle_id}: its tower is {tower.fingerprint}, not {bundle.facts.tower}")
    if ranker.fingerprint != bundle.facts.features:
        raise BundleRefused(f"bundle {bundle.bundle_id}: its ranker knows features {ranker.fingerprint}")
    ranker.predict(np.zeros((2, len(ranker.feature_names)), dtype=np.float32))
    return ServingBundle(bundle.bundle_id, bundle.facts, retriever, ranker, _catalogue(table))


def _index(bundle: Bundle, table: pa.Table, milvus: MilvusIndex | None) -> ItemIndex:
    """The collection searched in memory while it is small, equal to what Milvus holds whenever Milvus has it.

    A bundle carries its embeddings: one rolled back to, whose collection was dropped since, serves all the same.
    """
    vectors = np.stack(table["embedding"].to_numpy(zero_copy_only=False)).astype(np.float32)
    items = IndexedItems.of(table["item_id"].to_pylist(), table["item_type"].to_pylist(), vectors)
    collection = bundle.facts.collection
    if milvus is not None:
        try:
            published = milvus.facts(collection)
            if published.get("state") != "ready" or published.get("content_hash") != items.content_hash:
                raise BundleRefused(
                    f"bundle {bundle.bundle_id}: {collection} in Milvus does not hold its embeddings: "
                    "materialize item_index and bundle again"
                )
            if len(items.item_ids) > MIRROR_ROWS:
                return milvus
        except ItemIndexError as error:  # not there any more, or Milvus does not answer
            log.warning("bundle %s: %s; its own embeddings serve", bundle.bundle_id, error)
    if len(items.item_ids) > MIRROR_ROWS:
        raise BundleRefused(f"bundle {bundle.bundle_id}: its {len(items.item_ids)} items need Milvus, which lacks them")
    return ExactMirror(collection, items)


def _catalogue(table: pa.Table) -> Catalogue:
    ids = table["item_id"].to_pylist()
    return Catalogue(
        item_id=tuple(ids),
        row={item_id: row for row, item_id in enumerate(ids)},
        candidates=Candidates(
            item_key=table["item_key"].to_numpy(),
            creator_key=table["creator_key"].to_numpy(),
            item_type=table["item_type_code"].to_numpy().astype(np.int64),
            is_available=table["is_available"].to_numpy(zero_copy_only=False).astype(bool),
            published_at=table["published_at"].to_numpy(),
        ),
        category_key=table["category_key"].to_numpy(),
        category=table["category"].to_pylist(),
    )


class ChampionWatch:
    """Holds the champion in service and follows the registry."""

    def __init__(self, registry: Registry, loading: Callable[[Bundle], ServingBundle]) -> None:
        self._registry = registry
        self._loading = loading
        self._refused: tuple[str, str] | None = None
        self._stop = threading.Event()
        champion = registry.champion()
        if champion is None:
            raise BundleRefused("no bundle yet: run `make run` first")
        self._current = loading(champion)
        self._thread = threading.Thread(target=self._watch, name="champion", daemon=True)

    def start(self, seconds: float = POLL_SECONDS) -> None:
        """Follow the alias from now on, in a thread of its own."""
        self._seconds = seconds
        self._thread.start()

    @property
    def current(self) -> ServingBundle:
        """The bundle in service. A request reads this once and keeps what it got."""
        return self._current

    @property
    def refused(self) -> str | None:
        """Why the registry's champion is not the bundle in service, None when it is."""
        return self._refused[1] if self._refused else None

    def look(self) -> bool:
        """Adopt the registry's champion if it is another one; True when the bundle in service changed."""
        bundle_id = self._registry.alias_id()
        if bundle_id is None or bundle_id == self._current.bundle_id:
            self._refused = None
            return False
        if self._refused and self._refused[0] == bundle_id:
            return False  # refused already, and a bundle never changes
        try:
            loaded = self._loading(self._registry.get(bundle_id))
        except (BundleRefused, RegistryError) as error:
            self._refused = (bundle_id, str(error))
            log.error("%s; %s stays in service", error, self._current.bundle_id)
            return False
        self._current, self._refused = loaded, None
        log.info("bundle %s is in service", bundle_id)
        return True

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
