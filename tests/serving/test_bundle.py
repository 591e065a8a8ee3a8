"""Bundles in service: swapped by one reference, refused when they do not fit, never half adopted."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from pathlib import Path

import pytest

from recsys.features import catalog
from recsys.lake import Lake
from recsys.registry import Bundle, Registry
from recsys.retrieval.item_index import IndexedItems, MilvusIndex
from recsys.retrieval.milvus_server import ensure_milvus
from recsys.serving.bundle import BundleRefused, ServingBundle, load
from recsys.serving.bundles import BundleWatch
from tests.serving.world import World


@pytest.fixture
def registry(world: World, tmp_path: Path) -> Registry:
    """A registry of its own with the world's two bundles, the first of them champion."""
    shutil.copytree(Lake(world.settings.home).registry, tmp_path / "registry")
    return Registry(tmp_path / "registry")


@pytest.fixture
def milvus(world: World) -> MilvusIndex:
    return MilvusIndex(ensure_milvus(world.settings).uri)


def loading(registry: Registry, milvus: MilvusIndex | None, held: str = catalog.FINGERPRINT) -> object:
    return lambda bundle: load(bundle, milvus, held, registry)


def altered(registry: Registry, bundle: Bundle, folder: Path, **facts: str) -> Bundle:
    """The same parts under other facts, registered; copied without the manifest."""
    shutil.copytree(bundle.path, folder, ignore=shutil.ignore_patterns("manifest.json"))
    return registry.register(folder, dataclasses.replace(bundle.facts, **facts))


def test_a_promoted_bundle_takes_over_and_a_rollback_brings_the_old_one_back(
    world: World, registry: Registry, milvus: MilvusIndex
) -> None:
    watch = BundleWatch(registry, loading(registry, milvus))  # type: ignore[arg-type]
    before = watch.current
    assert before.bundle_id == world.champion.bundle_id and not watch.look()
    registry.promote(world.other.bundle_id)
    assert watch.look() and watch.current.bundle_id == world.other.bundle_id
    assert before.bundle_id == world.champion.bundle_id  # a request that began with it keeps all of it
    registry.rollback()
    assert watch.look() and watch.current.bundle_id == world.champion.bundle_id


def test_the_watch_follows_by_itself(world: World, registry: Registry) -> None:
    adopted = threading.Event()

    def noted(bundle: Bundle) -> ServingBundle:
        loaded = load(bundle, None, catalog.FINGERPRINT, registry)
        if bundle.bundle_id == world.other.bundle_id:
            adopted.set()
        return loaded

    watch = BundleWatch(registry, noted)
    watch.start(seconds=0.05)
    registry.promote(world.other.bundle_id)
    assert adopted.wait(20)
    watch.close()
    assert watch.current.bundle_id == world.other.bundle_id


@pytest.mark.parametrize("damage", ["collection", "tower", "ranker", "bytes", "sources"])
def test_a_bundle_that_does_not_fit_is_refused_and_the_old_one_stays(
    world: World, registry: Registry, milvus: MilvusIndex, tmp_path: Path, damage: str
) -> None:
    watch = BundleWatch(registry, loading(registry, milvus))  # type: ignore[arg-type]
    if damage == "collection":
        held = milvus.read(world.champion.facts.collection)
        others = IndexedItems.of(held.item_ids, held.item_types, held.vectors[::-1])
        collection = milvus.publish("others", others, {}, keep={world.champion.facts.collection})
        bad = altered(registry, world.other, tmp_path / "bad", collection=collection)
    elif damage == "tower":
        bad = altered(registry, world.other, tmp_path / "bad", tower="t", index_tower="t")
    elif damage == "ranker":
        bad = altered(registry, world.other, tmp_path / "bad", features="f", ranker_features="f")
    elif damage == "sources":
        shutil.copytree(world.other.path, tmp_path / "bad", ignore=shutil.ignore_patterns("manifest.json"))
        (tmp_path / "bad" / "sources" / "sources.json").unlink()
        (tmp_path / "bad" / "sources" / "sources.json").write_text("{}")
        bad = registry.register(tmp_path / "bad", world.other.facts)
    else:
        bad = registry.get(world.other.bundle_id)
    registry.promote(bad.bundle_id)
    if damage == "bytes":  # after the promotion, as a failing disk would
        path = bad.path / "ranker" / "ranker.json"
        path.chmod(0o644)
        path.write_text(path.read_text() + " ")
    assert not watch.look() and not watch.look()
    assert watch.current.bundle_id == world.champion.bundle_id
    assert watch.refused is not None and bad.bundle_id in watch.refused
    registry.rollback()
    assert not watch.look() and watch.refused is None


def test_a_bundle_whose_collection_was_dropped_can_still_be_rolled_back_to(
    world: World, registry: Registry, milvus: MilvusIndex, tmp_path: Path
) -> None:
    old = altered(registry, world.champion, tmp_path / "old", collection="items__dropped")
    loaded = load(old, milvus, catalog.FINGERPRINT, registry)
    vector = loaded.retriever.index.items.vectors[0]  # type: ignore[attr-defined]
    assert loaded.retriever.index.search("items__dropped", vector, 5).item_ids[0] == loaded.catalogue.item_id[0]


def test_a_bundle_of_other_features_than_the_store_holds_is_refused(registry: Registry) -> None:
    with pytest.raises(BundleRefused, match="online store holds older"):
        BundleWatch(registry, loading(registry, None, held="older"))  # type: ignore[arg-type]


def test_without_a_champion_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(BundleRefused, match="run `make run` first"):
        BundleWatch(Registry(tmp_path), lambda bundle: load(bundle, None, "f", Registry(tmp_path)))


def test_a_bundle_serves_its_own_embeddings_while_milvus_is_away(world: World, registry: Registry) -> None:
    loaded = load(world.champion, None, catalog.FINGERPRINT, Registry(Lake(world.settings.home).registry))
    published = MilvusIndex(ensure_milvus(world.settings).uri).mirror(world.champion.facts.collection)
    query = published.items.vectors[3]
    collection = world.champion.facts.collection
    ours, theirs = loaded.retriever.index.search(collection, query, 20), published.search(collection, query, 20)
    assert ours.item_ids == theirs.item_ids and ours.scores.tobytes() == theirs.scores.tobytes()


def test_the_manifest_names_what_the_bundle_is_made_of(world: World) -> None:
    manifest = json.loads((world.champion.path / "manifest.json").read_text())
    assert manifest["facts"]["features"] == catalog.FINGERPRINT
    assert {name.split("/")[0] for name in manifest["files"]} == {
        "query_tower",
        "ranker",
        "items.parquet",
        "sources",
        "about_log.json",
    }
