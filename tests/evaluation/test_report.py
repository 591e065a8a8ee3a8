"""The whole comparison on a small world: figures that can be recomputed, and a verdict that follows from them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.evaluation import compare, gates, metrics, report
from recsys.evaluation.compare import Comparison, Subject
from recsys.evaluation.gates import Verdict, VerdictError, decide
from recsys.evaluation.heuristics import CONTROLS, SIGNALS
from recsys.ranking import xgboost_ranker
from recsys.training_sets.examples import examples
from tests.evaluation.world import COLUMNS, impressions

PARTS = {
    "train": pl.concat([impressions(0, 1500), impressions(1, 1500)]),
    "validation": impressions(2, 1500),
    "test": impressions(3, 1500),
}
NAMES = tuple(c for c in PARTS["test"].columns if c not in COLUMNS)


@pytest.fixture(scope="module")
def ranker() -> xgboost_ranker.XGBoostRanker:
    train, validation = (examples(PARTS[part], NAMES) for part in ("train", "validation"))
    return xgboost_ranker.train(train, validation, NAMES, "f", threads=1, seed=7, rounds=40)


def subject(ranker: xgboost_ranker.XGBoostRanker, **changes: Any) -> Subject:
    task = report.retrieval_task(PARTS["test"])
    lists = np.tile(np.arange(1, 31), (len(task.user_id), 1))
    given = {"parts": PARTS, "challenger": ranker, "previous": None, "candidates": {"all": lists}, "source": "world"}
    return Subject(**{**given, "id_type": "int", **changes})


@pytest.fixture(scope="module")
def comparison(ranker: xgboost_ranker.XGBoostRanker) -> Comparison:
    return compare.compare(subject(ranker))


def test_every_model_meets_every_test_impression_with_ids_as_the_source_has_them(comparison: Comparison) -> None:
    table = comparison.predictions
    assert table.columns == ["model", "user_id", "item_id", "occurred_at", "date", "p_click", "p_long_view", "score"]
    assert table.schema["user_id"] == pl.Int64 and table.schema["item_id"] == pl.Int64
    assert set(table.group_by("model").len().rows()) == {(m, 1500) for m in comparison.evaluation["ranking"]}
    assert set(comparison.evaluation["ranking"]) - set(SIGNALS) <= {"champion", "xgboost"}


def test_every_figure_can_be_recomputed_from_the_predictions(comparison: Comparison) -> None:
    test = PARTS["test"]
    for (model,), mine in comparison.predictions.group_by("model"):
        told = comparison.evaluation["ranking"][model]["long_view"]
        label, user = test["long_view"].to_numpy(), mine["user_id"].to_numpy()
        assert told["auc"] == pytest.approx(metrics.auc(label, mine["p_long_view"].to_numpy()))
        assert told["gauc"] == pytest.approx(metrics.gauc(user, label, mine["score"].to_numpy()))
        assert told["ndcg@10"] == pytest.approx(metrics.ndcg_at_k(user, label, mine["score"].to_numpy(), 10))


def test_the_report_is_strict_json_that_states_its_data_and_split(comparison: Comparison, tmp_path: Path) -> None:
    compare.write(tmp_path, comparison, PARTS["test"])
    told = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert told["split"]["test"] == ["2024-10-07"] and told["first_day"] == "2024-10-04"
    assert told["impressions"] == {"train": 3000, "validation": 1500, "test": 1500}
    assert set(told["retrieval"]["all"]) >= {"recall@50", "recall@100", "recall@200", "ndcg@50"}
    assert set(told["controls"]) == set(CONTROLS)
    assert pl.read_parquet(tmp_path / "predictions.parquet").equals(comparison.predictions)
    for plot in ("ranking.svg", "calibration.svg"):
        assert "<svg" in (tmp_path / plot).read_text()


def test_the_same_report_gives_the_same_verdict_and_it_comes_back_from_disk(
    comparison: Comparison, tmp_path: Path
) -> None:
    again = decide(comparison.evaluation)
    assert (again.passed, again.reasons) == (comparison.verdict.passed, comparison.verdict.reasons)
    again.save(tmp_path / "verdict.json")
    assert Verdict.load(tmp_path / "verdict.json") == again
    with pytest.raises(VerdictError, match="materialize evaluation and verdict"):
        Verdict.load(tmp_path / "none.json")


def passing(comparison: Comparison) -> dict[str, Any]:
    """The report with a challenger that every gate lets through."""
    told = copy.deepcopy(comparison.evaluation)
    mine = told["ranking"][told["challenger"]]
    for label in ("click", "long_view"):
        mine[label] |= {"auc": 0.99, "gauc": 0.99, "calibration_error": 0.01}
    for name in told["heuristics"]:
        told["intervals"][name] |= {"auc_click": [0.1, 0.2], "auc_long_view": [0.1, 0.2], "gauc_long_view": [0.1, 0.2]}
    mine["watch_seconds"] |= {"mean_prediction": 5.0, "mean_observed": 5.0}
    assert decide(told).passed
    return told


def test_a_challenger_that_beats_every_heuristic_passes_and_is_called_champion(comparison: Comparison) -> None:
    verdict = decide(passing(comparison))
    assert verdict.reasons == ("all 6 gates hold",)
    assert comparison.verdict.passed, comparison.verdict.reasons
    assert "champion" in comparison.evaluation["ranking"] and comparison.evaluation["champion_is"] == "xgboost"


@pytest.mark.parametrize(("low", "theirs"), [(-0.02, 0.5), (0.01, 1.0)])
@pytest.mark.parametrize("metric", ["auc_click", "auc_long_view", "gauc_long_view"])
def test_one_heuristic_that_may_be_ahead_refuses(
    comparison: Comparison, metric: str, low: float, theirs: float
) -> None:
    told = passing(comparison)
    name, label = metric.split("_", 1)
    told["intervals"]["trending_24h"][metric] = [low, 0.3]
    told["ranking"]["trending_24h"][label][name] = theirs
    verdict = decide(told)
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith(f"beats every heuristic on {name} of {label}: 0.9900 against {theirs:.4f}")
    assert f"of trending_24h, difference {low:+.4f} to +0.3000, may reach -0.0" in verdict.reasons[0]


@pytest.mark.parametrize(("label", "value"), [("click", 0.2), ("long_view", float("nan"))])
def test_a_wrong_level_is_refused_and_says_why(comparison: Comparison, label: str, value: float) -> None:
    told = passing(comparison)
    told["ranking"][told["challenger"]][label]["calibration_error"] = value
    verdict = decide(told)
    assert not verdict.passed and len(verdict.reasons) == 1 and f"P({label}) is calibrated" in verdict.reasons[0]


@pytest.mark.parametrize(("high", "passes"), [(-0.01, True), (0.01, False), (None, False)])
def test_a_wrong_level_passes_where_the_previous_champion_is_certainly_further_off(
    comparison: Comparison, high: float | None, passes: bool
) -> None:
    told = passing(comparison)
    mine = told["ranking"][told["challenger"]]
    mine["click"]["calibration_error"] = mine["long_view"]["calibration_error"] = 0.2
    mine["watch_seconds"]["mean_prediction"] = 9.0
    losses = {name: [-0.1, high] for name in ("log_loss_click", "log_loss_long_view", "watch_deviance")}
    not_worse = {name: [0.0, 0.1] for name in gates.NON_INFERIORITY}
    told |= {"previous": "before", "intervals": {**told["intervals"], "before": {**losses, **not_worse}}}
    verdict = decide(told)
    assert verdict.passed == passes
    if passes:
        assert any("nearer than the previous champion (loss -0.1000 to -0.0100)" in g.reason for g in verdict.gates)
    else:
        assert len(verdict.reasons) == 3 and all("not certainly nearer" in reason for reason in verdict.reasons)


def test_a_wrong_watch_time_is_refused(comparison: Comparison) -> None:
    told = passing(comparison)
    told["ranking"][told["challenger"]]["watch_seconds"]["mean_prediction"] = 9.0
    assert "1.80" in decide(told).reasons[0]


def test_a_challenger_worse_than_the_previous_champion_is_refused_and_the_previous_stays_champion(
    ranker: xgboost_ranker.XGBoostRanker,
) -> None:
    weak = xgboost_ranker.train(
        examples(PARTS["train"][:300], NAMES[-1:]),
        examples(PARTS["validation"], NAMES[-1:]),
        NAMES[-1:],
        "f",
        threads=1,
        seed=7,
        rounds=3,
    )
    found = compare.compare(subject(weak, previous=ranker))
    assert not found.verdict.passed
    assert any("not worse than the previous champion on auc_long_view" in reason for reason in found.verdict.reasons)
    assert {"champion", "xgboost"} <= set(found.evaluation["ranking"])
    assert found.evaluation["previous"] == "champion" and found.evaluation["champion_is"] == "previous_champion"
    assert not decide(found.evaluation).passed
    same = compare.compare(subject(ranker, previous=ranker))
    assert all(gate.passed for gate in same.verdict.gates if "previous" in gate.claim)
    assert len([gate for gate in same.verdict.gates if "previous" in gate.claim]) == len(gates.NON_INFERIORITY)


def test_retrieval_asks_each_user_once_at_the_first_impression_for_what_was_engaged() -> None:
    rows = pl.DataFrame(
        {
            "user_id": ["a", "a", "a", "b", "c"],
            "user_key": [1, 1, 1, 2, 3],
            "item_key": [7, 8, 8, 9, 7],
            "impression_id": list("vwxyz"),
            "occurred_at": [50, 40, 60, 10, 20],
            "position": [5, 4, 6, 1, 2],
            "click": [0, 1, 1, 0, 0],
            "long_view": [1, 0, 0, 0, 1],
        }
    )
    task = report.retrieval_task(rows)
    assert (task.user_id, task.as_of.tolist(), task.impression_id) == (["c", "a"], [20, 40], ["z", "w"])
    assert list(zip(task.target_query.tolist(), task.target_item.tolist(), strict=True)) == [(0, 7), (1, 7), (1, 8)]
    found = report.evaluate_retrieval({"one": np.array([[7, 0], [9, 8]])}, task)["one"]
    assert found["recall@50"] == pytest.approx((1 + 1 / 2) / 2)


def test_candidate_lists_are_put_in_the_order_of_the_queries_and_a_missing_one_is_an_error() -> None:
    task = report.RetrievalTask(["a", "b"], np.array([1, 2]), np.array([10, 20]), ["x", "y"], *[np.zeros(0)] * 3)
    lists = pl.DataFrame({"source": "s", "user_key": [2, 1], "as_of": [20, 10], "item_keys": [[5], [6, 7]]})
    assert report.aligned(lists, task, k=2)["s"].tolist() == [[6, 7], [5, 0]]
    with pytest.raises(report.CandidatesError, match="materialize retrieval_candidates again"):
        report.aligned(lists[:1], task)


def test_regret_is_nothing_for_the_oracle_and_all_order_is_judged_within_slates() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random(300)
    rows = report.Rows(np.zeros(300), np.arange(300) // 10, {}, np.zeros(300))
    found = report.regret(rows, truth, {"backwards": -truth, "scaled": truth + 100.0 * rows.slate})
    assert found["oracle"] == {"true_ndcg@5": pytest.approx(1.0), "regret@5": pytest.approx(0.0)}
    assert found["scaled"]["regret@5"] == pytest.approx(0.0)
    assert found["backwards"]["regret@5"] > 0.5
