"""The item index of a restored home: Milvus is in no backup, since bundles and lake hold every vector of it."""

from __future__ import annotations

import json

import pyarrow.parquet as pq

from recsys.lake import Lake
from recsys.registry import Registry
from recsys.retrieval.embeddings import indexed
from recsys.retrieval.item_index import MilvusIndex
from recsys.retrieval.milvus_server import ensure_milvus, stop_milvus
from recsys.settings import Settings


def publish_again(settings: Settings) -> int:
    """Publish the collections of the bundles in use, and at last the newest one; returns how many.

    Raises:
        MilvusServerError, ItemIndexError: Milvus does not take them; materialize item_index then.
    """
    lake = Lake(settings.home)
    registry = Registry(lake.registry)
    bundles = sorted(map(registry.get, registry.in_use()), key=lambda bundle: bundle.created_at)
    published = {bundle.facts.collection: (bundle.path / "items.parquet", bundle.facts.tower) for bundle in bundles}
    newest = lake.models / "item_index.json"
    if newest.exists():
        about = json.loads(newest.read_text())
        published.pop(about["collection"], None)
        published[about["collection"]] = lake.table("embeddings", "items"), about["tower"]
    if not published:
        return 0
    index = MilvusIndex(ensure_milvus(settings).uri)
    try:
        for collection, (table, tower) in published.items():
            version = collection.removeprefix("items__")
            index.publish(version, indexed(pq.read_table(table)), {"tower": tower}, keep=published)
    finally:
        index.close()
        if settings.milvus_uri is None:
            stop_milvus(settings)
    return len(published)
