"""The contest: the default stands unless another ranker is better beyond chance and orders as well."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from recsys.evaluation import metrics
from recsys.evaluation.contest import best_order, choose
from recsys.ranking.ranker import Predictions
from recsys.training_sets.examples import Examples
from recsys.training_sets.inputs import Inputs

RNG = np.random.default_rng(1)
N = 4000
TRUTH = 1 / (1 + np.exp(-RNG.normal(size=N)))
CLICK = (RNG.random(N) < TRUTH).astype(np.int8)
USER = np.arange(N) % 200
ROWS = Examples(
    Inputs.of_strangers(np.zeros((N, 1), np.float32)),
    CLICK,
    CLICK,
    np.zeros_like(CLICK),
    np.zeros(N, np.int64),
    USER,
    np.arange(N),
    np.ones(N),
)


def told(p: np.ndarray, score: np.ndarray | None = None) -> Predictions:
    return Predictions(p, p, p, p if score is None else score)


def noisy(spread: float, seed: int) -> np.ndarray:
    logit = np.log(TRUTH / (1 - TRUTH)) + spread * np.random.default_rng(seed).normal(size=N)
    return 1 / (1 + np.exp(-logit))


def test_a_better_ranker_is_chosen_and_its_figures_are_the_metrics(tmp_path: Path) -> None:
    contest = choose("trees", {"trees": told(noisy(1.0, 2)), "net": told(TRUTH)}, ROWS)
    assert contest.chosen == "net" and "net against trees" in contest.reason
    assert contest.entrants["net"].log_loss == pytest.approx(2 * metrics.log_loss(CLICK, TRUTH))
    assert contest.entrants["net"].ndcg == pytest.approx(metrics.ndcg_at_k(USER, CLICK, TRUTH, 5))
    assert contest.entrants["trees"].log_loss_less == (0.0, 0.0)
    contest.save(tmp_path / "contest.json")
    assert json.loads((tmp_path / "contest.json").read_text())["chosen"] == "net"


def test_the_default_stands_when_the_other_is_only_luckier() -> None:
    contest = choose("trees", {"trees": told(noisy(0.3, 2)), "net": told(noisy(0.29, 3))}, ROWS)
    assert contest.chosen == "trees" and contest.reason.startswith("trees stands")


def test_probabilities_alone_do_not_win_when_the_order_is_worse() -> None:
    backwards = told(TRUTH, score=-TRUTH)
    assert choose("trees", {"trees": told(noisy(1.0, 2)), "net": backwards}, ROWS).chosen == "trees"


def test_the_best_of_several_is_chosen() -> None:
    entrants = {"trees": told(noisy(1.0, 2)), "net": told(noisy(0.5, 3)), "blend": told(noisy(0.2, 4))}
    assert choose("trees", entrants, ROWS).chosen == "blend"


def test_an_order_that_is_certainly_better_wins_where_the_log_loss_cannot_tell() -> None:
    few = ROWS.take(USER < 50)
    truth, p = TRUTH[USER < 50], noisy(0.3, 2)[USER < 50]
    order = told(noisy(0.28, 3)[USER < 50], score=truth)
    contest = choose("trees", {"trees": told(p, score=noisy(3.0, 5)[USER < 50]), "net": order}, few)
    net = contest.entrants["net"]
    assert net.log_loss_less[0] < 0 < net.log_loss_less[1] and net.ndcg_more[0] > 0
    assert contest.chosen == "net" and "ndcg@5 +" in contest.reason


def test_a_better_order_does_not_win_with_certainly_worse_probabilities() -> None:
    entrants = {"trees": told(noisy(0.2, 2), score=noisy(2.0, 5)), "net": told(noisy(1.5, 3), score=TRUTH)}
    assert choose("trees", entrants, ROWS).chosen == "trees"


def test_the_order_of_the_trees_stands_unless_another_is_certainly_better() -> None:
    assert best_order("trees", {"trees": told(noisy(0.3, 2)), "net": told(noisy(0.29, 3))}, ROWS) == "trees"
    assert best_order("trees", {"trees": told(noisy(2.0, 2)), "net": told(TRUTH)}, ROWS) == "net"


def test_where_the_usual_is_beaten_all_order_together_if_they_are_certainly_better_too() -> None:
    entrants = {"factors": told(noisy(2.0, 2)), "net": told(TRUTH), "blend": told(noisy(1.0, 4))}
    assert best_order("factors", entrants, ROWS, together="blend") == "blend"
    assert best_order("factors", entrants, ROWS) == "net"
    assert best_order("factors", {**entrants, "blend": told(noisy(2.0, 5))}, ROWS, together="blend") == "net"
    alike = {**entrants, "factors": told(TRUTH)}
    assert best_order("factors", alike, ROWS, together="blend") == "factors"


def test_a_log_without_long_views_is_judged_by_its_clicks() -> None:
    rows = dataclasses.replace(ROWS, long_view=np.zeros(N, np.int8))
    contest = choose("trees", {"trees": told(noisy(1.0, 2)), "net": told(TRUTH)}, rows)
    assert contest.chosen == "net" and contest.entrants["net"].log_loss == pytest.approx(metrics.log_loss(CLICK, TRUTH))
