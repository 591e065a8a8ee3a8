"""The default ranker: what it predicts, that it predicts it alone as among others, and that it comes back from disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from recsys.evaluation import metrics
from recsys.evaluation.contest import choose
from recsys.ranking import xgboost_ranker
from recsys.ranking.objectives import SHARED, monotone
from recsys.ranking.ranker import FILE, LABEL_OF, RankerError
from recsys.ranking.saved import load_ranker
from recsys.ranking.xgboost_ranker import XGBoostRanker
from recsys.training_sets.examples import Examples, concat
from recsys.training_sets.inputs import Inputs
from recsys.training_sets.labels import LabelError
from tests.ranking.rows import NAMES, poorer, rows


@pytest.fixture(scope="module")
def ranker() -> XGBoostRanker:
    return xgboost_ranker.train(rows(4000, 1), rows(2000, 2), NAMES, "f1", threads=1, seed=7, rounds=60)


@pytest.fixture(scope="module")
def fresh() -> Inputs:
    return rows(500, 3).inputs


def test_heads_find_what_moves_each_outcome(ranker: XGBoostRanker) -> None:
    judged = rows(4000, 4)
    predictions = ranker.predict(judged.inputs)
    assert metrics.auc(judged.click, predictions.p_click) > 0.75
    assert metrics.auc(judged.long_view, predictions.p_long_view) > 0.75
    assert metrics.gauc(judged.slate, judged.relevance > 0, predictions.score) > 0.75
    assert metrics.calibration_error(judged.click, predictions.p_click) < 0.05
    assert predictions.watch_seconds.min() >= 0
    assert predictions.watch_seconds.mean() == pytest.approx(judged.watch_ms.mean() / 1000, rel=0.15)


def confounded(n: int, seed: int, explored: float, sound: bool) -> Examples:
    """Rows of which some explored: either these alone tell what an item's age does, or all the others do."""
    made = rows(n, seed)
    drawn = np.random.default_rng(seed).random(n) < explored
    features = made.features.copy()
    features[drawn != sound, 2] *= -1
    return dataclasses.replace(made, inputs=made.inputs.with_features(features), propensity=np.where(drawn, 0.05, 1.0))


@pytest.mark.parametrize(("sound", "way"), [(True, "weighed"), (False, "as they are")])
def test_rows_that_explored_are_weighed_where_validation_is_predicted_better(sound: bool, way: str) -> None:
    train, validation = confounded(6000, 21, 0.1, sound), rows(3000, 22)
    given = {"threads": 1, "seed": 7}
    ways = {
        name: xgboost_ranker.train(train, validation, NAMES, "f1", rounds=60, weighed=weighed, **given)
        for name, weighed in (("as they are", False), ("weighed", True))
    }
    contest = choose(
        "as they are", {name: ranker.predict(validation.inputs) for name, ranker in ways.items()}, validation
    )
    assert contest.chosen == way and contest.entrants["weighed"].log_loss != contest.entrants["as they are"].log_loss
    both = concat(train, validation)
    again = xgboost_ranker.refit(ways["weighed"], both, **given)
    plain = dataclasses.replace(ways["weighed"], facts={**ways["weighed"].facts, "weighed": False})
    plain = xgboost_ranker.refit(plain, both, **given)
    margins = (again.margin("click", validation.features), plain.margin("click", validation.features))
    assert margins[0].tobytes() != margins[1].tobytes()


def test_some_predictions_are_those_of_all(ranker: XGBoostRanker, fresh: Inputs) -> None:
    every = ranker.predict(fresh).columns()
    for name, values in every.items():
        assert ranker.predict_only(fresh, [name])[name].tobytes() == values.tobytes()


def test_a_row_is_predicted_bit_for_bit_alike_alone_and_in_any_batch(ranker: XGBoostRanker, fresh: Inputs) -> None:
    together = ranker.predict(fresh).columns()
    backwards = ranker.predict(fresh.take(slice(None, None, -1))).columns()
    for name, values in together.items():
        alone = np.concatenate([ranker.predict(fresh.take(slice(i, i + 1))).columns()[name] for i in range(len(fresh))])
        assert alone.tobytes() == values.tobytes(), name
        assert backwards[name][::-1].tobytes() == values.tobytes(), name


def test_contributions_add_up_to_the_margin(ranker: XGBoostRanker, fresh: Inputs) -> None:
    for head in ranker.boosters:
        added = ranker.contributions(fresh.features, head).astype(np.float64).sum(axis=1)
        np.testing.assert_allclose(added, ranker.margin(head, fresh.features), atol=1e-4)


def test_a_saved_ranker_predicts_the_same_bytes(ranker: XGBoostRanker, fresh: Inputs, tmp_path: Path) -> None:
    ranker.save(tmp_path)
    again = load_ranker(tmp_path)
    assert (again.name, again.fingerprint, again.feature_names) == ("xgboost", "f1", NAMES)
    for name, values in ranker.predict(fresh).columns().items():
        assert again.predict(fresh).columns()[name].tobytes() == values.tobytes(), name
    assert again.explain(fresh) == ranker.explain(fresh)


