"""The cold start's figures: classes of users and items at the instant of the request, and lists of a segment."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.evaluation.cold_start import events_before, retrieve_segment_popular, told
from recsys.evaluation.heuristics import Queries, retrieve_popular
from recsys.evaluation.report import RetrievalTask
from recsys.events import DAY_MS, HOUR_MS, KINDS, key64
from recsys.features.log import EventLog, ItemColumns, Items
from recsys.features.people import People

AT = 20_000 * DAY_MS
USERS, ITEMS = key64(["de1", "de2", "fr1", "fr2", "who"]), np.sort(key64([f"i{n}" for n in range(6)]))
PEOPLE = People.of(
    ["de1", "de2", "fr1", "fr2"],
    np.zeros(4, np.int64),
    [[f"age_band={age}", f"country={land}"] for land, age in (("de", 1), ("de", 1), ("fr", 1), ("fr", 1))],
)
OLD, NEW = key64(["old", "new"])
CATALOGUE = Items(
    ITEMS,
    ItemColumns(
        np.array([OLD] * 5 + [NEW]), np.zeros(6, np.int64), np.ones(6, np.int64), np.ones(6, np.int64),
        AT - np.array([30, 30, 30, 30, 3, 0]) * DAY_MS - HOUR_MS,
    ),
)  # fmt: skip


def log_of(rows: list[tuple[str, int, int, int]]) -> EventLog:
    """Rows of kind, user, item and hours before AT."""
    kind, user, item, hours = zip(*rows, strict=True)
    n, at = len(rows), AT - np.array(hours) * HOUR_MS
    none = np.zeros(n, np.int64)
    keys = USERS[list(user)], ITEMS[list(item)], CATALOGUE.columns.category_key[list(item)]
    kinds = np.array([KINDS[k] for k in kind], np.int8)
    return EventLog(np.arange(1, n + 1), kinds, *keys, none, none, at, at, none)


# two of Germany like item 0, one of France item 1 twice; everybody saw 0 to 4, and item 5 came after that
LOG = log_of(
    [("impression", u, i, 90) for u in range(4) for i in range(5)]
    + [("click", 0, 0, 80), ("click", 1, 0, 79), ("click", 2, 1, 78), ("click", 2, 2, 70), ("click", 3, 2, 69)]
    + [("click", 2, 1, -1)]
)


def queries(*users: int) -> Queries:
    return Queries(USERS[list(users)], np.full(len(users), AT), ["feed"] * len(users), True)


def test_a_segment_s_own_come_first_then_everybody_s() -> None:
    lists = retrieve_segment_popular(LOG, CATALOGUE, queries(1, 3, 4), 4, PEOPLE)
    assert lists[0, 0] == ITEMS[0] and lists[1, 0] == ITEMS[2]
    everybody = retrieve_popular(LOG, CATALOGUE, queries(4), 4)
    assert lists[2].tolist() == everybody[0].tolist()  # of no segment
    nobody = retrieve_segment_popular(LOG, CATALOGUE, queries(1), 4, People.none())
    assert nobody.tolist() == retrieve_popular(LOG, CATALOGUE, queries(1), 4).tolist()


def test_classes_are_as_of_the_request_and_everything_is_counted_once() -> None:
    task = RetrievalTask(
        user_id=["de1", "fr1", "who"],
        user_key=USERS[[0, 2, 4]],
        as_of=np.full(3, AT),
        impression_id=["a", "b", "c"],
        position=np.arange(3),
        shelf=["feed"] * 3,
        target_query=np.array([0, 1, 1, 2, 2]),
        target_item=ITEMS[[0, 1, 5, 4, 5]],
    )
    task.as_of[2] -= 2 * HOUR_MS  # item 5 came an hour later
    assert events_before(LOG, task).tolist() == [1, 2, 0]  # what came after the request does not count
    fused = np.array([ITEMS[[0, 1, 2]], ITEMS[[2, 3, 4]], ITEMS[[4, 1, 2]]])
    others = np.zeros((3, 3), np.int64)
    given = {"fused": fused, "popular": np.tile(ITEMS[[1, 2, 0]], (3, 1)), "two_tower": others}
    figures = told(task, given, LOG, CATALOGUE, PEOPLE, {int(NEW): "anime"}, True)
    users = figures["users_by_events"]
    assert {name: of["rows"] for name, of in users.items()} == {"0": 1, "1": 2, "3": 0, "5": 0, "20": 0}
    assert users["0"]["champion"]["recall@50"] == 0.5 and users["0"]["popular"]["recall@50"] == 0
    assert users["1"]["champion"]["recall@50"] == 0.5 and users["1"]["popular"]["recall@50"] == 0.75
    assert users["0"]["intervals"]["popular"] == [0.5, 0.5]
    ages = figures["items_by_age"]
    assert [ages[name]["targets"] for name in ages] == [1, 1, 2, 0] and ages["under_1_day"]["champion"][
        "recall@200"
    ] == 0
    assert figures["new_categories"]["anime"]["targets"] == 1
    shown = figures["items_by_impressions"]
    assert {name: of["targets"] for name, of in shown.items()} == {"0": 1, "1": 3, "10": 0, "50": 0}
    assert shown["1"]["champion"]["recall@50"] == pytest.approx(2 / 3)
    assert figures["segments"] == 3 and figures["not_there_yet"] == 1
