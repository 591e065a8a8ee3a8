"""A shelf's figures by hand, and a gate that refuses one shelf while the others go on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.evaluation import shelves
from recsys.evaluation.bootstrap import Resamples, interval
from recsys.evaluation.report import plain
from recsys.evaluation.shelves import CHALLENGER, FORMER, Task, figures, judge
from recsys.lake import Lake
from recsys.policy.shelves import NEWCOMER, SHELVES, Shelf
from recsys.policy.value import VALUE
from recsys.ranking.habits import COLUMNS, HabitRanker
from recsys.ranking.heuristics import HeuristicRanker
from recsys.ranking.orders import Asked, ByHabits, ByRanker, ByRule, load_order
from recsys.training_sets.examples import examples
from recsys_assets.defs.serving.parts import save_orders
from tests.evaluation.test_heuristics import NAMES
from tests.evaluation.world import impressions

ROW = Shelf(item_types=("video",), heuristics=("popular", "last_played"), metrics=("hit@2", "ndcg@2", "new_recall@2"))


def task(n: int, wanted: list[int], known: list[int]) -> Task:
    units = [np.array(wanted)] * n, [np.array(known)] * n
    return Task([f"u{i}" for i in range(n)], np.arange(n), np.zeros(n, np.int64), *units)


def test_figures_are_those_of_the_hand() -> None:
    slates = np.array([[5, 6, 0], [7, 5, 6], [0, 0, 0]])
    asked = Task(
        ["a", "b", "c"], np.arange(3), np.zeros(3), [np.array([5, 6])] * 2 + [np.array([])], [np.array([6])] * 3
    )
    told = figures(
        slates, asked, ("hit@1", "recall@2", "ndcg@2", "habitual_recall@2", "new_recall@3", "newcomer_hit@1")
    )
    ideal = 1 + 1 / np.log2(3)
    expected = {
        "hit@1": [1, 0], "recall@2": [1, 0.5], "ndcg@2": [1, 1 / np.log2(3) / ideal], "habitual_recall@2": [1, 0],
        "new_recall@3": [1, 1], "newcomer_hit@1": [1, 0],
    }  # fmt: skip
    for metric, values in expected.items():
        assert told[metric][:2] == pytest.approx(values) and np.isnan(told[metric][2]), metric


def test_a_gate_refuses_what_is_behind_a_heuristic_or_behind_what_serves_and_says_what_stands() -> None:
    asked, good, bad = task(60, [1, 2], [2]), np.tile([1, 2], (60, 1)), np.tile([8, 9], (60, 1))
    half = np.where(np.arange(60)[:, None] < 30, good, bad)
    told = judge(ROW, "click", asked, {CHALLENGER: good, "popular": half, "last_played": bad}, {CHALLENGER: "ours"})
    assert told["gate"]["passed"] and "ahead of popular, the nearest" in told["gate"]["reasons"][0]
    assert told["order"] == "ours" and told["champion"]["hit@2"] == 1.0 and told["rows"] == 60
    assert told["intervals"]["last_played"]["hit@2"] == [1.0, 1.0] and told["champion"]["new_recall@2"] == 1.0
    slates = {CHALLENGER: half, "popular": bad, "last_played": good}
    refused = judge(ROW, "click", asked, slates, {CHALLENGER: "ours"})
    assert not refused["gate"]["passed"] and "difference to last_played" in refused["gate"]["reasons"][0]
    assert refused["order"] == "last_played" and refused["champion"]["hit@2"] == 1.0
    assert refused["challenger"]["order"] == "ours" and refused["intervals"]["last_played"]["hit@2"] == [0.0, 0.0]
    slates = {CHALLENGER: half, "popular": bad, "last_played": bad, FORMER: good}
    refused = judge(ROW, "click", asked, slates, {CHALLENGER: "ours", FORMER: "theirs"})
    assert not refused["gate"]["passed"] and refused["order"] == "theirs" and "former" in refused["gate"]["reasons"][0]
    # the truth, where it is known, has the word
    truth = {
        name: np.full(60, worth)
        for name, worth in ((CHALLENGER, 0.5), ("popular", 0.4), ("last_played", 0.3), (shelves.BEST, 0.6))
    }
    told = judge(
        ROW, "click", asked, {CHALLENGER: half, "popular": good, "last_played": bad}, {CHALLENGER: "ours"}, truth
    )
    assert told["metric"] == "p_click" and told["gate"]["passed"] and told["regret"][CHALLENGER] == pytest.approx(0.1)
    assert "newcomer_p_click" not in told["champion"], "the row does not ask for them"


def test_what_newcomers_truly_get_is_told_apart() -> None:
    asked, shown = task(60, [1], [2]), np.tile([1, 2], (60, 1))
    asked.known[20:] = [np.arange(NEWCOMER)] * 40
    worth = np.where(np.arange(60) < 20, 0.3, 0.6)
    truth = {CHALLENGER: worth, "popular": worth - 0.1, "last_played": worth, shelves.BEST: worth}
    row = replace(ROW, metrics=("hit@2", "newcomer_hit@2"))
    told = judge(row, "click", asked, dict.fromkeys((CHALLENGER, *row.heuristics), shown), {CHALLENGER: "x"}, truth)
    assert told["champion"]["newcomer_p_click"] == pytest.approx(0.3) and told["champion"]["p_click"] > 0.4
    assert told["intervals"]["popular"]["newcomer_p_click"] == pytest.approx([0.1, 0.1])


def test_all_shelves_hold_together_so_chance_alone_refuses_none() -> None:
    """A heuristic that is ahead by .008 where the margin is .01: alone its interval would end below zero."""
    users = 2_000
    asked, noise = task(users, [1], []), np.random.default_rng(5).normal(0, 0.16, users)
    truth = noise - noise.mean() - 0.008
    slates = {name: np.tile([1, 2], (users, 1)) for name in (CHALLENGER, *ROW.heuristics)}
    worth = {CHALLENGER: truth, "popular": np.zeros(users), "last_played": truth, shelves.BEST: truth}
    assert interval(Resamples.draw(asked.user_key).mean(truth))[1] < 0
    told = judge(ROW, "click", asked, slates, {CHALLENGER: "ours"}, worth)
    low, high = told["intervals"]["popular"]["p_click"]
    assert low < truth.mean() < 0 < high and told["comparisons"] == shelves.COMPARISONS > 10
    assert told["gate"]["passed"] and told["gate"]["tells"] == pytest.approx((high - low) / 2)
    assert f"one of {shelves.COMPARISONS} comparisons" in told["gate"]["reasons"][0]


def test_a_shelf_without_any_success_says_so() -> None:
    empty = np.zeros((5, 2), np.int64)
    told = judge(ROW, "click", task(5, [], []), dict.fromkeys((CHALLENGER, *ROW.heuristics), empty), {CHALLENGER: "x"})
    assert told["gate"] == {"passed": False, "reasons": ["0 of its requests had a success to find, 20 are needed"]}
    assert told["order"] in ROW.heuristics and json.loads(json.dumps(plain(told), allow_nan=False))["champion"]
    nothing = shelves.nothing(SHELVES["podcasts"], "long_view", "the catalogue has no podcast")
    assert nothing["order"] == "popular" and not nothing["gate"]["passed"] and nothing["rows"] == 0


def test_a_refused_shelf_brings_its_heuristic_into_the_bundle_and_the_others_the_shared_ranker(tmp_path: Path) -> None:
    lake, rows = Lake(tmp_path), examples(impressions(0), NAMES)
    HeuristicRanker.fit("item_rate", rows, NAMES, "f").save(lake.models / "heuristics" / "item_rate")
    shared = ByRanker(HeuristicRanker.fit("random", rows, NAMES, "f"), VALUE)
    shared.ranker.save(lake.models / "ranker")
    lake.reports.mkdir(parents=True, exist_ok=True)

    def promote(name: str) -> None:
        told = {"passed": True, "reasons": [], "gates": [], "challenger": name, "is_first": True, "judged": {}}
        (lake.reports / "verdict.json").write_text(json.dumps(told))

    def saved(**told: tuple[bool, str]) -> dict[str, object]:
        report = {name: {"gate": {"passed": passed}, "order": order} for name, (passed, order) in told.items()}
        (lake.reports / "evaluation.json").write_text(json.dumps({"shelves": report}))
        folder = tmp_path / f"bundle{len(list(tmp_path.glob('bundle*')))}"
        save_orders(lake, folder)
        return {path.name: load_order(path, shared) for path in sorted((folder / "shelves").glob("*"))}

    promote("random")
    orders = saved(
        feed=(True, "random"), podcasts=(False, "item_rate"), shortcuts=(False, "last_played"), gone=(False, "x")
    )
    assert set(orders) == {"podcasts", "shortcuts"} and orders["shortcuts"] == ByRule("last_played")
    podcasts = orders["podcasts"]
    assert isinstance(podcasts, ByRanker) and podcasts.name == "item_rate"
    ByRule("same_hour").save(lake.models / "shelves" / "shortcuts")
    assert saved(feed=(False, "trending")) == {}, "the verdict alone decides on the feed"
    assert saved(shortcuts=(True, "habits")) == {"shortcuts": ByRule("same_hour")}
    # what the sources count beside the ranker comes with the bundle, and alone it is not the ranker's word on a list
    weighed = replace(shared, retrieval=0.5)
    weighed.save_beside(lake.models / "shelves" / "feed")
    assert saved(feed=(False, "trending")) == {"feed": weighed}
    promote("item_rate")
    assert saved(feed=(True, "random")) == {}, "a list that the verdict names is the feed's order, and not the ranker"
    # a head is saved beside the ranker whose score it reads, or brings its own where another one is the bundle's
    columns, success = np.random.default_rng(1).random((len(rows), len(COLUMNS))), rows.click > 0
    asked, own = Asked(rows.inputs, np.ones(len(rows)), lambda: columns), podcasts
    trees = HabitRanker.of_impressions(own.scores(asked), columns, success, 1)
    assert trees is not None and HabitRanker.of_impressions(own.scores(asked), columns, success & False, 1) is None
    head = ByHabits(trees, own)
    head.save(tmp_path / "alone")
    head.save_beside(tmp_path / "beside")
    alone, beside = load_order(tmp_path / "alone", shared), load_order(tmp_path / "beside", own)
    assert (alone.name, head.name) == ("head", "head")
    assert alone.scores(asked).tobytes() == beside.scores(asked).tobytes() == head.scores(asked).tobytes()
