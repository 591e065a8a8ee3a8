"""Who gets the attention of slates: counted by hand, and told of people who differ."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.evaluation import attention
from recsys.evaluation.served import CHALLENGER, Requests
from recsys.events import DAY_MS
from tests.evaluation.world import START, log_of

CURVE = {"0": 0.0, "1": float(np.log(0.5))}  # what is below the second place gets a half too
CREATORS = np.array([1, 1, 1, 2, 3, 0])
PUBLISHED = START - DAY_MS * np.array([400, 300, 2, 90, 6, 20])
PUBLISHED[5] = 0


def asked(users: int) -> Requests:
    return Requests([str(user) for user in range(users)], np.arange(users), np.full(users, START))


def test_a_place_gets_the_odds_of_its_click_and_one_below_the_curve_what_its_last_place_gets() -> None:
    places = np.array([0, 1, 2, 9])
    assert attention.of_places(CURVE, places).tolist() == pytest.approx([1.0, 0.5, 0.5, 0.5])
    assert attention.of_places({}, places).tolist() == [1.0] * 4
    assert attention.of_places({"1": 0.0, "3": -1.0}, places).tolist() == pytest.approx([1, 1, 1, np.exp(-1)])


def test_groups_of_items_are_by_the_size_and_age_of_their_creators_and_their_own_age() -> None:
    assert attention.of_small_creators(CREATORS).tolist() == [False] * 6  # sizes 3, 1, 1: none is below the middle
    assert attention.of_small_creators(np.array([1, 1, 1, 2, 2, 3, 0])).tolist() == [*[False] * 5, True, False]
    assert attention.is_fresh(PUBLISHED, np.full(6, START)).tolist() == [False, False, True, False, True, False]
    assert not attention.is_fresh(PUBLISHED, PUBLISHED - 1).any(), "what comes later is not there yet"
    first = attention.first_of_creators(CREATORS, PUBLISHED)
    assert ((START - first[:5]) // DAY_MS).tolist() == [400, 400, 400, 90, 6] and first[5] == 0


def test_exposure_is_the_share_of_attention_and_stands_beside_what_was_offered_and_the_others() -> None:
    users = 60
    slates = {
        CHALLENGER: np.tile([2, 0, -1], (users, 1)),  # a fresh item in the first place: 1 of 1.5
        "fused": np.tile([0, 2, 3], (users, 1)),  # in the second one: .5 of 2
        "popular": np.tile([4, 2, 0], (users, 1)),
    }
    slates["fused"][::2] = [0, 1, 3]  # and for half of the people nowhere
    groups = {"even": np.arange(users) % 2 == 0, "odd": np.arange(users) % 2 == 1}
    allowed = [np.arange(6) if user % 2 else np.arange(4) for user in range(users)]
    told = attention.judge(slates, allowed, asked(users), PUBLISHED, CREATORS, groups, CURVE)
    fresh = told["items"]["fresh items"]
    assert told["places"] == pytest.approx([1, 0.5, 0.5]) and fresh["offered"] == pytest.approx((1 / 4 + 2 / 6) / 2)
    ours, fused = fresh["slates"][CHALLENGER], fresh["slates"]["fused"]
    assert ours == {"exposure": pytest.approx(2 / 3), "distance": pytest.approx(2 / 3 - fresh["offered"])}
    assert fused["exposure"] == pytest.approx(0.25 / 2)
    low, high = fused["interval"]
    assert low < 2 / 3 - 0.25 / 2 < high and low > 0.4
    young = told["items"]["young creators"]["slates"]
    assert young[CHALLENGER]["exposure"] == 0.0 and young["popular"]["exposure"] == pytest.approx(0.5)
    even, odd = (told["people"][name]["items"]["fresh items"]["slates"] for name in groups)
    assert (even["fused"]["exposure"], odd["fused"]["exposure"]) == (0.0, 0.25)
    assert odd["fused"]["interval"] == pytest.approx([2 / 3 - 0.25] * 2) and set(odd) == {CHALLENGER, "fused"}
    assert told["people"]["odd"]["users"] == 30


def test_people_are_grouped_by_what_they_saw_since_when_and_on_what() -> None:
    users = 60
    log = log_of([("impression", user, 1, START - (1 if user % 2 else 30) * DAY_MS) for user in range(40)])
    devices = ["ios"] * 30 + ["web"] * 29 + [None]
    groups = attention.people(log, asked(users), np.repeat([0, 50], 30), devices)
    assert set(groups) == {
        "0 to 10 impressions before", "40 to 100 impressions before", "new people", "known people",
        "device ios", "device web",
    }  # fmt: skip
    assert np.flatnonzero(groups["known people"]).tolist() == list(range(0, 40, 2)), "the others came this week, or now"
    assert groups["device web"].sum() == 29
    assert attention.judge({CHALLENGER: np.zeros((0, 3), int)}, [], asked(0), PUBLISHED, CREATORS, {}, CURVE) == {}
