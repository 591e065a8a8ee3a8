"""Slates judged: lists know the past alone, figures are what a hand would count, and the gate refuses what is worse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recsys.evaluation import gates, served
from recsys.evaluation.served import Requests, TrueOutcomes
from recsys.events import DAY_MS, HOUR_MS
from tests.evaluation.world import START, log_of

ITEMS = np.arange(1, 7)  # keys; the row of an item is one less


def requests(*asked: tuple[int, int]) -> Requests:
    users, at = zip(*asked, strict=True)
    return Requests([str(user) for user in users], np.array(users), np.array(at))


def everything(n: int) -> list[np.ndarray]:
    return [np.arange(len(ITEMS))] * n


def test_lists_count_what_was_received_before_and_leave_out_what_is_not_allowed() -> None:
    events = [("impression", user, item, START) for user in range(1, 41) for item in (1, 2)]
    events += [("click", user, 1, START + 1) for user in range(1, 31)]
    events += [("long_view", user, 2, START + 1) for user in range(1, 21)]
    events += [("click", 50, 3, START + 2 * DAY_MS), ("click", 51, 3, START + 2 * DAY_MS)]
    events += [("click", user, 4, START + 3 * DAY_MS) for user in range(1, 41)]
    asked = requests((50, START + 2 * DAY_MS + HOUR_MS), (60, START))
    allowed = [np.arange(6), np.array([5, 4])]
    listed = served.lists(log_of(events), ITEMS, asked, allowed, "long_view", 3)
    assert listed.slates["popular"][0].tolist() == [0, 1, 2]
    assert listed.slates["trending"][0, 0] == 2, "of the last day"
    assert listed.slates["item_rate"][0, 0] == 1, "viewed long by half of those who saw it"
    for name in served.LISTS:
        assert listed.slates[name][1].tolist() == [4, 5, -1], "nothing was known: by row, and what is allowed alone"
        assert 3 not in listed.slates[name][0][:2], "what came later takes no part"
    assert listed.shown.tolist() == [0, 0]


def test_next_items_are_new_ones_of_the_day_and_hits_are_counted_by_hand() -> None:
    log = log_of(
        [
            ("click", 1, 1, START),
            ("click", 1, 1, START + 10),
            ("click", 1, 2, START + 20),
            ("long_view", 1, 3, START + 30),
            ("impression", 1, 4, START + 40),
            ("click", 1, 5, START + 2 * DAY_MS),
            ("click", 2, 6, START + 50),
        ]
    )
    wanted = served.next_items(log, ITEMS, requests((1, START + 5), (2, START + 60)), everything(2))
    assert [rows.tolist() for rows in wanted] == [[1, 2], []]
    hits = served.hits(np.array([[4, 2, -1], [0, 1, 2]]), wanted)
    assert {name: values.tolist() for name, values in hits.items()} == {
        "hit@3": [1.0],
        "recall@3": [0.5],
        "ndcg@3": [pytest.approx((1 / np.log2(3)) / (1 + 1 / np.log2(3)))],
    }


def judged(users: int = 400, ours: float = 0.6, fused: float = 0.5, popular: float = 0.55) -> dict[str, Any]:
    """A report of a world in which row r of the catalogue is worth r / 10 to everybody, more or less."""
    rng = np.random.default_rng(1)
    level = {"challenger": ours, "fused": fused, "popular": popular}
    slates = {name: np.tile(np.arange(3), (users, 1)) for name in (*level, *served.LISTS, "before_policy")}
    worth = {name: np.tile(level.get(name, 0.1), (users, 3)) + rng.normal(0, 0.1, (users, 3)) for name in slates}
    for name in ("best_each", "best_of_candidates"):
        slates[name], worth[name] = slates["fused"], np.full((users, 3), 0.9)
    asked = requests(*((user, START) for user in range(users)))
    nothing = [np.empty(0, np.int64)] * users
    return served.judge(slates, asked, nothing, np.zeros(6, np.int64), np.arange(users), worth)


def test_a_report_tells_each_slate_its_interval_and_what_each_stage_lost() -> None:
    told = judged()
    assert told["metric"] == "p_long_view" and told["users_judged"] == 400 and told["users_with_next_items"] == 0
    low, high = told["intervals"]["fused"]["p_long_view"]
    assert 0.05 < low < 0.1 < high < 0.15
    lost = told["lost"]
    assert sum(lost.values()) == pytest.approx(0.9 - told["slates"]["challenger"]["p_long_view"])
    assert [figures["users"] for figures in told["slates"]["fused"]["by_impressions_before"].values()] == [
        10,
        30,
        60,
        300,
    ]
    same = told["slates"]["popular"]
    assert (same["distinct_items"], same["share_of_first_place"], same["items_two_share"]) == (3, 1.0, 3.0)


def test_oracles_are_the_best_of_what_each_may_see() -> None:
    truth = np.array([[0.1, 0.9, 0.5, 0.4], [0.8, 0.1, 0.5, 0.3]])

    def of(place: int) -> TrueOutcomes:
        return TrueOutcomes(truth[place], truth[place], truth[place] * 1000)

    allowed = [np.arange(4), np.arange(3)]
    oracles, worth = served.true_slates(
        {"ours": np.array([[0, 3], [2, -1]])}, [np.array([0, 2]), np.arange(2)], allowed, of, 2
    )
    assert oracles["best_list"].tolist() == [[1, 2], [1, 2]], "by the mean of all: .5 and .5"
    assert oracles["best_each"].tolist() == [[1, 2], [0, 2]]
    assert oracles["best_of_candidates"].tolist() == [[2, 0], [0, 1]]
    assert worth["ours"][:, 1].tolist() == [0.25, 0.5]


@pytest.mark.parametrize(
    ("changes", "outcomes"),
    [
        ({}, ["holds", "holds"]),
        ({"fused": 0.7}, ["fails", "holds"]),
        ({"popular": 0.7}, ["holds", "fails"]),
        ({"popular": 0.6}, ["holds", "cannot tell"]),
        ({"users": 150, "popular": 0.9}, ["cannot tell", "cannot tell"]),
    ],
)
def test_slates_that_are_certainly_worse_than_a_list_are_refused(changes: dict[str, Any], outcomes: list[str]) -> None:
    worth = gates._worth_serving(judged(**changes))
    assert [gate.outcome for gate in worth] == outcomes
    assert [gate.lets_pass for gate in worth] == [outcome != "fails" for outcome in outcomes]
    assert "popular" in worth[1].claim and "users" in worth[1].reason
    assert gates._worth_serving(None) == []


def test_the_first_champion_is_the_challenger_unless_a_list_is_certainly_worth_more() -> None:
    first, why = gates._first({"challenger": "blend", "served": judged()})
    assert first == "blend" and "nothing is certainly ahead of its slates" in why and "400 users" in why
    first, why = gates._first({"challenger": "blend", "served": judged(popular=0.7)})
    assert first == "popular" and "popular is the first: its list is certainly ahead of blend's slates" in why


def test_an_empty_catalogue_of_the_past_and_no_requests_end_quietly() -> None:
    log = log_of([("impression", 1, 1, START)])
    listed = served.lists(log, ITEMS, requests((1, START + 5)), [np.empty(0, np.int64)], "click", 3)
    assert all((slates == -1).all() for slates in listed.slates.values()) and listed.shown.tolist() == [1]
    assert served.hits(np.full((1, 3), -1), [np.empty(0, np.int64)])["ndcg@3"].tolist() == []


def test_the_least_weight_is_the_first_that_is_not_certainly_behind_a_later_one() -> None:
    """Of 400 requests each wants row 0. The slates hit it never, in half, in all but two, always."""
    wanted = [np.array([0])] * 400
    never, always = np.full((400, 2), 1), np.full((400, 2), 0)
    nearly, half = always.copy(), always.copy()
    nearly[:2], half[:200] = 1, 1
    assert served.least([never, half, nearly, always], wanted) == 2
    assert served.least([always, never], wanted) == 0
    assert served.least([never, half, always], wanted) == 2
    few = slice(0, served.FEWEST_SERVED - 1)
    assert served.least([never[few], always[few]], wanted[few]) == 0, "too few tell"
    assert served.least([never, always], [np.array([], np.int64)] * 400) == 0, "nothing to hit"
