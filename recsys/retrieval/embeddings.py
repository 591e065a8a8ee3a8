"""The catalogue's vectors as a table, and the rows of the index made from it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from recsys.features.log import items_from_table
from recsys.retrieval.item_index import IndexedItems
from recsys.retrieval.text import with_content
from recsys.retrieval.two_tower import QueryTower


def embed(tower: QueryTower, items: pa.Table) -> pa.Table:
    """Cleaned items by item id; `embedding` is the tower's (list of float32), of each, seen in training or not.

    The one that an item was given, if any, is what the tower read.
    """
    items = items.sort_by("item_id")
    catalogue = with_content(items_from_table(items), items, tower.given_length)
    keys = items["item_key"].combine_chunks().to_numpy(zero_copy_only=False)
    vectors = tower.embed_items(catalogue)[np.searchsorted(catalogue.item_key, keys)]
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), tower.dim).cast(pa.list_(pa.float32()))
    names = [name for name in items.column_names if name != "embedding"]
    return items.select(names).append_column("embedding", column)


def indexed(embedded: pa.Table) -> IndexedItems:
    """Ids, types and vectors, checked: finite, of norm 1, one per item.

    Raises:
        ItemIndexError: they are not.
    """
    vectors = np.array(embedded["embedding"].to_pylist(), dtype=np.float32)
    return IndexedItems.of(embedded["item_id"].to_pylist(), embedded["item_type"].to_pylist(), vectors)
