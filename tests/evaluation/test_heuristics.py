"""Heuristics order by what they say, see nothing of the future, and give probabilities like a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.evaluation import metrics
from recsys.evaluation.heuristics import (
    RETRIEVERS,
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
from recsys.ranking.explain import phrase_of
from recsys.ranking.heuristics import RULES, HeuristicError, HeuristicRanker
from recsys.ranking.ranker import RankerError
from recsys.ranking.saved import load_ranker
from recsys.training_sets.examples import examples
from recsys.training_sets.inputs import Inputs
from tests.evaluation.world import COLUMNS, HEURISTICS, START, catalogue, impressions, log_of

NAMES = tuple(name for name in impressions(0).columns if name not in COLUMNS)


def fitted(name: str, validation: pl.DataFrame) -> HeuristicRanker:
    return HeuristicRanker.fit(name, examples(validation, NAMES), NAMES, "f")


def inputs(frame: pl.DataFrame) -> Inputs:
    return Inputs.of(frame, NAMES)


@pytest.mark.parametrize("name", HEURISTICS)
def test_a_heuristic_reads_only_features_of_the_catalogue(name: str) -> None:
    assert set(NAMES) <= set(FEATURES)
    predictions = fitted(name, impressions(0)).predict(inputs(impressions(1)))
    for values in predictions.columns().values():
        assert values.shape == (900,) and np.isfinite(values).all()
    assert predictions.p_click.min() > 0 and predictions.p_click.max() < 1


def test_signals_find_the_appeal_that_the_world_has() -> None:
    validation, test = impressions(0, 4000), impressions(1, 4000)
    auc = {
        n: metrics.auc(test["click"].to_numpy(), fitted(n, validation).predict(inputs(test)).p_click)
        for n in HEURISTICS
    }
    assert auc["random"] == pytest.approx(0.5, abs=0.03)
    assert auc["item_rate"] > 0.65 and auc["user_times_item_rate"] > auc["item_rate"]


def test_a_heuristics_probability_is_calibrated_as_a_models_is() -> None:
    test = impressions(1, 4000)
    predictions = fitted("item_rate", impressions(0, 4000)).predict(inputs(test))
    assert metrics.calibration_error(test["click"].to_numpy(), predictions.p_click) < 0.04


@pytest.mark.parametrize("name", RULES)
def test_a_heuristic_is_a_ranker_like_any_other(name: str, tmp_path: Path) -> None:
    ranker, fresh = fitted(name, impressions(0)), inputs(impressions(1, 40))
    ranker.save(tmp_path / name)
    loaded = load_ranker(tmp_path / name)
    assert (loaded.name, loaded.feature_names, loaded.fingerprint) == (name, NAMES, "f")
    for column, values in ranker.predict(fresh).columns().items():
        alone = [loaded.predict_only(fresh.take(slice(i, i + 1)), [column])[column] for i in range(len(fresh))]
        assert np.concatenate(alone).tobytes() == values.tobytes(), "the same bits alone, among others, and from disk"
    assert loaded.explain(fresh) == ranker.explain(fresh)


def test_a_heuristics_reason_is_true_of_the_row() -> None:
    validation, test = impressions(0), impressions(1, 200)
    above = test["item_popularity_log_all"] > float(validation["item_popularity_log_all"].median())  # type: ignore[arg-type]
    phrase = phrase_of("item_popularity_log_all")
    assert phrase is not None
    for is_above, reason in zip(above, fitted("popular", validation).explain(inputs(test)), strict=True):
        assert reason == (phrase.key if is_above else RULES["popular"].reason)
    assert set(fitted("random", validation).explain(inputs(test))) == {"rule.random"}


def test_a_log_without_long_views_and_watch_time_is_ordered_by_clicks() -> None:
    clicks = impressions(0).with_columns(long_view=pl.lit(0, pl.Int8), watch_ms=pl.lit(0))
    ranker = fitted("item_rate", clicks)
    predictions = ranker.predict(inputs(impressions(1)))
    assert ranker.aim == "click" and np.array_equal(predictions.score, ranker.signal(inputs(impressions(1)), "click"))
    assert np.isnan(predictions.p_long_view).all() and np.isnan(predictions.watch_seconds).all()
    assert np.isfinite(predictions.p_click).all()


def test_a_rule_that_is_no_more_and_rows_of_another_catalogue_are_one_clear_line(tmp_path: Path) -> None:
    dataclasses.replace(fitted("popular", impressions(0)), name="fewest_past_outcomes").save(tmp_path)
    with pytest.raises(RankerError, match="run the graph again"):
        load_ranker(tmp_path)
    fewer = tuple(name for name in NAMES if name != "item_popularity_log_all")
    with pytest.raises(HeuristicError, match="no column item_popularity_log_all"):
        HeuristicRanker.fit("popular", examples(impressions(0), fewer), fewer, "f")


def asked(*instants: int, user: int = 99, shelf: str = "feed", come_back: bool = True) -> Queries:
    return Queries(np.full(len(instants), user), np.array(instants), [shelf] * len(instants), come_back)


def test_popular_counts_what_was_received_strictly_before_the_query() -> None:
    log = log_of(
        [("click", 1, 3, START), ("click", 2, 3, START + 1), ("click", 1, 2, START + 2), ("play", 1, 1, START)]
    )
    lists = retrieve_popular(log, catalogue(4), asked(START, START + 2, START + 3), 2)
    assert lists[1].tolist()[0] == 3 and lists[1].tolist() != lists[2].tolist()
    assert lists[2].tolist() == [3, 2]
    assert lists[0].tolist() == [1, 2]  # nothing is known yet: catalogue order


def test_a_tie_at_the_cut_is_broken_by_item_whatever_the_size_of_the_catalogue() -> None:
    """Items 5, 10, ... were opened once each: which of them are listed once changed with items that nobody opened."""
    log = log_of([("click", u, 5 * u, START + u) for u in range(1, 21)])
    for size in (100, 101, 128, 400, 1_000, 5_000):
        lists = retrieve_popular(log, catalogue(size), asked(START + 99), 7)
        assert lists.tolist() == [[5, 10, 15, 20, 25, 30, 35]], size


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
    lists = retrieve_trending_decayed(log, catalogue_of_3, asked(START + 1, START + 3 * DAY_MS), 3)
    assert lists[0].tolist()[0] == 1
    assert lists[1].tolist() == [2, 3, 1]
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
    lists = retrieve_resumed(log, catalogue(4), asked(START + 5, START + 6, user=9), 3)
    assert lists.tolist() == [[3, 2, 4], [2, 3, 4]], "the last first, finished ones not, then the popular"
    assert retrieve_resumed(log, catalogue(4), asked(START + 6, user=8), 1).tolist() == [[4]]


def test_like_the_last_item_asks_who_else_engaged_with_it_before_the_first_query() -> None:
    together = [("click", u, item, START + u) for u in range(4) for item in (1, 2)]
    popular = [("click", u, 5, START + u) for u in range(10, 18)]
    later = [("click", u, item, START + HOUR_MS + 1) for u in range(30, 60) for item in (1, 4)]
    mine = [("click", 9, 1, START + 100)]
    log = log_of([*together, *popular, *mine, *later])
    query = asked(START + HOUR_MS, user=9)
    assert retrieve_like_last(log, catalogue(5), query, 2).tolist() == [[2, 5]]
    skipped = log_of([*together, *popular, *mine, ("skip", 9, 2, START + 200)])
    assert retrieve_like_last(skipped, catalogue(5), query, 1).tolist() == [[5]]


def test_what_the_service_would_leave_out_does_not_come_back_and_nothing_else_is_left_out() -> None:
    opened = [("click", 5, 1, START + 1), ("click", 5, 1, START + 2), ("click", 5, 2, START + 3)]
    for kind, is_left_out in (("impression", False), ("click", False), ("skip", True), ("dislike", True)):
        log = log_of([(kind, 9, 1, START), *opened])
        mine = retrieve_popular(log, catalogue(3), asked(START + 9, user=9), 3)
        assert mine.tolist() == ([[2, 3, 0]] if is_left_out else [[1, 2, 3]]), kind
        others = retrieve_popular(log, catalogue(3), asked(START + 9, user=8), 3)
        assert others.tolist() == [[1, 2, 3]]
        assert 1 in retrieve_popular(log, catalogue(3), asked(START, user=9), 3)[0], "at that instant nobody knew"
    log = log_of([("skip", 9, 1, START), *opened])
    for query in (asked(START + 9, user=9, shelf="shortcuts"), asked(START + 8 * DAY_MS, user=9)):
        assert 1 in retrieve_popular(log, catalogue(3), query, 3)[0], "each shelf has its rule, and a skip its term"
    log = log_of([("click", 9, 1, START), *opened])
    once = asked(START + 9, user=9, come_back=False)
    assert retrieve_popular(log, catalogue(3), once, 3).tolist() == [[2, 3, 0]]


@pytest.mark.parametrize("name", list(RETRIEVERS))
def test_lists_name_no_item_twice_and_are_padded_with_zero(name: str) -> None:
    log = log_of([("click", 1, 3, START)])
    lists = RETRIEVERS[name](log, catalogue(5), asked(START + 1, START + DAY_MS), 8)
    assert lists.shape == (2, 8)
    for row in lists:
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
