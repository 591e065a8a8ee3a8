"""Value, filters, slate: what is shown follows from the data in recsys/policy, and from nothing else in the batch."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.events import ITEM_TYPES, KINDS
from recsys.policy.filters import FILTERS, Audience, Candidates, dropped_by, seen_items
from recsys.policy.shelves import DEFAULT, SHELVES, Shelf
from recsys.policy.slate import select
from recsys.policy.value import VALUE, value
from recsys.ranking.ranker import Predictions


def test_a_score_is_the_weighted_sum_of_the_predictions() -> None:
    weights = {"p_click": 0.5, "p_long_view": 1.0, "watch_seconds": 0.25}
    rows = {
        "p_click": np.array([0.5, 0.0]),
        "p_long_view": np.array([0.25, 1.0]),
        "watch_seconds": np.array([8.0, 2.0]),
    }
    assert value(rows, weights).tolist() == [2.5, 1.5]
    with pytest.raises(KeyError):
        value({"p_click": rows["p_click"]}, weights)


def test_what_value_weighs_is_what_rankers_predict() -> None:
    assert set(VALUE) <= {field.name for field in dataclasses.fields(Predictions)}


def test_a_score_does_not_depend_on_the_rest_of_the_batch() -> None:
    rng = np.random.default_rng(3)
    weights = {"p_click": 0.3, "p_long_view": 1.1, "watch_seconds": 0.007}
    rows = {name: rng.random(500) * 30 for name in weights}
    whole = value(rows, weights)
    alone = [value({name: x[i : i + 1] for name, x in rows.items()}, weights) for i in range(500)]
    assert whole.tobytes() == np.concatenate(alone).tobytes()


def test_every_shelf_names_known_item_types_and_sensible_caps() -> None:
    assert DEFAULT in SHELVES
    for shelf in SHELVES.values():
        assert shelf.item_types and set(shelf.item_types) <= set(ITEM_TYPES)
        assert set(shelf.caps) <= {"creator", "category"} and all(0 < share <= 1 for share in shelf.caps.values())


def candidates(n: int = 7) -> Candidates:
    return Candidates(
        item_key=np.arange(10, 10 + n),
        creator_key=np.array([1, 1, 2, 2, 3, 0, 0])[:n],
        item_type=np.array([1, 2, 1, 2, 1, 2, 1])[:n],
        is_available=np.array([True, True, True, True, True, False, True])[:n],
        published_at=np.array([0, 1, 2, 3, 4, 5, 101])[:n],
    )


def test_each_filter_drops_what_it_names_and_the_first_one_is_the_reason() -> None:
    audience = Audience(
        shelf=Shelf(item_types=("video",)),
        at=100,
        seen=np.array([10, 15]),
        blocked_items=np.array([12]),
        blocked_creators=np.array([3]),
    )
    expected = ["seen", "off_shelf", "blocked", "off_shelf", "blocked", "unavailable", "unpublished"]
    for row, name in enumerate(expected):
        out, counts = dropped_by(candidates().take(np.array([row])), audience)
        assert out.tolist() == [True] and counts == {name: 1}
    out, counts = dropped_by(candidates(), audience)
    assert out.all() and counts == Counter(expected)
    assert set(FILTERS) == {"unavailable", "unpublished", "off_shelf", "blocked", "seen"}


def test_a_shelf_of_things_to_return_to_shows_seen_items_again() -> None:
    everything = tuple(ITEM_TYPES)
    seen = np.array([10, 11])
    assert dropped_by(candidates(2), Audience(Shelf(everything), at=9, seen=seen))[1] == {"seen": 2}
    assert dropped_by(candidates(2), Audience(Shelf(everything, again=True), at=9, seen=seen))[1] == {}


def test_a_finished_item_is_seen_and_a_clicked_one_may_be_resumed() -> None:
    kinds = np.array([KINDS["click"], KINDS["long_view"], KINDS["like"], KINDS["exposure_long_view"]], dtype=np.int8)
    assert seen_items(np.array([1, 2, 3, 2]), kinds).tolist() == [2, 3]


def test_without_caps_the_slate_is_the_k_best_and_ties_are_by_key() -> None:
    scores = np.array([0.5, 0.9, 0.5, 0.1])
    keys = np.array([40, 30, 20, 10])
    assert select(scores, keys, 3).tolist() == [1, 2, 0]
    assert select(scores, keys, 9).tolist() == [1, 2, 0, 3]
    assert select(scores[:0], keys[:0], 3).tolist() == []


slates = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 3), st.integers(0, 2)), min_size=0, max_size=30
)  # (score, creator, category)


@given(slates, st.integers(1, 12), st.permutations(range(30)))
def test_caps_hold_unless_the_slate_would_be_short_and_order_in_does_not_matter(
    rows: list[tuple[int, int, int]], k: int, shuffle: list[int]
) -> None:
    scores, creators, categories = (
        (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
        if rows
        else (np.empty(0, dtype=np.int64) for _ in range(3))
    )
    keys = np.arange(len(rows))
    caps = {"creator": 0.4, "category": 0.7}
    groups = {"creator": creators, "category": categories}
    slate = select(scores.astype(float), keys, k, groups, caps)
    assert len(set(slate.tolist())) == slate.size == min(k, len(rows))
    assert all(a >= b for a, b in itertools.pairwise(scores[slate]))
    excess = sum(
        max(0, int((groups[name][slate] == key).sum()) - max(1, int(share * k)))
        for name, share in caps.items()
        for key in set(groups[name][slate].tolist()) - {0}
    )
    left = np.setdiff1d(keys, slate)
    if excess:  # then nothing left could have replaced an item beyond its cap: every one is over a cap as well
        fitting = [
            i
            for i in left
            if all(
                groups[name][i] == 0 or (groups[name][slate] == groups[name][i]).sum() < max(1, int(share * k))
                for name, share in caps.items()
            )
        ]
        assert not fitting
    order = [i for i in shuffle if i < len(rows)]
    again = select(scores[order].astype(float), keys[order], k, {n: g[order] for n, g in groups.items()}, caps)
    assert keys[order][again].tolist() == slate.tolist()
