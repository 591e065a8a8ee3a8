"""A request looked into: it is the recommend's own answer, its parts add up, and nothing of it is written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from recsys.events import HOUR_MS
from recsys.features.catalog import FEATURES
from recsys.features.evidence import COLUMNS, DEFINITIONS
from recsys.policy.shelves import SHELVES
from recsys.serving import served_log
from recsys.serving.course import Course
from recsys.serving.inspect import Inspector
from recsys.serving.inspected import InspectRequest, InspectResponse
from recsys.serving.opening import open_both
from recsys.serving.pipeline import Recommender
from recsys.serving.schema import BadRequest, Context, EventsRequest, RecommendRequest
from tests.serving.world import World

Opened = tuple[Recommender, Inspector]


@pytest.fixture(scope="module")
def opened(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """On a copy of the world, at the instant its log ends: other tests share the world, and this one adds to it."""
    home = Path(shutil.copytree(world.settings.home, tmp_path_factory.mktemp("inspect") / "home", symlinks=True))
    settings = world.settings.model_copy(update={"home": home})
    both = open_both(settings, follow=False, clock=lambda: world.simulator_end + HOUR_MS)
    yield both
    both[0].close()


def look(opened: Opened, **request: object) -> InspectResponse:
    answer = opened[1].inspect(InspectRequest.model_validate(request), Course())
    return InspectResponse.model_validate(answer.model_dump())  # it is made without a check: the schema holds here


@pytest.mark.parametrize("shelf", SHELVES)
def test_the_slate_is_the_recommends_own(shelf: str, world: World, opened: Opened) -> None:
    for user in world.user_ids[:3]:
        answer = opened[0].recommend(RecommendRequest(user_id=user, shelf=shelf, context=Context(device="ios")))
        seen = look(opened, user_id=user, shelf=shelf, context={"device": "ios"})
        assert [
            (i["item_id"], i["score"], i["p_click"], i["expected_watch_seconds"], i["source"], i["reason"])
            for i in seen.items
        ] == [(i.item_id, i.score, i.p_click, i.expected_watch_seconds, i.source, i.reason) for i in answer.items]
        assert [i["place"] for i in seen.items] == list(range(1, len(seen.items) + 1))
        assert [c["rank"] for c in seen.candidates] == list(range(1, len(seen.candidates) + 1))
        assert all(c["sources"] for c in seen.candidates)
        assert all((c["displacement"] or 0) == 0 or c["cause"] for c in seen.candidates)
        shown = {i["item_id"] for i in seen.items}
        ahead = [c for c in seen.candidates[: len(shown)] if c["item_id"] not in shown]
        assert all("share of the slate" in (c["cause"] or "") for c in ahead)


def test_parts_of_a_score_add_up_to_it(world: World, opened: Opened) -> None:
    champion, other = (
        look(opened, user_id=world.user_ids[0], bundle=b.bundle_id) for b in (world.champion, world.other)
    )
    for item in champion.items:
        assert item["base"] is not None
        assert item["base"] + sum(item["contributions"]) == pytest.approx(item["score"], abs=2e-5)
        assert item["base"] + sum(p["trees"] or 0.0 for p in item["parts"]) == pytest.approx(item["score"], abs=2e-5)
        assert len(item["values"]) == len(item["contributions"]) == len(FEATURES)
    for item in other.items:  # the trees' parts only where the score is theirs
        added = item["base"] is None or item["base"] + sum(item["contributions"]) == pytest.approx(
            item["score"], abs=2e-5
        )
        assert added and (item["base"] is None) == (item["contributions"] == [])
    assert all(p["network"] is None for item in champion.items for p in item["parts"])
    assert champion.ranker == "xgboost" and other.ranker == "blend"
    assert any(abs(p["network"] or 0.0) > 0 for item in other.items for p in item["parts"])
    assert {p["group"] for p in other.items[0]["parts"]} - {p["group"] for p in champion.items[0]["parts"]} == {
        "history"
    }
    fast = look(opened, user_id=world.user_ids[0], bundle=world.other.bundle_id, network=False)
    assert [{**i, "parts": None} for i in fast.items] == [{**i, "parts": None} for i in other.items]
    assert fast.candidates[-1]["p_click"] is None and other.candidates[-1]["p_click"] is not None


def test_a_score_that_is_not_the_trees_has_no_parts_of_theirs(world: World, opened: Opened) -> None:
    from dataclasses import replace

    from recsys.ranking import inside
    from recsys.ranking.blend import BlendRanker
    from recsys.training_sets.inputs import Inputs

    blend = opened[1].bundle(world.other.bundle_id).ranker
    assert isinstance(blend, BlendRanker)
    rows = Inputs.of_strangers(np.zeros((2, len(FEATURES)), np.float32))
    for place, member in enumerate(blend.members):
        assert (inside.parts(replace(blend, orders=place), rows) is not None) == (member.name == "xgboost")


def test_a_network_group_at_its_median_changes_nothing_where_it_is_there_already(world: World, opened: Opened) -> None:
    from recsys.events import KINDS
    from recsys.features.history import History
    from recsys.ranking import inside
    from recsys.training_sets.inputs import Inputs

    network = inside.network_of(opened[1].bundle(world.other.bundle_id).ranker)
    assert network is not None
    key = np.array([opened[1].bundle(world.other.bundle_id).catalogue.candidates.item_key[0]])
    history = History.of_one(key, np.array([KINDS["click"]], np.int8), np.array([1]))
    effects = inside.effects(network, Inputs(network.medians[None], key, history))[0]
    assert np.all(effects[:-1] == 0.0) and effects[-1] != 0.0


def test_what_was_left_out_is_named_with_its_filter(world: World, opened: Opened) -> None:
    user = world.user_ids[5]
    first = look(opened, user_id=user)
    gone = str(first.items[0]["item_id"])
    opened[0].record_events(EventsRequest(events=[{"kind": "dislike", "user_id": user, "item_id": gone}]))
    blocked = str(first.items[1]["item_id"])
    again = look(opened, user_id=user, blocked={"item_ids": [blocked]}, item_ids=[gone, blocked, "no such item"])
    filters = {str(d["item_id"]): d["filter"] for d in again.dropped}
    assert filters[gone] == "seen" and filters[blocked] == "blocked"
    assert [i["out"] for i in again.asked] == ["seen", "blocked"] and again.unknown == ["no such item"]
    assert not {gone, blocked} & {str(c["item_id"]) for c in again.candidates}
    assert all(i["contributions"] and i["score"] != 0.0 and i["propensity"] is None for i in again.asked)
    assert again.judged["disliked"] == first.judged["disliked"] + 1


def test_the_events_behind_every_feature_are_those_that_were_counted(world: World, opened: Opened) -> None:
    user = world.user_ids[1]
    seen = look(opened, user_id=user)
    item = str(seen.items[0]["item_id"])
    checked = 0
    names = [name for name in FEATURES if any(column in COLUMNS for column in DEFINITIONS[name].inputs)]
    for at in range(0, len(names), 20):
        wanted = [{"item_id": item, "feature": name} for name in names[at : at + 20]]
        evidence = look(
            opened, user_id=user, position=seen.position, context={"at": seen.as_of}, evidence=wanted
        ).evidence
        for told in evidence:
            assert told.value == seen.items[0]["values"][FEATURES.index(told.feature)]
            for column in told.inputs:
                how = COLUMNS[column.name]
                if how.op == "count" or "session_count" in column.name:
                    assert column.events == column.value, column.name
                    checked += 1
                elif how.op == "latest":
                    assert column.value == (column.last[0]["occurred_at"] if column.last else 0), column.name
    assert checked > 100


def test_what_if_equals_what_comes_of_it(world: World, opened: Opened) -> None:
    """The slate after an imagined event is the one after the same event, sent: to the bit."""
    user = world.user_ids[2]
    before = look(opened, user_id=user)
    item = str(before.candidates[20]["item_id"])
    event = {"kind": "long_view", "item_id": item}
    head, log = opened[1].store.head(), served_log.segments(opened[1].served_log)
    imagined = look(opened, user_id=user, events=[event, {"kind": "play", "item_id": item, "watch_ms": 60_000}])
    assert opened[1].store.head() == head and served_log.segments(opened[1].served_log) == log, "it wrote something"
    assert [e["imagined"] for e in imagined.history[:3]] == [True, True, False]
    assert look(opened, user_id=user).items == before.items
    at = world.simulator_end + HOUR_MS
    sent = [
        {**event, "user_id": user, "shelf": "feed", "occurred_at": at},
        {"kind": "play", "item_id": item, "watch_ms": 60_000, "user_id": user, "shelf": "feed", "occurred_at": at},
    ]
    assert opened[0].record_events(EventsRequest(events=sent)).accepted == 2
    after = look(opened, user_id=user)
    assert [(i["item_id"], i["score"], i["values"]) for i in after.items] == [
        (i["item_id"], i["score"], i["values"]) for i in imagined.items
    ]
    assert after.items != before.items


def test_somebody_made_up_has_the_tastes_they_are_given(world: World, opened: Opened) -> None:
    newcomer = look(opened, user_id="made up")
    assert newcomer.words and "newcomer" in newcomer.words
    item = str(newcomer.items[0]["item_id"])
    taps = [{"kind": kind, "item_id": item} for kind in ("click", "like")]
    tasted = look(opened, user_id="made up", events=taps)
    assert tasted.words is None and len(tasted.history) == 2
    assert {s["source"] for c in tasted.candidates for s in c["sources"]} >= {"item_item"}


def test_fifty_past_requests_are_the_same_to_the_bit(world: World, opened: Opened) -> None:
    asked = []
    for n in range(50):
        user, shelf = world.user_ids[n % 20], list(SHELVES)[n % 4]
        context = Context(device=["ios", None][n % 2], at=None if n % 3 else world.simulator_end - n * HOUR_MS)
        asked.append(opened[0].recommend(RecommendRequest(user_id=user, shelf=shelf, k=3 + n % 8, context=context)))
        click = {"kind": "click", "user_id": user, "item_id": str(asked[-1].items[0].item_id)}
        opened[0].record_events(EventsRequest(events=[click]))
    for answer in asked:
        seen = look(opened, request_id=answer.request_id, network=False)
        assert seen.past is not None and seen.past.same, seen.past
        assert [(i["item_id"], i["score"]) for i in seen.items] == [(i.item_id, i.score) for i in answer.items]
    under = look(opened, request_id=asked[0].request_id, bundle=world.other.bundle_id)
    assert under.past is not None and under.past.same is None and under.bundle == world.other.bundle_id
    assert [i.item_id for i in under.past.logged] == [i.item_id for i in asked[0].items]


def test_one_changed_bit_of_a_past_request_is_told(
    world: World, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = opened[0].recommend(RecommendRequest(user_id=world.user_ids[3]))
    whole = served_log.find

    def changed(root: Path, request_id: str):  # type: ignore[no-untyped-def]
        rows = whole(root, request_id).to_pylist()  # type: ignore[union-attr]
        rows[1]["features"][7] = float(np.nextafter(np.float32(rows[1]["features"][7]), np.float32(9)))
        return whole(root, request_id).from_pylist(rows, schema=served_log.SCHEMA)  # type: ignore[union-attr]

    monkeypatch.setattr("recsys.serving.inspect.find", changed)
    past = look(opened, request_id=answer.request_id).past
    assert past is not None and past.same is False and past.words == "It differs: features."


def test_a_request_of_other_features_is_shown_as_logged(
    world: World, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = opened[0].recommend(RecommendRequest(user_id=world.user_ids[4]))
    monkeypatch.setattr("recsys.serving.inspect.FINGERPRINT", "of another day")
    seen = look(opened, request_id=answer.request_id)
    assert seen.past is not None and "cannot be computed again" in (seen.words or "")
    assert [i.item_id for i in seen.past.logged] == [i.item_id for i in answer.items] and seen.items == []


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"request_id": "0" * 32}, "the served log keeps no request"),
        ({"user_id": "u", "bundle": "0" * 16}, "no bundle"),
        ({"user_id": "u", "events": [{"kind": "click", "item_id": "none such"}]}, "events.0: unknown item"),
        ({"user_id": "u", "events": [{"kind": "wave", "item_id": "i000001"}]}, "events.0: kind is none of"),
        ({"user_id": "u", "position": 1 << 60}, "is ahead of the log"),
        ({"user_id": "u", "evidence": [{"item_id": "i000001", "feature": "luck"}]}, "there is no feature luck"),
        ({"user_id": "u", "shelf": "attic"}, "shelf: must be one of"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(request_: dict, words: str, opened: Opened) -> None:
    with pytest.raises(BadRequest, match=words):
        look(opened, **request_)


def test_without_consent_nothing_personal_is_read(world: World, opened: Opened) -> None:
    seen = look(opened, user_id=world.user_ids[0], consent=False)
    assert seen.user_id == "" and seen.history == [] and "consent" in (seen.words or "")


def test_an_earlier_position_reads_what_was_read_there(world: World, opened: Opened) -> None:
    user = world.user_ids[6]
    then = look(opened, user_id=user)
    click = {"kind": "click", "user_id": user, "item_id": str(then.items[0]["item_id"])}
    opened[0].record_events(EventsRequest(events=[click]))
    again = look(opened, user_id=user, position=then.position, context={"at": then.as_of})
    assert again.items == then.items and again.history == then.history


def test_a_place_that_was_left_to_chance_says_so(world: World, opened: Opened) -> None:
    settings = world.settings.model_copy(update={"home": opened[1].served_log.parent, "explore": True})
    explores, _ = open_both(settings, follow=False, clock=lambda: world.simulator_end + HOUR_MS)
    asked = [explores.recommend(RecommendRequest(user_id=user, k=10)).request_id for user in world.user_ids[:30]]
    explores.close()
    drawn: dict[str, list[str]] = {}
    for row in served_log.read(served_log.segments(opened[1].served_log)).to_pylist():
        if row["explored"] and row["request_id"] in asked:
            drawn.setdefault(row["request_id"], []).append(row["item_id"])
    assert len(drawn) > 2
    for request_id, items in drawn.items():
        seen = look(opened, request_id=request_id, network=False)
        assert [str(i["item_id"]) for i in seen.items if i["cause"] == "drawn by chance"] == items
