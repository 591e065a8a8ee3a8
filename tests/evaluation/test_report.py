"""The whole comparison on a small world: figures that can be recomputed, and a verdict that follows from them."""

from __future__ import annotations

import copy
import json
import re
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.evaluation import compare, metrics, page, report
from recsys.evaluation.compare import Comparison, Subject
from recsys.evaluation.gates import COMPARISONS, Verdict, VerdictError, decide
from recsys.ranking import xgboost_ranker
from recsys.ranking.heuristics import CONTROLS, RULES
from recsys.ranking.ranker import Predictions
from recsys.training_sets.examples import examples
from recsys.training_sets.labels import probabilities
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
    return Subject(**{**given, **changes})


@pytest.fixture(scope="module")
def comparison(ranker: xgboost_ranker.XGBoostRanker) -> Comparison:
    return compare.compare(subject(ranker))


def test_every_model_meets_every_test_impression_with_ids_as_the_source_has_them(comparison: Comparison) -> None:
    table = comparison.predictions
    assert table.columns == ["model", "user_id", "item_id", "occurred_at", "date", "p_click", "p_long_view", "score"]
    assert table.schema["user_id"] == pl.Int64 and table.schema["item_id"] == pl.Int64
    assert set(table.group_by("model").len().rows()) == {(m, 1500) for m in comparison.evaluation["ranking"]}
    assert set(comparison.evaluation["ranking"]) - set(RULES) <= {"champion", "xgboost"}


def test_a_column_of_ids_is_of_integers_where_every_one_is() -> None:
    assert report.as_written(pl.Series(["5004", "0", "-1"])).to_list() == [5004, 0, -1]
    for other in ("promo-a", "007", "123456789012345678", "5004.0", ""):
        assert report.as_written(pl.Series(["5004", other])).to_list() == ["5004", other]


def test_every_figure_can_be_recomputed_from_the_predictions(comparison: Comparison) -> None:
    test = PARTS["test"]
    for (model,), mine in comparison.predictions.group_by("model"):
        told = comparison.evaluation["ranking"][model]["long_view"]
        label, user = test["long_view"].to_numpy(), mine["user_id"].to_numpy()
        assert told["auc"] == pytest.approx(metrics.auc(label, mine["p_long_view"].to_numpy()))
        assert told["gauc"] == pytest.approx(metrics.gauc(user, label, mine["score"].to_numpy()))
        assert told["ndcg@10"] == pytest.approx(metrics.ndcg_at_k(user, label, mine["score"].to_numpy(), 10))


def test_the_report_is_strict_json_that_states_its_data_and_split(comparison: Comparison, tmp_path: Path) -> None:
    compare.write(tmp_path, comparison)
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
    """The report with a previous champion and a challenger that every gate lets through."""
    told = copy.deepcopy(comparison.evaluation)
    mine = told["ranking"][told["challenger"]]
    for label in ("click", "long_view"):
        mine[label] |= {"auc": 0.99, "gauc": 0.99}
    for name in told["heuristics"]:
        told["intervals"][name] |= {"auc_click": [0.1, 0.2], "auc_long_view": [0.1, 0.2], "gauc_long_view": [0.1, 0.2]}
    not_worse = {name: [0.0, 0.001] for name in ("auc_click", "auc_long_view", "gauc_long_view")}
    losses = {name: [-0.1, 0.01] for name in ("log_loss_click", "log_loss_long_view", "watch_deviance")}
    told |= {"previous": "before", "intervals": {**told["intervals"], "before": {**not_worse, **losses}}}
    fine = [0.01, 0.0, 0.02]
    told["levels"] = {
        "calibration_error_click": fine, "calibration_error_long_view": fine, "watch_ratio": [1.0, 0.9, 1.1]
    }  # fmt: skip
    assert decide(told).passed
    return told


