"""Heuristics order by what they say, see nothing of the future, and give probabilities like a model."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys.evaluation import metrics
from recsys.evaluation.heuristics import (
    RETRIEVERS,
    Heuristic,
    HeuristicError,
    Queries,
    retrieve_like_last,
    retrieve_popular,
    retrieve_resumed,
    retrieve_trending,
    retrieve_trending_decayed,
    retrieve_trending_now,
)
from recsys.events import DAY_MS, HOUR_MS
from recsys.features.catalog import FEATURES
from tests.evaluation.world import COLUMNS, HEURISTICS, START, catalogue, impressions, log_of


@pytest.mark.parametrize("name", HEURISTICS)
def test_a_heuristic_reads_only_features_of_the_catalogue(name: str) -> None:
    read = [c for c in impressions(0).columns if c not in COLUMNS]
    assert set(read) <= set(FEATURES)
    found = Heuristic.fit(name, impressions(0)).score(impressions(1))
    for values in found.columns().values():
        assert values.shape == (900,) and np.isfinite(values).all()
    assert found.p_click.min() > 0 and found.p_click.max() < 1


def test_signals_find_the_appeal_that_the_world_has() -> None:
    validation, test = impressions(0, 4000), impressions(1, 4000)
    auc = {
        n: metrics.auc(test["click"].to_numpy(), Heuristic.fit(n, validation).score(test).p_click) for n in HEURISTICS
    }
    assert auc["random"] == pytest.approx(0.5, abs=0.03)
    assert auc["item_rate"] > 0.65 and auc["user_times_item_rate"] > auc["item_rate"]


def test_a_heuristics_probability_is_calibrated_as_a_models_is() -> None:
    test = impressions(1, 4000)
    found = Heuristic.fit("item_rate", impressions(0, 4000)).score(test)
    assert metrics.calibration_error(test["click"].to_numpy(), found.p_click) < 0.04


def test_random_depends_on_the_impression_and_not_on_its_neighbours() -> None:
    validation, test = impressions(0), impressions(1)
    heuristic = Heuristic.fit("random", validation)
    assert heuristic.score(test[5:9]).score.tolist() == heuristic.score(test).score[5:9].tolist()


def test_rows_of_another_catalogue_are_one_clear_line() -> None:
    with pytest.raises(HeuristicError, match="no column item_popularity_log_all"):
        Heuristic.fit("popular", impressions(0).drop("item_popularity_log_all"))


def asked(*instants: int, user: int = 99) -> Queries:
    return Queries(np.full(len(instants), user), np.array(instants))


def test_popular_counts_what_was_received_strictly_before_the_query() -> None:
    log = log_of(
        [("click", 1, 3, START), ("click", 2, 3, START + 1), ("click", 1, 2, START + 2), ("play", 1, 1, START)]
    )
    found = retrieve_popular(log, catalogue(4), asked(START, START + 2, START + 3), 2)
    assert found[1].tolist()[0] == 3 and found[1].tolist() != found[2].tolist()
    assert found[2].tolist() == [3, 2]
    assert found[0].tolist() == [1, 2]  # nothing is known yet: catalogue order


def test_trending_forgets_and_popular_does_not() -> None:
    old = [("click", u, 1, START) for u in range(5)]
    new = [("click", u, 2, START + 2 * DAY_MS) for u in range(2)]
    last = [("click", 7, 3, START + 2 * DAY_MS + 5 * HOUR_MS)]
    log, query = log_of([*old, *new, *last]), asked(START + 2 * DAY_MS + 5 * HOUR_MS + 1)
    assert retrieve_popular(log, catalogue(3), query, 1).tolist() == [[1]]
    assert retrieve_trending(log, catalogue(3), query, 1).tolist() == [[2]]
    assert retrieve_trending_now(log, catalogue(3), query, 1).tolist() == [[3]]


def test_decayed_trending_weighs_by_age_and_never_forgets_all_at_once() -> None:
    old = [("click", u, 1, START) for u in range(3)]
    new = [("click", u, 2, START + 2 * DAY_MS) for u in range(2)]  # three of two days ago are worth 0.75 now
    log, catalogue_of_3 = log_of([*old, *new, ("click", 8, 3, START + 2 * DAY_MS + 1)]), catalogue(3)
    found = retrieve_trending_decayed(log, catalogue_of_3, asked(START + 1, START + 3 * DAY_MS), 3)
    assert found[0].tolist()[0] == 1
    assert found[1].tolist() == [2, 3, 1]
    long_ago = log_of([("click", 1, 1, START), ("click", 2, 2, START + 4_000 * DAY_MS)])
    assert retrieve_trending_decayed(long_ago, catalogue_of_3, asked(START + 1), 1).tolist() == [[1]]


def test_resume_puts_what_was_opened_and_not_finished_first() -> None:
    log = log_of(
        [
            *[("click", u, 4, START) for u in range(20, 25)],
            ("impression", 9, 1, START), ("click", 9, 1, START + 1), ("long_view", 9, 1, START + 2),
            ("click", 9, 2, START + 3), ("click", 9, 3, START + 4), ("click", 9, 2, START + 5),
        ]
    )  # fmt: skip
    found = retrieve_resumed(log, catalogue(4), asked(START + 5, START + 6, user=9), 3)
    assert found.tolist() == [[3, 2, 4], [2, 3, 4]], "the last first, finished ones not, then the popular"
    assert retrieve_resumed(log, catalogue(4), asked(START + 6, user=8), 1).tolist() == [[4]]


def test_like_the_last_item_asks_who_else_engaged_with_it_before_the_first_query() -> None:
    together = [("click", u, item, START + u) for u in range(4) for item in (1, 2)]
    popular = [("click", u, 5, START + u) for u in range(10, 18)]
    later = [("click", u, item, START + HOUR_MS + 1) for u in range(30, 60) for item in (1, 4)]
    mine = [("click", 9, 1, START + 100)]
    log = log_of([*together, *popular, *mine, *later])
    query = asked(START + HOUR_MS, user=9)
    assert retrieve_like_last(log, catalogue(5), query, 2).tolist() == [[2, 5]]
    shown = log_of([*together, *popular, *mine, ("impression", 9, 2, START + 200)])
    assert retrieve_like_last(shown, catalogue(5), query, 1).tolist() == [[5]]


def test_what_a_user_was_shown_before_does_not_come_back_to_that_user() -> None:
    log = log_of([("impression", 9, 1, START), ("click", 5, 1, START + 1), ("click", 5, 2, START + 2)])
    mine = retrieve_popular(log, catalogue(3), asked(START + 9, user=9), 3)
    others = retrieve_popular(log, catalogue(3), asked(START + 9, user=8), 3)
    assert mine.tolist() == [[2, 3, 0]]
    assert others.tolist() == [[1, 2, 3]]
    at_that_instant = retrieve_popular(log, catalogue(3), asked(START, user=9), 3)
    assert 1 in at_that_instant[0]


@pytest.mark.parametrize("name", list(RETRIEVERS))
def test_lists_name_no_item_twice_and_are_padded_with_zero(name: str) -> None:
    log = log_of([("click", 1, 3, START)])
    found = RETRIEVERS[name](log, catalogue(5), asked(START + 1, START + DAY_MS), 8)
    assert found.shape == (2, 8)
    for row in found:
        assert sorted(row[row != 0]) == [1, 2, 3, 4, 5] and (row[5:] == 0).all()
    assert not RETRIEVERS[name](log, catalogue(0), asked(START), 3).any()


def test_the_control_gains_by_user_and_nothing_within_a_slate() -> None:
    # positives come at random: no model can order them, yet the past rate of the user itself orders the user's rows
    rng = np.random.default_rng(1)
    users, turns = 400, 4
    label = rng.integers(0, 2, (users, turns))
    before = np.cumsum(label, axis=1) - label
    rate = (before + 0.5) / (np.arange(turns) + 1)
    user, slate = np.repeat(np.arange(users), turns), np.arange(users * turns)
    assert metrics.gauc(user, label.ravel(), -rate.ravel()) > 0.6
    assert np.isnan(metrics.gauc(slate, label.ravel(), -rate.ravel()))
    two_shown = pl.DataFrame({"slate": np.repeat(slate, 2), "rate": np.repeat(rate.ravel(), 2)})
    again = rng.integers(0, 2, two_shown.height)
    assert metrics.gauc(two_shown["slate"].to_numpy(), again, -two_shown["rate"].to_numpy()) == pytest.approx(0.5)
