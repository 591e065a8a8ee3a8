"""New items: candidates within seconds of their metadata, the same everywhere, and gone as soon as they are offline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.cleaned.keyed import keyed_items
from recsys.events import ITEM_SCHEMA
from recsys.features import catalog
from recsys.lake import Lake
from recsys.registry import Registry
from recsys.retrieval.embeddings import embed
from recsys.retrieval.item_index import ExactMirror, IndexedItems, ItemIndexUnavailable, MilvusIndex, late_of
from recsys.retrieval.milvus_server import ensure_milvus
from recsys.serving.bundle import load
from recsys.serving.bundles import BundleWatch
from recsys.serving.candidates import PoolCache, trending
from recsys.serving.course import Course
from recsys.serving.late import Supplemented
from recsys.serving.pipeline import Recommender
from recsys.serving.scene import Scene
from recsys.serving.schema import EventsRequest, ItemsRequest, RecommendRequest
from recsys.serving.served_log import ServedLog
from recsys.store.online import OnlineStore
from tests.serving.world import World


@pytest.fixture
def recommender(world: World, store: OnlineStore, tmp_path: Path) -> Iterator[Recommender]:
    registry = Registry(Lake(world.settings.home).registry)
    watch = BundleWatch(registry, lambda b: load(b, None, catalog.FINGERPRINT, registry), store.late_items)
    made = Recommender(store, watch, ServedLog(tmp_path))
    yield made
    made.close()


def candidates(recommender: Recommender, user: str, shelf: str = "feed") -> list[str]:
    bundle = recommender._bundles.current
    scene = Scene.at_shelf(bundle, user, time.time_ns() // 1_000_000, shelf)
    return bundle.catalogue.ids(recommender._steps.retrieved(bundle, scene, Course(), set())[0].rows)


def item(item_id: str, **fields: object) -> ItemsRequest:
    return ItemsRequest.model_validate(
        {"items": [{"item_id": item_id, "item_type": "podcast", "creator_id": "c-new", "title": "New", **fields}]}
    )


def test_what_is_not_said_of_a_known_item_stays_and_a_title_alone_is_embedded_and_shown(
    world: World, recommender: Recommender, store: OnlineStore
) -> None:
    item_id = world.item_ids[17]
    before = store.known_items([item_id])[item_id]
    first = before
    tags = [row["tags"] for row in store.known_items(world.item_ids).values()]
    other = next(tag for tag in tags if tag and tag != before["tags"])
    vectors = []
    content = (
        {"description": "Quiet whales."},
        {"language": "de-AT"},
        {"creator_name": "A"},
        {"embedding": [0.5, -1.0, 2.0]},
    )
    for said in ({"tags": other}, {"title": "new"}, {"duration_ms": 5}, {"category": None}, *content):
        told = recommender.put_items(ItemsRequest.model_validate({"items": [{"item_id": item_id, **said}]}))
        assert told.recorded == 1
        before = before | said
        assert store.known_items([item_id])[item_id] == before
        assert recommender._bundles.look()
        now = recommender._bundles.current
        row = now.items.to_pylist()[now.catalogue.item_id.index(item_id)]
        vectors.append(row.pop("embedding"))
        assert {name: row[name] for name in before if name in row} == {n: v for n, v in before.items() if n in row}
        word = keyed_items(pa.Table.from_pylist([before], ITEM_SCHEMA))
        (expected,) = embed(now.retriever.tower, word)["embedding"].to_pylist()
        assert np.allclose(vectors[-1], expected, atol=1e-5)  # as the next night's index has it
    moved = np.abs(np.diff(vectors, axis=0)).max(axis=1) > 0.01
    assert moved[-4:].tolist() == [True, True, False, True]  # the creator's name is no word that this tower knows
    again = recommender.put_items(ItemsRequest.model_validate({"items": [{"item_id": item_id, "duration_ms": 5}]}))
    assert again.recorded == 0
    assert store.put_items(pa.Table.from_pylist([first], ITEM_SCHEMA), time.time_ns() // 1_000_000) == 1


def test_of_an_item_that_one_request_says_twice_the_later_word_follows_the_earlier(
    recommender: Recommender, store: OnlineStore
) -> None:
    new = {"item_id": "twice", "item_type": "podcast", "title": "kept", "published_at": 1_767_605_400_000}
    body = {"items": [new, {"item_id": "twice", "is_available": False}]}
    told = recommender.put_items(ItemsRequest.model_validate(body))
    row = store.known_items(["twice"])["twice"]
    assert (told.recorded, row["title"], row["is_available"]) == (2, "kept", False)
    assert recommender.put_items(ItemsRequest.model_validate(body)).recorded == 0
    turns = {"items": [{"item_id": "twice", "category": word} for word in ("a", "b", "a", "b")]}
    for _ in range(2):  # the second time it begins with another category than it ends with
        assert recommender.put_items(ItemsRequest.model_validate(turns)).recorded == 4
        assert store.known_items(["twice"])["twice"]["category"] == "b"


def test_a_new_item_is_a_candidate_has_events_and_is_taken_offline(world: World, recommender: Recommender) -> None:
    """Of a category that nobody has seen: it is retrieved at the next look, for strangers as well."""
    user, now = world.user_ids[5], time.time_ns() // 1_000_000
    watch = recommender._bundles
    assert isinstance(watch, BundleWatch)
    watch.look()
    others = watch.late_items  # of tests that ran before, in the same world
    before = recommender.record_events(EventsRequest(events=[{"kind": "click", "user_id": user, "item_id": "late-1"}]))
    assert before.rejected[0].reason == "unknown item"
    unseen = {"category": "seen by nobody", "tags": ["nor this"]}
    assert "seen by nobody" not in watch.current.items["category"].to_pylist()
    recorded = recommender.put_items(item("late-1", published_at=now - 1000, **unseen))
    assert recorded.recorded == 1
    assert recommender.put_items(item("late-1", published_at=now - 1000)).recorded == 0  # known as it is
    assert "late-1" not in candidates(recommender, user, shelf="podcasts")
    assert watch.look() and watch.late_items == others + 1 and not watch.look()
    assert "late-1" in candidates(recommender, user, shelf="podcasts")
    assert "late-1" in candidates(recommender, "a stranger", shelf="podcasts")
    assert watch.current.bundle_id == world.champion.bundle_id
    liked = recommender.record_events(EventsRequest(events=[{"kind": "like", "user_id": user, "item_id": "late-1"}]))
    assert liked.accepted == 1 and "late-1" not in candidates(recommender, user, shelf="podcasts")  # seen now
    assert "late-1" in candidates(recommender, world.user_ids[6], shelf="podcasts")
    assert recommender.put_items(item("late-1", published_at=now - 1000, is_available=False)).recorded == 1
    watch.look()
    assert "late-1" not in candidates(recommender, world.user_ids[6], shelf="podcasts")


def test_an_item_of_the_bundle_can_be_taken_offline_and_come_back(world: World, recommender: Recommender) -> None:
    watch = recommender._bundles
    assert isinstance(watch, BundleWatch)
    first = candidates(recommender, world.user_ids[7])[0]
    row = next(r for r in world.simulator.items().to_pylist() if r["item_id"] == first)
    del row["id_is_integer"]  # as the id itself tells
    for available in (False, True):
        recommender.put_items(ItemsRequest.model_validate({"items": [{**row, "is_available": available}]}))
        assert watch.look() and watch.current.items.num_rows == len(watch.current.catalogue.item_id)
        assert (first in candidates(recommender, world.user_ids[7])) == available


def test_every_worker_gives_a_late_item_the_vector_that_publishing_it_would(
    world: World, store: OnlineStore, recommender: Recommender
) -> None:
    recommender.put_items(item("late-2"))
    watch = recommender._bundles
    assert isinstance(watch, BundleWatch)
    watch.look()
    registry = Registry(Lake(world.settings.home).registry)
    other = BundleWatch(registry, lambda b: load(b, None, catalog.FINGERPRINT, registry), store.late_items)
    ours, theirs = watch.current.items, other.current.items
    assert ours.equals(theirs) and "late-2" in ours["item_id"].to_pylist()
    vectors = np.stack(ours["embedding"].to_numpy(zero_copy_only=False))
    whole = ExactMirror("c", IndexedItems.of(ours["item_id"].to_pylist(), ours["item_type"].to_pylist(), vectors))
    retriever = watch.current.retriever
    assert isinstance(retriever.index, Supplemented)
    for row in range(0, len(vectors), 97):
        for kind in (None, "podcast"):
            joined = retriever.index.search(retriever.collection, vectors[row], 50, kind)
            at_once = whole.search("c", vectors[row], 50, kind)
            assert joined.item_ids == at_once.item_ids and joined.scores.tobytes() == at_once.scores.tobytes()


def test_a_late_item_is_in_milvus_within_seconds_and_an_outage_only_delays_it(
    world: World, store: OnlineStore, recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    milvus = MilvusIndex(ensure_milvus(world.settings).uri)
    registry = Registry(Lake(world.settings.home).registry)
    told: list[list[str]] = []
    down = True

    def share(collection: str, items: IndexedItems) -> None:
        if down:
            raise ItemIndexUnavailable("Milvus does not answer")
        told.append(list(items.item_ids))
        milvus.add_late(collection, items)

    watch = BundleWatch(registry, lambda b: load(b, milvus, catalog.FINGERPRINT, registry), store.late_items, share)
    recommender.put_items(item("late-3"))
    watch.look()
    assert "late-3" in watch.current.catalogue.row and not told  # it is a candidate all the same
    down = False
    watch.look()
    assert not told  # left alone for some seconds
    monkeypatch.setattr(watch, "_share_from", 0.0)
    watch.look()
    recommender.put_items(item("late-4"))
    watch.look()
    watch.look()
    assert "late-3" in told[0] and told[1:] == [["late-4"]]
    index, collection = watch.current.retriever.index, watch.current.facts.collection
    assert isinstance(index, Supplemented)
    anew = MilvusIndex(ensure_milvus(world.settings).uri)  # as another process, or one after a restart, sees it
    held = anew.read(late_of(collection))
    assert {"late-3", "late-4"} <= set(held.item_ids)
    mine = index.late.items
    assert all(
        held.vectors[held.item_ids.index(i)].tobytes() == mine.vectors[mine.item_ids.index(i)].tobytes()
        for i in mine.item_ids
    )
    assert milvus.facts(collection)["content_hash"] == milvus.read(collection).content_hash
    for opened in (anew, milvus):
        opened.close()
    watch.close()


def test_what_was_cached_before_a_new_item_came_still_names_the_same_items(
    world: World, recommender: Recommender
) -> None:
    watch, pools = recommender._bundles, PoolCache()
    assert isinstance(watch, BundleWatch)
    before = watch.current
    pool = trending(before, "feed")
    pools.put(before, "u", "feed", pool)
    recommender.put_items(item("!-first-id"))  # sorts before all others: every row moves
    watch.look()
    after = watch.current
    pooled = pools.get(after, "u", "feed")
    assert pooled is not None
    assert after.catalogue.ids(pooled.rows) == before.catalogue.ids(pool.rows)[: len(pooled)]
    assert after.catalogue.row["!-first-id"] == 0


def test_each_item_is_answered_in_the_type_in_which_its_id_first_came(
    world: World, store: OnlineStore, recommender: Recommender
) -> None:
    watch, now = recommender._bundles, time.time_ns() // 1_000_000
    assert isinstance(watch, BundleWatch)
    told: tuple[str | int, ...] = (7001, "7002", 7003.0, "007", "promo-a", 123456789012345678)
    for item_id in told:
        recommender.put_items(item(item_id, published_at=now - 1000))  # type: ignore[arg-type]
    recommender.put_items(item("7001", published_at=now - 1000, is_available=False))  # another type, later
    recommender.put_items(item("7001", published_at=now - 1000))
    watch.look()
    written = watch.current.catalogue.written
    held = ["7001", "7002", "7003", "007", "promo-a", "123456789012345678", world.item_ids[0]]
    assert [written(name) for name in held] == [7001, "7002", 7003, *held[3:]]
    for user in ("guest", *world.user_ids[:20]):
        for shown in recommender.recommend(RecommendRequest(user_id=user, shelf="podcasts", k=100)).items:
            assert shown.item_id == written(str(shown.item_id))