def test_a_challenger_that_beats_every_heuristic_and_is_not_worse_passes(comparison: Comparison) -> None:
    verdict = decide(passing(comparison))
    assert verdict.reasons == ("all 9 gates hold (40 users, 1,500 rows)",)
    assert verdict.challenger == "xgboost" and not verdict.is_first
    looked_at = f"40 users, 1,500 rows, one of {COMPARISONS} comparisons"
    assert all(looked_at in gate.reason and gate.tells is not None for gate in verdict.gates), "and what it can tell"


def test_without_a_champion_the_learned_ranker_is_the_first_whatever_its_gates_say(comparison: Comparison) -> None:
    verdict = comparison.verdict
    assert verdict.passed and verdict.is_first and verdict.challenger == "xgboost"
    assert verdict.reasons[0].startswith("no champion serves yet, so xgboost is the first: nothing is certainly ahead")
    assert "champion" in comparison.evaluation["ranking"] and comparison.evaluation["champion_is"] == "xgboost"


def test_without_a_champion_a_heuristic_that_is_certainly_ahead_is_the_first(
    ranker: xgboost_ranker.XGBoostRanker,
) -> None:
    weak = xgboost_ranker.train(
        *(examples(PARTS[part], NAMES[:1]) for part in ("train", "validation")),
        NAMES[:1], "f", threads=1, seed=7, rounds=3,
    )  # fmt: skip
    compared = compare.compare(subject(weak))
    first = compared.verdict.challenger
    assert compared.verdict.passed and compared.verdict.is_first and first in RULES
    highest = max(
        RULES, key=lambda name: compared.evaluation["ranking"].get(name, {}).get("long_view", {}).get("ndcg@5", 2)
    )
    assert first == highest, "which is called champion in the report"
    assert f"so {first} is the first: certainly ahead of xgboost by +0." in compared.verdict.reasons[0]
    assert any(gate.outcome == "fails" for gate in compared.verdict.gates), "they are told, and refuse nobody"
    assert compared.evaluation["champion_is"] == first and compared.evaluation["challenger"] == "xgboost"
    assert "champion" in compared.evaluation["heuristics"] and decide(compared.evaluation) == compared.verdict
    assert compared.heuristics[first].name == first
    again = compare.compare(subject(ranker, previous=compared.heuristics[first]))
    assert again.verdict.passed and not again.verdict.is_first, again.verdict.reasons


@pytest.mark.parametrize(("low", "high", "theirs"), [(-0.02, -0.001, 1.0), (-0.004, 0.001, 0.5), (0.0, 0.001, 1.0)])
@pytest.mark.parametrize("metric", ["auc_click", "auc_long_view", "gauc_long_view"])
def test_one_heuristic_that_is_ahead_refuses(
    comparison: Comparison, metric: str, low: float, high: float, theirs: float
) -> None:
    if metric.startswith("gauc"):
        low, high = 3 * low, 3 * high
    told = passing(comparison)
    name, label = metric.split("_", 1)
    told["intervals"]["trending_24h"][metric] = [low, high]
    told["ranking"]["trending_24h"][label][name] = theirs
    verdict = decide(told)
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith(f"beats every heuristic on {name} of {label}: 0.9900 against {theirs:.4f}")
    assert f"of trending_24h, difference {low:+.4f} to {high:+.4f}, may reach -0.0" in verdict.reasons[0]


@pytest.mark.parametrize(("interval", "outcome", "passes"), [
    ([-0.003, 0.5], "holds", True),
    ([-0.004, 0.001], "fails", False),  # .005 wide: two equal models would be .0025 either way, which holds
    ([-0.010, 0.012], "cannot tell", True),
    ([-0.012, 0.010], "cannot tell", False),
    ([-0.030, -0.001], "fails", False),
    ([None, None], "cannot tell", True),
])  # fmt: skip
def test_a_gate_cannot_tell_where_its_interval_is_wider_than_its_bound_could_decide(
    comparison: Comparison, interval: list[float | None], outcome: str, passes: bool
) -> None:
    told = passing(comparison)
    told["intervals"]["before"]["auc_click"] = interval
    verdict = decide(told)
    (gate,) = [gate for gate in verdict.gates if gate.claim == "not worse than the previous champion on auc_click"]
    assert (gate.outcome, verdict.passed) == (outcome, passes)
    if outcome == "cannot tell" and passes:
        assert verdict.reasons == ("8 of 9 gates hold of xgboost, none fails, 1 cannot tell (40 users, 1,500 rows)",)
    elif outcome == "cannot tell":
        assert "too wide to tell, and leans against it" in verdict.reasons[0]