def test_importances_name_features_and_sum_to_one(ranker: XGBoostRanker) -> None:
    shares = ranker.importances()
    assert sum(shares.values()) == pytest.approx(1.0)
    assert next(iter(shares)) in ("item_long_view_rate_7d", "user_category_affinity_log_7d")


def test_training_twice_gives_the_same_predictions(fresh: Inputs) -> None:
    first, second = (
        xgboost_ranker.train(rows(800, 1), rows(800, 2), NAMES, "f", threads=1, seed=7, rounds=10) for _ in range(2)
    )
    assert first.predict(fresh).score.tobytes() == second.predict(fresh).score.tobytes()


def test_rows_of_one_kind_are_one_clear_line() -> None:
    silent = dataclasses.replace(rows(400, 1), click=np.zeros(400, np.int8), long_view=np.zeros(400, np.int8))
    with pytest.raises(LabelError, match="validation has 400 impressions, 0 with click, 0 with long_view"):
        xgboost_ranker.train(rows(400, 1), silent, NAMES, "f", threads=1, seed=7, rounds=5)


@pytest.mark.parametrize(
    ("without", "labels"),
    [
        (("long_view", "watch_ms"), ("click",)),
        (("watch_ms",), ("click", "long_view")),
        (("click", "watch_ms"), ("long_view",)),
    ],
)
def test_a_log_without_an_outcome_teaches_the_others(
    without: tuple[str, ...], labels: tuple[str, ...], fresh: Inputs, tmp_path: Path
) -> None:
    """Case 15: what is not there is NaN, and the slate is still ordered."""
    made = [poorer(rows(800, seed), without) for seed in (1, 2)]
    trained = xgboost_ranker.train(*made, NAMES, "f", threads=1, seed=7, rounds=10)
    again = xgboost_ranker.refit(trained, concat(*made), threads=1, seed=7)
    again.save(tmp_path)
    loaded = XGBoostRanker.load(tmp_path)
    assert loaded.labels == labels
    told = loaded.predict(fresh)
    for name, label in LABEL_OF.items():
        assert np.isfinite(told.columns()[name]).all() == (label in labels)
        assert np.isnan(told.columns()[name]).all() == (label not in labels)
    held_out = rows(1_000, 9)
    assert metrics.auc(held_out.click, loaded.predict(held_out.inputs).score) > 0.7
    assert len(loaded.explain(fresh)) == len(fresh)
    assert loaded.importances()


def test_rows_without_any_order_to_learn_are_ordered_by_the_aim(fresh: Inputs) -> None:
    """One row a user and slate: a log of one impression each."""
    alone = [dataclasses.replace(rows(800, s), user=np.arange(800), slate=np.arange(800)) for s in (1, 2)]
    trained = xgboost_ranker.train(*alone, NAMES, "f", threads=1, seed=7, rounds=10)
    assert "order" not in trained.boosters
    assert trained.predict(fresh).score.tobytes() == trained.margin("long_view", fresh.features).tobytes()


def test_rows_of_another_width_are_refused(ranker: XGBoostRanker) -> None:
    with pytest.raises(RankerError, match="takes 5 features a row"):
        ranker.predict(Inputs.of_strangers(np.zeros((2, 4), np.float32)))


def test_a_folder_without_a_ranker_or_with_a_broken_one_is_one_clear_line(
    ranker: XGBoostRanker, tmp_path: Path
) -> None:
    with pytest.raises(RankerError, match="materialize ranker first"):
        load_ranker(tmp_path)
    ranker.save(tmp_path)
    (tmp_path / "click.ubj").write_bytes(b"half")
    with pytest.raises(RankerError, match=r"click\.ubj is not readable"):
        load_ranker(tmp_path)
    (tmp_path / FILE).write_text('{"kind": "oracle"}')
    with pytest.raises(RankerError, match="kind 'oracle'"):
        load_ranker(tmp_path)


def test_a_constrained_rate_can_only_raise_its_own_head() -> None:
    names = ("item_ctr_7d", *NAMES[1:])
    assert monotone(names, "click") == "(1,0,0,0,0)" and monotone(names, "long_view") == "(0,0,0,0,0)"
    assert monotone(("item_long_view_rate_all", "item_age_days"), "long_view") == "(1,0)"
    made = rows(3000, 1)
    made.click[made.features[:, 0] > 1.2] = 0  # the highest rates lie: a free head would follow them down
    ranker = xgboost_ranker.train(made, rows(1500, 2), names, "f", threads=1, seed=7, rounds=60)
    path = np.zeros((200, 5), np.float32)
    path[:, 0] = np.linspace(-3, 3, 200)
    assert (np.diff(ranker.margin("click", path)) >= 0).all()
    assert (np.diff(ranker.margin("watch_seconds", path)) < 0).any(), "other heads are free"


def test_rounds_are_told_and_may_stop_the_judging() -> None:
    heard: list[int] = []
    given = (rows(800, 1), rows(800, 2), SHARED)
    score = xgboost_ranker.judged(*given, threads=1, seed=7, rounds=5, on_round=lambda r, value: heard.append(r))
    assert heard == list(range(10)) and 0.6 < score < 1.0

    def stop(r: int, value: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        xgboost_ranker.judged(*given, threads=1, seed=7, rounds=5, on_round=stop)
