"""One contract for every item index, held on a real Milvus server process and on the mirror in memory."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.retrieval.item_index import (
    ExactMirror,
    Hits,
    IndexedItems,
    ItemIndex,
    ItemIndexError,
    ItemIndexUnavailable,
    MilvusIndex,
    late_of,
    same_hits,
)
from recsys.retrieval.top import top_k

ROWS, DIM = 700, 16


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def some_items(seed: int, rows: int = ROWS) -> IndexedItems:
    vectors = unit(np.random.default_rng(seed).normal(size=(rows, DIM)))
    types = ["podcast" if i % 50 == 0 else "video" for i in range(rows)]
    return IndexedItems.of([f"item {i}" for i in range(rows)], types, vectors)


@pytest.fixture(scope="module")
def items() -> IndexedItems:
    return some_items(1)


@pytest.fixture(scope="module")
def published(milvus: MilvusIndex, items: IndexedItems) -> str:
    return milvus.publish("contract", items, {"tower": "abc"})


@pytest.fixture(params=["milvus", "mirror"])
def index(request: pytest.FixtureRequest, milvus: MilvusIndex, published: str) -> ItemIndex:
    return milvus if request.param == "milvus" else milvus.mirror(published)


def brute_force(items: IndexedItems, query: np.ndarray, k: int, item_type: str | None = None) -> list[str]:
    scores = items.vectors.astype(np.float64) @ query.astype(np.float64)
    rows = [i for i in range(len(scores)) if item_type in (None, items.item_types[i])]
    return [items.item_ids[i] for i in sorted(rows, key=lambda i: (-scores[i], items.item_ids[i]))[:k]]


@pytest.mark.parametrize("k", [1, 10, ROWS, ROWS + 50])
def test_a_search_returns_the_k_best_in_order(index: ItemIndex, items: IndexedItems, published: str, k: int) -> None:
    for query in unit(np.random.default_rng(2).normal(size=(5, DIM))):
        hits = index.search(published, query, k)
        assert hits.item_ids == brute_force(items, query, k)
        assert len(hits.item_ids) == min(k, ROWS)
        assert np.all(np.diff(hits.scores) <= 0)


def test_a_rare_type_is_found_in_full(index: ItemIndex, items: IndexedItems, published: str) -> None:
    query = items.vectors[3]
    assert index.search(published, query, 14, "podcast").item_ids == brute_force(items, query, 14, "podcast")
    assert index.search(published, query, 14, 'no "such" type').item_ids == []


def test_a_query_that_is_not_finite_is_refused(index: ItemIndex, published: str) -> None:
    with pytest.raises(ItemIndexError, match="finite"):
        index.search(published, np.full(DIM, np.nan, np.float32), 5)


def test_a_collection_that_is_not_there_is_an_error_by_name(index: ItemIndex, items: IndexedItems) -> None:
    with pytest.raises(ItemIndexError, match="items__none"):
        index.search("items__none", items.vectors[0], 5)


def test_late_items_are_searched_beside_a_version_that_stays_as_it_is_and_go_with_it(
    milvus: MilvusIndex, items: IndexedItems, published: str
) -> None:
    collection = milvus.publish("grows", items, {}, keep=[published])
    other = MilvusIndex(milvus.uri)
    late = IndexedItems.of(["new 1", "new 2"], ["video", "podcast"], some_items(7).vectors[:2])
    for index in (milvus, other, milvus):  # every worker adds them
        index.add_late(collection, late)
    changed = IndexedItems.of(["new 1"], ["video"], some_items(8).vectors[:1])
    other.add_late(collection, changed)
    assert other.search(late_of(collection), late.vectors[1], 5).item_ids[0] == "new 2"
    held = milvus.read(late_of(collection))
    assert held.item_ids == ("new 1", "new 2") and held.vectors[0].tobytes() == changed.vectors[0].tobytes()
    milvus.verify(collection, items)
    with pytest.raises(ItemIndexError, match="items__none"):
        milvus.add_late("items__none", late)
    for version in ("after_1", "after_2", "after_3"):
        milvus.publish(version, items, {}, keep=[published])
    with pytest.raises(ItemIndexError, match="could not search"):
        other.search(late_of(collection), late.vectors[1], 5)
    with pytest.raises(ItemIndexError):  # a version that is gone gets no new side
        other.add_late(collection, late)
    with pytest.raises(ItemIndexError, match=collection):
        other.add_late(collection, late)
    other.close()


def test_the_mirror_holds_the_published_bytes_and_milvus_answers_as_it_does(
    milvus: MilvusIndex, items: IndexedItems, published: str
) -> None:
    mirror = milvus.mirror(published)
    assert mirror.items.item_ids == items.item_ids
    assert mirror.items.vectors.tobytes() == items.vectors.tobytes()
    for query in unit(np.random.default_rng(3).normal(size=(20, DIM))):
        assert same_hits(milvus.search(published, query, 100), mirror.search(published, query, 100))


def test_equal_scores_are_ordered_by_item_id_also_at_the_cut() -> None:
    vectors = np.repeat(np.eye(4, dtype=np.float32), 5, axis=0)
    mirror = ExactMirror("ties", IndexedItems.of([f"{i:02}" for i in range(20)], ["video"] * 20, vectors))
    assert mirror.search("ties", vectors[7], 3).item_ids == ["05", "06", "07"]
    assert mirror.search("ties", vectors[7], 7).item_ids == ["05", "06", "07", "08", "09", "00", "01"]
    scores = np.array([1.0, 3.0, 3.0, 2.0, 3.0])
    assert top_k(scores, 2).tolist() == [1, 2]
    assert top_k(scores, 9).tolist() == [1, 2, 4, 3, 0]
    assert top_k(scores, 0).tolist() == []
    holes = np.array([np.nan, 1.0, np.nan, -np.inf, 2.0])  # to np.partition a NaN is the highest, and equal to nothing
    for k, best in ((1, [4]), (3, [4, 1, 3]), (4, [4, 1, 3, 0]), (9, [4, 1, 3, 0, 2])):
        assert top_k(holes, k).tolist() == best


def test_two_searches_that_differ_in_more_than_ties_are_told_apart() -> None:
    def hits(ids: str, *scores: float) -> Hits:
        return Hits(list(ids), np.array(scores, np.float32))

    assert same_hits(hits("abc", 3, 2, 2), hits("acb", 3, 2, 2))
    assert same_hits(hits("ab", 3, 2), hits("ac", 3, 2))  # equal at the cut
    assert not same_hits(hits("abc", 3, 2, 1), hits("adc", 3, 2, 1))
    assert not same_hits(hits("ab", 3, 2), hits("ab", 3, 1.9))
    assert not same_hits(hits("ab", 3, 2), hits("a", 3))


@pytest.mark.parametrize(
    ("ids", "vectors", "says"),
    [
        (["a", "a"], np.eye(2), "a has two vectors"),
        (["a", "b"], np.array([[1.0, 0], [np.nan, 0]]), "item b has norm nan"),
        (["a", "b"], np.array([[1.0, 0], [np.inf, 0]]), "item b has norm inf"),
        (["a", "b"], np.array([[1.0, 0], [0.9, 0]]), "item b has norm 0.9"),
        (["a", "ä" * 200], np.eye(2), "1 to 256 bytes"),
        (["a", "b", "c"], np.eye(2), "do not fit together"),
        ([], np.zeros((0, 2)), "no item"),
    ],
)
def test_what_must_not_be_indexed_is_refused_by_name(ids: list[str], vectors: np.ndarray, says: str) -> None:
    with pytest.raises(ItemIndexError, match=says):
        IndexedItems.of(ids, ["video"] * len(ids), vectors)


def test_publishing_moves_the_alias_keeps_the_two_newest_and_what_is_asked_for(milvus: MilvusIndex) -> None:
    other = "items__contract"  # the other tests' collection
    first = milvus.publish("v1", some_items(4, 30), {"tower": "t1"}, keep=[other])
    second = milvus.publish("v2", some_items(5, 30), {"tower": "t2"}, keep=[other])
    assert milvus.current() == second
    third = milvus.publish("v3", some_items(6, 30), {"tower": "t3"}, keep=[other, first])
    assert milvus.current() == third
    assert {first, second, third} <= set(milvus.collections())
    fourth = milvus.publish("v4", some_items(7, 30), {"tower": "t4"}, keep=[other])
    assert set(milvus.collections()) - {other} == {third, fourth}
    assert milvus.facts("items__v4")["tower"] == "t4"
    assert milvus.facts("items__v4")["state"] == "ready"


def test_publishing_again_is_idempotent_other_content_is_refused_and_a_torn_version_is_written_again(
    milvus: MilvusIndex,
) -> None:
    kept = ["items__contract"]
    rows = some_items(8, 40)
    collection = milvus.publish("again", rows, {}, keep=kept)
    assert milvus.publish("again", rows, {}, keep=kept) == collection
    with pytest.raises(ItemIndexError, match="already holds other vectors"):
        milvus.publish("again", some_items(9, 40), {}, keep=kept)

    half = IndexedItems.of(rows.item_ids[:10], rows.item_types[:10], rows.vectors[:10])
    milvus._write("items__torn", half, {})  # a publisher that died before it marked its version
    assert milvus.facts("items__torn")["state"] == "building"
    with pytest.raises(ItemIndexError, match="not published"):
        milvus.mirror("items__torn")
    assert milvus.publish("torn", rows, {}, keep=kept) == "items__torn"
    assert milvus.mirror("items__torn").items.item_ids == rows.item_ids
    with pytest.raises(ItemIndexError, match="letters"):
        milvus.publish("no/slash", rows, {})


def test_a_collection_with_a_vector_too_many_does_not_verify(milvus: MilvusIndex) -> None:
    rows = some_items(10, 40)
    milvus._write("items__spoilt", rows, {})
    fewer = IndexedItems.of(rows.item_ids[1:], rows.item_types[1:], rows.vectors[1:])
    other = IndexedItems.of(rows.item_ids, rows.item_types, rows.vectors[::-1])
    milvus.verify("items__spoilt", rows)
    with pytest.raises(ItemIndexError, match="holds 40 items, not the 39"):
        milvus.verify("items__spoilt", fewer)
    with pytest.raises(ItemIndexError, match="other vectors"):
        milvus.verify("items__spoilt", other)


def test_a_server_that_is_not_there_is_unavailable_within_the_time() -> None:
    with pytest.raises(ItemIndexUnavailable, match="could not connect"):
        MilvusIndex("http://127.0.0.1:9", timeout=1.0)
