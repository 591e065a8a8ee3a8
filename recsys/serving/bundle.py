"""A bundle in service: everything an answer is made of as one immutable object, loaded, verified and tried once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.features.people import NO_ONE, People
from recsys.policy.filters import Candidates
from recsys.policy.shelves import DEFAULT, SHELVES
from recsys.ranking.orders import ByRanker, Order, default_order, load_order
from recsys.ranking.ranker import LABEL_OF, Ranker
from recsys.ranking.saved import load_serving
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
from recsys.serving.about_log import AboutLog
from recsys.training_sets.inputs import Inputs

MIRROR_ROWS: Final = 200_000  # 100k x 64 are searched in 2-3 ms in memory; beyond this Milvus itself is faster
ORDERS: Final = "shelves"  # folder of a bundle: an order a shelf that has one of its own
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
    is_integer: frozenset[str]  # ids that are answered as JSON integers

    def ids(self, rows: np.ndarray) -> list[str]:
        """Id of each row."""
        item_id = self.item_id
        return [item_id[row] for row in rows.tolist()]

    def written(self, item_id: str) -> str | int:
        """An id in the JSON type in which it first came."""
        return int(item_id) if item_id in self.is_integer else item_id

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
    items: pa.Table  # assemble.COLUMNS and `embedding`, ascending by item id
    about_log: AboutLog = field(default_factory=AboutLog)
    orders: Mapping[str, Order] = field(default_factory=dict)  # by shelf, of those with one of their own
    people: People = NO_ONE  # what is kept of users: of the home, not of the bundle, so that they can be forgotten
    late_records: int = 0  # records of items in the store's log that are in it beside its own (late.with_late)

    @property
    def log_shelves(self) -> Sequence[str]:
        """Shelves of the log it learned from, busiest first."""
        return self.retriever.data.log_shelves

    def order(self, shelf: str) -> Order:
        """Who orders a shelf; one of the log's own goes by the default's."""
        name = shelf if shelf in SHELVES else DEFAULT
        return self.orders.get(name) or default_order(SHELVES[name], self.ranker)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """Unit vectors of catalogue rows by the item tower, float32[n, d]."""
        return np.stack(self.items["embedding"].take(rows).to_numpy(zero_copy_only=False)).astype(np.float32)

    @cached_property
    def titles(self) -> pa.Array:
        """By catalogue row."""
        return self.items["title"].combine_chunks()

    @cached_property
    def creators(self) -> pa.Array:
        """Id of each creator, by catalogue row."""
        return self.items["creator_id"].combine_chunks()

    @property
    def come_back(self) -> bool:
        """Whether the people of that log came back to what they engaged with."""
        return self.retriever.data.repeats.come_back


def load(
    bundle: Bundle,
    milvus: MilvusIndex | None,
    held: str,
    registry: Registry,
    mirror_rows: int = MIRROR_ROWS,
    people: People = NO_ONE,
) -> ServingBundle:
    """Verify every byte of a bundle, load it and try it once.

    Args:
        milvus: the published item index; None, or one that does not answer, leaves the bundle's own copy of it.
        held: fingerprint of the features the online store holds.
        mirror_rows: catalogues up to this size are searched in memory, larger ones in Milvus.

    Raises:
        BundleRefused: for whatever is wrong with it.
    """
    try:
        registry.verify(bundle, held)
        tower = QueryTower.load(bundle.path / "query_tower")
        ranker = load_serving(bundle.path)
        sources = SourceData.load(bundle.path / "sources")
        about = AboutLog.load(bundle.path)
        orders = saved_orders(bundle.path / ORDERS, ranker)
        table = pq.read_table(bundle.path / "items.parquet").sort_by("item_id")
        index = _index(bundle, table, milvus, mirror_rows)
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
    strangers = Inputs.of_strangers(np.zeros((2, len(ranker.feature_names)), dtype=np.float32))
    tried = ranker.predict(strangers).columns()
    learned = ["score", *(name for name, label in LABEL_OF.items() if label in ranker.labels)]
    if not all(np.isfinite(tried[name]).all() for name in learned):
        raise BundleRefused(f"bundle {bundle.bundle_id}: its ranker predicts values that are not finite")
    return ServingBundle(
        bundle.bundle_id, bundle.facts, retriever, ranker, catalogue_of(table), table, about, orders, people
    )


def saved_orders(folder: Path, ranker: Ranker) -> dict[str, Order]:
    """The orders that a bundle with that ranker brings, by shelf; those of shelves that are no more are left out.

    Raises:
        RankerError: one is not readable.
    """
    return {
        name: load_order(folder / name, ByRanker(ranker, shelf.weights))
        for name, shelf in SHELVES.items()
        if (folder / name).is_dir()
    }


def _index(bundle: Bundle, table: pa.Table, milvus: MilvusIndex | None, mirror_rows: int) -> ItemIndex:
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
            if len(items.item_ids) > mirror_rows:
                return milvus
        except ItemIndexError as error:  # not there any more, or Milvus does not answer
            log.warning("bundle %s: %s; its own embeddings serve", bundle.bundle_id, error)
    if len(items.item_ids) > mirror_rows:
        raise BundleRefused(f"bundle {bundle.bundle_id}: its {len(items.item_ids)} items need Milvus, which lacks them")
    return ExactMirror(collection, items)


def catalogue_of(table: pa.Table) -> Catalogue:
    """The columns that requests look at, by row of `table`."""
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
        is_integer=frozenset(table.filter(table["id_is_integer"])["item_id"].to_pylist()),
    )
