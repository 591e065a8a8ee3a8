"""Items newer than the bundle in service: embedded by its tower and added to its catalogue, within seconds.

The store's log is where metadata arrives, so every worker sees the same items, and the tower gives all of them the same
vectors; a worker adds them to Milvus too, beside the bundle's collection, for whoever else searches there. A bundle
with late items is another immutable object with the same id: rows, filters, sources and ranker treat
a late item as any other. An item whose attributes changed (one taken offline, say) is replaced the same way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.cleaned.keyed import keyed_items
from recsys.features.log import items_from_table
from recsys.privacy.border import put
from recsys.retrieval.item_index import ExactMirror, Hits, IndexedItems, ItemIndex
from recsys.retrieval.sources import Retriever, SourceData
from recsys.retrieval.text import with_content
from recsys.serving.bundle import ServingBundle, catalogue_of

SAME_VECTOR: Final = 1e-5  # a tower rounds differently in batches of other sizes


class Supplemented:
    """An item index and the few items that are newer than it."""

    def __init__(self, index: ItemIndex, late: ExactMirror) -> None:
        self._index, self.late = index, late
        self._replaced = frozenset(late.items.item_ids)

    @property
    def in_memory(self) -> bool:
        """See `ItemIndex.in_memory`."""
        return self._index.in_memory

    def search(self, collection: str, vector: np.ndarray, k: int, item_type: str | None = None) -> Hits:
        """See `ItemIndex.search`."""
        old = self._index.search(collection, vector, k + len(self._replaced), item_type)
        new = self.late.search(collection, vector, k, item_type)
        kept = [i for i, item_id in enumerate(old.item_ids) if item_id not in self._replaced]
        ids = [*(old.item_ids[i] for i in kept), *new.item_ids]
        scores = np.concatenate([old.scores[kept], new.scores])
        best = sorted(range(len(ids)), key=lambda i: (-scores[i], ids[i]))[:k]
        return Hits([ids[i] for i in best], scores[best])


def with_late(bundle: ServingBundle, items: pa.Table) -> ServingBundle:
    """The bundle with those of `items` (ITEM_SCHEMA) that it lacks or has with other attributes; itself without any."""
    if not items.num_rows:
        return bundle
    tower = bundle.retriever.tower
    late = keyed_items(put(items, "is_available", pc.fill_null(items["is_available"], True)))
    known = with_content(items_from_table(late), late, tower.given_length)
    vectors = tower.embed_items(known)[np.searchsorted(known.item_key, late["item_key"].to_numpy())]
    newer = _newer(bundle, late, vectors)
    if not newer.any():
        return bundle
    late, vectors = late.filter(pa.array(newer)), vectors[newer]
    indexed = IndexedItems.of(late["item_id"].to_pylist(), late["item_type"].to_pylist(), vectors)
    late = late.drop_columns("embedding")  # the one it was given: the bundle holds what the tower made of it
    late = late.append_column("embedding", pa.array(list(vectors), bundle.items.schema.field("embedding").type))
    kept = bundle.items.filter(pc.invert(pc.is_in(bundle.items["item_id"], value_set=late["item_id"].combine_chunks())))
    table = pa.concat_tables([kept, late.select(bundle.items.column_names).cast(bundle.items.schema)])
    table = table.sort_by("item_id").combine_chunks()
    collection = bundle.facts.collection
    index = Supplemented(bundle.retriever.index, ExactMirror(collection, indexed))
    sources = _moved(bundle.retriever.data, bundle.items, table)
    retriever = Retriever(tower, index, collection, table, sources)
    return replace(bundle, retriever=retriever, catalogue=catalogue_of(table), items=table)


def _newer(bundle: ServingBundle, late: pa.Table, vectors: np.ndarray) -> np.ndarray:
    """Which items are late, or changed in a column that the bundle keeps or (by their tags, say) in their vector."""
    held = dict(zip(bundle.catalogue.item_id, range(len(bundle.catalogue.item_id)), strict=True))
    names = [name for name in bundle.items.column_names if name != "embedding"]
    rows = [held.get(item_id, -1) for item_id in late["item_id"].to_pylist()]
    before = bundle.items.take(pa.array([max(row, 0) for row in rows], pa.int64()))
    pairs = zip(rows, before.select(names).to_pylist(), late.select(names).to_pylist(), strict=True)
    differs = np.array([row < 0 or old != new for row, old, new in pairs], bool)
    old = np.array(before["embedding"].to_pylist(), np.float32).reshape(vectors.shape)
    return differs | (np.abs(old - vectors).max(axis=1) > SAME_VECTOR)


def _moved(data: SourceData, before: pa.Table, after: pa.Table) -> SourceData:
    """What the sources know, by the rows of the larger catalogue; a late item has no neighbours yet."""
    item_keys = after["item_key"].to_numpy()
    place = {item_id: row for row, item_id in enumerate(after["item_id"].to_pylist())}
    moved = np.array([place[item_id] for item_id in before["item_id"].to_pylist()], dtype=np.int32)
    neighbours = np.full((len(item_keys), data.neighbours.shape[1]), -1, dtype=np.int32)
    similarity = np.zeros(neighbours.shape, dtype=np.float32)
    neighbours[moved] = np.where(data.neighbours >= 0, moved[data.neighbours], -1)
    similarity[moved] = data.similarity
    return replace(data, item_keys=item_keys, neighbours=neighbours, similarity=similarity)
