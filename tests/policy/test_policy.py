"""Value, filters, slate: what is shown follows from the data in recsys/policy, and from nothing else in the batch."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.evaluation.shelves import checked
from recsys.events import DAY_MS, ITEM_TYPES
from recsys.features.judged import VERDICTS, Judged
from recsys.policy.filters import FILTERS, Audience, Candidates, dropped_by, left_out, seen_items
from recsys.policy.named import ShelfError
from recsys.policy.repeats import Repeats
from recsys.policy.shelves import DEFAULT, SHELVES, Shelf, shelf_of
from recsys.policy.slate import displaced, select
from recsys.policy.spread import Met, Spread, leaning
from recsys.policy.value import VALUE, value
from recsys.ranking.ranker import Predictions
from tests.evaluation.world import log_of


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


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"item_types": ("film",)}, "names the item type 'film': it must be one of video, podcast"),
        ({"sources": {"popularr": 0}}, "shelf attic: a shelf names the source 'popularr': it must be one of two_tower"),
        ({"order": "xgboost"}, "shelf attic: a shelf names the order 'xgboost': it must be one of ranker, habits"),
        ({"label": "watched"}, "shelf attic: a shelf names the label 'watched'"),
        ({"heuristics": ("newest",)}, "shelf attic: a shelf names the heuristic 'newest'"),
        ({"heuristics": ("segment_popular",)}, "shelf attic: a shelf names no heuristic that can serve it"),
        ({"metrics": ("auc@10",)}, "shelf attic: a shelf names the metric 'auc'"),
        ({"metrics": ("ndcg",)}, "shelf attic: a shelf names the metric 'ndcg': it ends in @"),
        ({"metrics": ("ndcg@0",)}, "shelf attic: a shelf names the metric 'ndcg@0': it ends in @"),
        ({"weights": {"p_share": 1.0}}, "shelf attic: a shelf names the prediction to weigh 'p_share'"),
        ({"caps": {"creator": 2.0}}, "a cap is a share above 0"),
    ],
)
def test_a_row_that_names_what_there_is_not_is_refused_in_one_line(row: dict[str, Any], words: str) -> None:
    with pytest.raises(ShelfError) as refused:
        checked({"attic": Shelf(**{"item_types": ("video",), **row})})
    assert words in str(refused.value) and "\n" not in str(refused.value)


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


@pytest.mark.parametrize(
    ("shelf", "come_back", "days", "gone"),
    [
        ("feed", True, 1, ["disliked", "finished", "skipped"]),
        ("feed", True, 7, ["disliked", "finished"]),
        ("podcasts", True, 36_500, ["disliked", "finished"]),
        ("playlists", True, 180, ["disliked"]),
        ("shortcuts", True, 1, ["disliked"]),
        ("shortcuts", True, 36_500, ["disliked"]),
        ("feed", False, 1, ["disliked", "finished", "opened", "skipped"]),
        ("tab 3", False, 36_500, ["disliked", "finished", "opened"]),
        ("shortcuts", False, 1, ["disliked"]),
        ("podcasts", False, 1, ["disliked", "finished", "skipped"]),
    ],
)
def test_what_a_person_judged_stays_away_for_a_while(shelf: str, come_back: bool, days: int, gone: list[str]) -> None:
    at = np.zeros((len(VERDICTS), len(VERDICTS)), np.int64)
    for verdict, place in VERDICTS.items():
        at[place, VERDICTS[verdict]] = 1_000
    judged = Judged.none()._replace(item_key=np.arange(len(VERDICTS)), at=at)
    left_out = seen_items(judged, shelf_of(shelf, come_back), 1_000 + days * DAY_MS).tolist()
    assert left_out == sorted(VERDICTS[verdict] for verdict in gone)


def test_without_caps_the_slate_is_the_k_best_and_ties_are_by_key() -> None:
    scores = np.array([0.5, 0.9, 0.5, 0.1])
    keys = np.array([40, 30, 20, 10])
    assert select(scores, keys, 3).tolist() == [1, 2, 0]
    assert select(scores, keys, 9).tolist() == [1, 2, 0, 3]
    assert select(scores[:0], keys[:0], 3).tolist() == []


def test_a_unit_takes_one_place_and_what_is_sure_of_one_keeps_it() -> None:
    scores, keys = np.array([0.9, 0.8, 0.7, 0.6, 0.1]), np.arange(5)
    shows = np.array([1, 1, 2, 3, 2])
    sure = np.array([False, False, False, False, True])
    assert select(scores, keys, 5, units=shows).tolist() == [0, 2, 3]
    assert select(scores, keys, 5, units=shows, sure=sure).tolist() == [0, 3, 4]  # of its show it is the one
    assert select(scores, keys, 2, units=shows, sure=sure).tolist() == [0, 4]
    creators = {"creator": np.array([7, 7, 7, 7, 7])}
    assert select(scores, keys, 2, creators, {"creator": 0.5}, sure=sure).tolist() == [0, 4]


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


@given(slates, st.integers(1, 12), st.integers(1, 6), st.sampled_from([0.0, 0.5, 20.0]), st.sampled_from([0.0, 3.0]))
def test_a_spread_slate_is_never_short_moves_nothing_far_and_says_of_each_why(
    rows: list[tuple[int, int, int]], k: int, reach: int, damping: float, likeness: float
) -> None:
    table = np.array(rows, np.int64).reshape(-1, 3)
    scores, keys, n = table[:, 0].astype(float), np.arange(len(table)), len(table)
    met = Met(np.log1p(table[:, 2]), np.eye(4, dtype=np.float32)[table[:, 1]])
    how = Spread(damping=damping, likeness=likeness, reach=reach)
    why: dict[int, str] = {}
    slate = select(scores, keys, k, how=how, met=met, passed_over=why)
    moved, causes = displaced(scores, keys, slate, why)
    assert len(set(slate.tolist())) == slate.size == min(k, n) and (abs(moved) <= reach).all()
    rank = np.empty(n, np.int64)
    rank[np.lexsort((keys, -scores))] = np.arange(n)
    assert (moved == rank[slate] - np.arange(len(slate))).all()
    assert set(np.flatnonzero(rank + reach < min(k, n))) <= set(slate.tolist()), "what is overdue stands there"
    for by, cause in zip(moved.tolist(), causes, strict=True):
        assert (cause == "") == (by == 0) and cause in {"", "damped", "like", "reach"}
    if not damping and not likeness:
        assert slate.tolist() == select(scores, keys, k).tolist() and not moved.any()
    caps, groups = {"creator": 0.4}, {"creator": table[:, 1]}
    capped = select(scores, keys, k, groups, caps, how=how, met=met)
    assert len(set(capped.tolist())) == min(k, n)
    fitting = sum(min(max(1, int(0.4 * k)), c) if key else c for key, c in Counter(table[:, 1].tolist()).items())
    assert np.bincount(capped_by := table[capped, 1], minlength=4)[1:].max(initial=0) <= max(1, int(0.4 * k)) or (
        fitting < min(k, n)
    ), capped_by


def test_what_was_shown_and_what_is_alike_gives_way_as_far_as_reach_goes() -> None:
    scores, keys = np.array([5.0, 4.9, 4.8, 1.0]), np.arange(4)
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    alike, damped = Spread(likeness=0.5), Spread(damping=1.0)
    why: dict[int, str] = {}
    assert select(scores, keys, 3, how=alike, met=Met(np.zeros(4), vectors), passed_over=why).tolist() == [0, 2, 1]
    assert displaced(scores, keys, np.array([0, 2, 1]), why)[1] == ["", "like", "like"]
    shown = np.log1p(np.array([9.0, 0, 0, 0]))
    assert select(scores, keys, 4, how=damped, met=Met(shown)).tolist() == [1, 2, 0, 3]
    near = dataclasses.replace(damped, reach=1)
    assert select(scores, keys, 4, how=near, met=Met(shown)).tolist() == [1, 0, 2, 3]
    with pytest.raises(ValueError, match="reach is at least 1"):
        Spread(reach=0)


def test_a_persons_genres_lean_the_same_way_at_every_request_and_differ_from_anothers() -> None:
    genres = np.repeat(np.arange(5), 4)  # 0 is unknown
    scores, keys = np.linspace(0.2, 0, 20), np.arange(20)
    lean = {user: leaning(user, genres) for user in ("anna", "ben")}
    assert (lean["anna"][:4] == 0).all() and len(set(lean["anna"].tolist())) == 5
    assert leaning("anna", genres[::-1]).tolist() == lean["anna"][::-1].tolist()
    tops = {}
    for user, leans in lean.items():
        why: dict[int, str] = {}
        slate = select(
            scores, keys, 10, how=Spread(mix=1.0, reach=20), met=Met(np.zeros(20), lean=leans), passed_over=why
        )
        tops[user] = Counter(genres[slate].tolist())
        first = max(range(5), key=lambda genre, leans=leans: leans[4 * genre])  # type: ignore[misc]
        assert genres[slate[0]] == first and set(displaced(scores, keys, slate, why)[1]) <= {"", "mixed"}
        near = select(scores, keys, 10, how=Spread(mix=1.0, reach=3), met=Met(np.zeros(20), lean=leans))
        assert (abs(near - np.arange(10)) <= 3).all()
    assert tops["anna"] != tops["ben"]


def test_a_request_of_the_past_leaves_out_what_the_service_left_out_at_that_instant() -> None:
    start = 1_800_000_000_000
    log = log_of(
        [
            ("impression", 1, 5, start),
            ("long_view", 1, 5, start + 1),
            ("skip", 1, 6, start + 2),
            ("dislike", 1, 7, start + 3),
            ("skip", 2, 5, start + 4),
        ]
    )
    later = start + 8 * DAY_MS
    asked = [(1, "feed", start + 1), (1, "feed", start + 9), (1, "shortcuts", later), (1, "tab 3", later)]
    asked += [(2, None, start + 9), (3, "feed", start + 9)]
    users, shelves, instants = zip(*asked, strict=True)
    left = left_out(log, np.array(users), shelves, np.array(instants), come_back=True)
    assert [keys.tolist() for keys in left] == [[], [5, 6, 7], [7], [5, 7], [5], []]


def test_who_comes_back_is_counted_over_days_and_few_engagements_tell_nothing() -> None:
    start = 1_800_000_000_000

    def once(people: int) -> list[tuple[str, int, int, int]]:
        """Each opens an item on two days, and views it long at once."""
        days = [(user, day) for user in range(1, people + 1) for day in (0, 3)]
        return [
            (kind, u, 9 * u + d, start + d * DAY_MS + k)
            for u, d in days
            for k, kind in enumerate(("click", "long_view"))
        ]

    assert Repeats.counted(log_of(once(299))) == Repeats(again=0, of=299)
    assert Repeats.counted(log_of(once(299))).come_back and not Repeats.counted(log_of(once(301))).come_back
    again = [("click", user, 9 * user, start + 5 * DAY_MS) for user in range(1, 9)]
    counted = Repeats.counted(log_of(sorted(once(301) + again, key=lambda event: event[3])))
    assert counted == Repeats(again=8, of=309) and counted.come_back
    nobody = [("click", 0, 1, start), ("click", 0, 1, start + 3 * DAY_MS)]  # the forgotten are no one person
    assert Repeats.counted(log_of(nobody)) == Repeats()