@pytest.mark.parametrize(("elsewhere", "passes"), [([0.001, 0.004], True), ([-0.001, 0.004], False)])
def test_who_is_certainly_ahead_in_one_comparison_is_not_held_up_by_one_that_cannot_tell(
    comparison: Comparison, elsewhere: list[float], passes: bool
) -> None:
    told = passing(comparison)
    told["intervals"]["before"]["auc_click"] = [-0.012, 0.010]
    told["intervals"]["before"]["auc_long_view"] = elsewhere
    assert decide(told).passed == passes
    told["intervals"]["before"]["auc_click"] = [-0.030, -0.001]  # certainly behind: nothing makes up for it
    assert not decide(told).passed


@pytest.mark.parametrize("label", ["click", "long_view"])
def test_a_wrong_level_is_refused_and_says_why(comparison: Comparison, label: str) -> None:
    told = passing(comparison)
    told["levels"][f"calibration_error_{label}"] = [0.2, 0.18, 0.22]
    verdict = decide(told)
    assert not verdict.passed and len(verdict.reasons) == 1 and f"P({label}) is calibrated" in verdict.reasons[0]
    told["levels"][f"calibration_error_{label}"] = [0.07, 0.04, 0.1]
    (gate,) = [gate for gate in decide(told).gates if gate.outcome != "holds"]
    assert gate.outcome == "cannot tell" and "chance alone reaches from 0.04 to 0.10" in gate.reason


def test_the_reach_of_chance_is_that_of_right_probabilities_and_shrinks_with_users() -> None:
    rng = np.random.default_rng(3)

    def reach(users: int) -> list[float]:
        p = rng.uniform(0.1, 0.6, users * 20)
        right = (rng.random(len(p)) < p).astype(np.float64)
        rows = report.Rows(np.repeat(np.arange(users), 20), np.arange(len(p)), {"click": right}, np.zeros(len(p)))
        return report.levels(rows, Predictions(p, p, p, p))["calibration_error_click"]

    few, many = reach(50), reach(2000)
    assert few[1] == 0.0 and many[1] == 0.0, "what is right is not certainly off"
    assert few[2] - few[0] > 0.03 and many[2] - many[0] < 0.01


@pytest.mark.parametrize(("high", "passes"), [(-0.01, True), (0.01, False), (None, False)])
def test_a_wrong_level_passes_where_the_previous_champion_is_certainly_further_off(
    comparison: Comparison, high: float | None, passes: bool
) -> None:
    told = passing(comparison)
    off = [0.2, 0.15, 0.25]
    told["levels"] = {
        "calibration_error_click": off, "calibration_error_long_view": off, "watch_ratio": [1.8, 1.6, 2.0]
    }  # fmt: skip
    losses = {name: [-0.1, high] for name in ("log_loss_click", "log_loss_long_view", "watch_deviance")}
    told["intervals"]["before"] |= losses
    verdict = decide(told)
    assert verdict.passed == passes
    if passes:
        assert any("nearer than the previous champion (loss -0.1000 to -0.0100)" in g.reason for g in verdict.gates)
    else:
        assert len(verdict.reasons) == 3 and all("not certainly nearer" in reason for reason in verdict.reasons)


def test_a_wrong_watch_time_is_refused(comparison: Comparison) -> None:
    told = passing(comparison)
    told["levels"]["watch_ratio"] = [1.8, 1.6, 2.0]
    assert "1.80" in decide(told).reasons[0]


