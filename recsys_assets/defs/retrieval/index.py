"""The catalogue's vectors, published to Milvus as one version, and what the sources propose to the test users."""

import json

import dagster as dg

from recsys_assets.content import content
from recsys_assets.resources import Workspace


@dg.asset(deps=["two_tower", "items"], kinds={"torch", "parquet"}, owners=["team:recsys"])
def item_embeddings(workspace: Workspace) -> dg.MaterializeResult:
    """One unit vector per cleaned item, also for those nobody has seen yet."""
    from recsys.retrieval.embeddings import embed
    from recsys.retrieval.two_tower import QueryTower

    lake = workspace.lake
    tower = QueryTower.load(lake.models / "two_tower")
    table = embed(tower, lake.read(lake.table("cleaned", "items")))
    table = table.replace_schema_metadata({"tower": tower.fingerprint})
    rows = lake.write(table, lake.table("embeddings", "items"))
    return dg.MaterializeResult(
        metadata={"dagster/row_count": rows, "tower": tower.fingerprint, "dim": tower.dim},
        data_version=content(lake.table("embeddings", "items")),
    )


@dg.asset_check(asset="item_embeddings", blocking=True)
def every_item_has_one_unit_vector(workspace: Workspace) -> dg.AssetCheckResult:
    """Vectors are finite and of norm 1, one for each cleaned item and for nothing else."""
    from recsys.retrieval.embeddings import indexed
    from recsys.retrieval.item_index import ItemIndexError

    lake = workspace.lake
    items = set(lake.read(lake.table("cleaned", "items"), ["item_id"])["item_id"].to_pylist())
    try:
        vectors = indexed(lake.read(lake.table("embeddings", "items")))
    except ItemIndexError as error:
        return dg.AssetCheckResult(passed=False, description=str(error))
    return dg.AssetCheckResult(
        passed=set(vectors.item_ids) == items,
        description=f"{len(vectors.item_ids):,} vectors of {len(items):,} items",
    )


@dg.asset(deps=["item_embeddings"], kinds={"milvus"}, owners=["team:recsys"])
def item_index(workspace: Workspace) -> dg.MaterializeResult:
    """A Milvus collection of its own for this version, verified before the alias names it."""
    from recsys.lake import replacing
    from recsys.registry import Registry
    from recsys.retrieval.embeddings import indexed
    from recsys.retrieval.item_index import MilvusIndex
    from recsys.retrieval.milvus_server import ensure_milvus

    lake = workspace.lake
    embedded = lake.read(lake.table("embeddings", "items"))
    items, tower = indexed(embedded), embedded.schema.metadata[b"tower"].decode()
    index = MilvusIndex(ensure_milvus(workspace.settings).uri)
    try:
        registry = Registry(lake.registry)
        serving = {registry.get(bundle_id).facts.collection for bundle_id in registry.in_use()}
        version = f"{tower}_{items.content_hash[:8]}"
        collection = index.publish(version, items, {"tower": tower}, keep=serving)
        kept = index.collections()
    finally:
        index.close()
    facts = {"collection": collection, "tower": tower, "content_hash": items.content_hash, "rows": len(items.item_ids)}
    with replacing(lake.models / "item_index.json") as path:
        path.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")
    return dg.MaterializeResult(
        metadata={"dagster/row_count": len(items.item_ids), "collection": collection, "versions": ", ".join(kept)},
        data_version=content(lake.models / "item_index.json"),
    )


@dg.asset_check(asset="item_index", blocking=True)
def milvus_equals_the_mirror(workspace: Workspace) -> dg.AssetCheckResult:
    """Milvus holds every vector of the table, byte for byte, and answers as an exact search in memory does."""
    from recsys.retrieval.embeddings import indexed
    from recsys.retrieval.item_index import ItemIndexError, MilvusIndex
    from recsys.retrieval.milvus_server import ensure_milvus

    lake = workspace.lake
    collection = json.loads((lake.models / "item_index.json").read_text())["collection"]
    items = indexed(lake.read(lake.table("embeddings", "items")))
    index = MilvusIndex(ensure_milvus(workspace.settings).uri)
    try:
        index.verify(collection, items)
    except ItemIndexError as error:
        return dg.AssetCheckResult(passed=False, description=str(error))
    finally:
        index.close()
    return dg.AssetCheckResult(passed=True, description=f"{len(items.item_ids):,} items of {collection}")


@dg.asset(
    deps=["item_index", "two_tower", "training_set", "cleaned_events", "raw_users"],
    kinds={"numpy", "parquet"},
    owners=["team:recsys"],
)
def retrieval_candidates(workspace: Workspace) -> dg.MaterializeResult:
    """What every source and the fusion propose to each test user at the instant of the first test impression."""
    from recsys.cleaned.log import read_log
    from recsys.cleaned.people import people_of
    from recsys.cleaned.versions import item_history
    from recsys.retrieval import replay
    from recsys.retrieval.embeddings import indexed
    from recsys.retrieval.item_index import ExactMirror
    from recsys.retrieval.sources import Retriever, SourceData
    from recsys.retrieval.two_tower import QueryTower
    from recsys_assets.defs.retrieval.tables import split_tables

    lake = workspace.lake
    embedded = lake.read(lake.table("embeddings", "items"))
    mirror = ExactMirror(json.loads((lake.models / "item_index.json").read_text())["collection"], indexed(embedded))
    folder = lake.models / "two_tower"
    towers, data = QueryTower.load(folder), SourceData.load(folder)
    retriever = Retriever(towers, mirror, mirror.collection, embedded, data, item_history(lake))
    first = replay.first_requests(split_tables(lake)[-1])
    table = replay.replay(retriever, first, read_log(lake), people_of(lake))
    rows = lake.write(table, lake.table("retrieval", "candidates"))
    return dg.MaterializeResult(
        metadata={"dagster/row_count": rows, "requests": first.num_rows},
        data_version=content(lake.table("retrieval", "candidates")),
    )