@pytest.mark.parametrize(
    ("level", "loss", "passes"),
    [
        ([0.62, 0.39, 0.98], [-0.1, 0.4], True),  # 70 users: one that is right would reach .63 to 1.58
        ([0.62, 0.39, 0.98], [0.1, 0.4], False),  # certainly further off than the champion all the same
        ([0.62, 0.39, 0.70], [-0.1, 0.4], False),  # certainly off
        ([0.70, 0.60, 0.80], [-0.1, 0.4], False),  # narrow enough to tell one that is right; it leans the other way
    ],
)
def test_a_watch_time_that_chance_alone_could_put_anywhere_holds_nobody_back(
    comparison: Comparison, level: list[float], loss: list[float], passes: bool
) -> None:
    told = passing(comparison)
    told["levels"]["watch_ratio"], told["intervals"]["before"]["watch_deviance"] = level, loss
    verdict = decide(told)
    assert verdict.passed == passes, verdict.reasons
    (gate,) = [gate for gate in verdict.gates if "watch time" in gate.claim]
    assert gate.outcome == ("fails" if level[2] < 0.75 else "cannot tell")


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
    compared = compare.compare(subject(weak, previous=ranker))
    assert not compared.verdict.passed
    assert any("not worse than the previous champion on auc_long_view" in reason for reason in compared.verdict.reasons)
    assert {"champion", "xgboost"} <= set(compared.evaluation["ranking"])
    assert compared.evaluation["previous"] == "champion" and compared.evaluation["champion_is"] == "previous_champion"
    assert not decide(compared.evaluation).passed
    same = compare.compare(subject(ranker, previous=ranker))
    assert all(gate.outcome == "holds" for gate in same.verdict.gates if "previous" in gate.claim)
    assert len([gate for gate in same.verdict.gates if "previous" in gate.claim]) == 3


def test_rows_that_the_previous_champion_learned_from_judge_nobody(ranker: xgboost_ranker.XGBoostRanker) -> None:
    at = PARTS["test"]["occurred_at"].sort()
    half = compare.compare(subject(ranker, previous=ranker, previous_learned_until=int(at[749])))
    known = int((at <= at[749]).sum())
    assert half.evaluation["learned_by_previous"] == {"rows": known, "of": 1500, "left_out": True}
    assert half.evaluation["impressions"]["test"] == 1500 - known == half.test.height
    assert set(half.predictions.group_by("model").len()["len"]) == {1500 - known}
    assert half.predictions["occurred_at"].min() > at[749]
    assert f"without {known:,} that the previous champion learned from" in half.verdict.reasons[-1]
    fresh = PARTS["test"].filter(pl.col("occurred_at") > at[749])
    alone = compare.compare(subject(ranker, previous=ranker, parts={**PARTS, "test": fresh}))
    assert half.evaluation["ranking"] == alone.evaluation["ranking"]
    assert half.evaluation["intervals"] == alone.evaluation["intervals"]
    # not one row is left: the two cannot be compared, and the champion stays
    whole = compare.compare(subject(ranker, previous=ranker, previous_learned_until=int(at[-1])))
    assert whole.evaluation["impressions"]["test"] == 1500 and not whole.verdict.passed
    beside = [gate for gate in whole.verdict.gates if "previous" in gate.claim]
    assert len(beside) == 3 and {gate.outcome for gate in beside} == {"cannot tell"}
    assert all("it learned from 1,500 of the 1,500 test rows" in gate.reason for gate in beside)
    before = compare.compare(subject(ranker, previous=ranker, previous_learned_until=int(at[0]) - 1))
    assert "learned_by_previous" not in before.evaluation


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
    figures = report.evaluate_retrieval({"one": np.array([[7, 0], [9, 8]])}, task)["one"]
    assert figures["recall@50"] == pytest.approx((1 + 1 / 2) / 2)


def test_candidate_lists_are_put_in_the_order_of_the_queries_and_a_missing_one_is_an_error() -> None:
    task = report.RetrievalTask(
        ["a", "b"], np.array([1, 2]), np.array([10, 20]), ["x", "y"], np.zeros(0), [], *[np.zeros(0)] * 2
    )
    lists = pl.DataFrame({"source": "s", "user_key": [2, 1], "as_of": [20, 10], "item_keys": [[5], [6, 7]]})
    assert report.aligned(lists, task, k=2)["s"].tolist() == [[6, 7], [5, 0]]
    with pytest.raises(report.CandidatesError, match="materialize retrieval_candidates again"):
        report.aligned(lists[:1], task)


def test_regret_is_nothing_for_the_oracle_and_all_order_is_judged_within_slates() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random(300)
    rows = report.Rows(np.zeros(300), np.arange(300) // 10, {}, np.zeros(300))
    figures = report.regret(rows, truth, {"backwards": -truth, "scaled": truth + 100.0 * rows.slate})
    assert figures["oracle"] == {"true_ndcg@5": pytest.approx(1.0), "regret@5": pytest.approx(0.0)}
    assert figures["scaled"]["regret@5"] == pytest.approx(0.0)
    assert figures["backwards"]["regret@5"] > 0.5


def test_the_page_of_a_report_is_one_file_that_asks_nobody(comparison: Comparison, tmp_path: Path) -> None:
    compare.write(tmp_path, comparison)
    told = json.loads((tmp_path / "evaluation.json").read_text())
    decided = decide(told)
    text = page.write(tmp_path, told, decided).read_text()
    for model in told["ranking"]:
        assert f"<td class=t>{model}</td>" in text
    for gate in decided.gates:
        assert escape(gate.claim) in text and escape(gate.reason) in text
    for label in probabilities(told["labels"]):
        figure = told["ranking"][told["challenger"]][label]["auc"]
        assert f"{figure:.4f}" in text
    assert text.count("data:image/svg+xml;base64,") == len(list(tmp_path.glob("*.svg"))) > 2
    assert not re.search(r"https?://|<script|src=[^\"d]", text)
    assert "There was no champion" in text
    for part in ("served", "shelves", "cold_start"):  # the assets put them in
        assert part not in told
    told |= {
        "served": {"metric": "p_label", "users": 30, "slates": {"challenger": {"p_label": 0.7123}, "popular": {}}},
        "shelves": {
            "feed": {
                "metric": "ndcg@10", "rows": 12, "champion": {"ndcg@10": 0.4567},
                "heuristics": {"popular": {"ndcg@10": 0.1}},
                "intervals": {"popular": {"ndcg@10": [0.01, 0.0234]}}, "gate": {"passed": False, "reasons": ["a < b"]},
            }
        },
        "cold_start": {"items_by_age": {"under_1_day": {"targets": 9, "popular": {"recall@200": 0.1357}}}},
    }  # fmt: skip
    text = page.write(tmp_path, told, decided).read_text()
    for words in ("0.7123", "its gate refused", "0.4567", "+0.0234", "a &lt; b", "Cold start", "under 1 day", "0.1357"):
        assert words in text, words
    before = {**told, "previous": "popular"}
    assert "the champion that served" in page.write(tmp_path, before, decided).read_text()


def test_the_page_tells_who_gets_the_attention(comparison: Comparison, tmp_path: Path) -> None:
    shares = {"offered": 0.25, "slates": {"challenger": {"exposure": 0.375, "distance": 0.125}}}
    shares["slates"] |= {"fused": {"exposure": 0.125, "distance": 0.125, "interval": [0.2, 0.3]}}
    items = {"fresh items": shares}
    attention = {"places": [1.0, 0.5], "items": items, "people": {"new people": {"users": 30, "items": items}}}
    compare.write(tmp_path, comparison)
    told = json.loads((tmp_path / "evaluation.json").read_text())
    assert "Who gets the attention" not in page.write(tmp_path, told, decide(told)).read_text()
    told["served"] = {"metric": "ndcg@10", "users": 30, "users_judged": 30, "lists": [], "slates": {}} | {
        "attention": attention
    }
    text = page._attention(told)
    assert text.count("37.5%") == 2 and text.count("+0.200 to +0.300") == 2 and "new people" in text
