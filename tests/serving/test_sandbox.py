"""A sandbox user is a copy: what is sent to it changes its own slates, and nothing that anybody else sees or learns."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.events import HOUR_MS, SANDBOX
from recsys.lake import Lake
from recsys.privacy.border import Border
from recsys.retrieval.milvus_server import stop_milvus
from recsys.serving import served_log
from recsys.serving.course import Course
from recsys.serving.forget import forget, traces
from recsys.serving.inspect import Inspector
from recsys.serving.inspected import Behind, Imagined, InspectRequest
from recsys.serving.opening import open_both
from recsys.serving.pipeline import Recommender
from recsys.serving.schema import (
    BadRequest,
    BlockRequest,
    BlocksRequest,
    Context,
    EventsRequest,
    FeaturesRequest,
    RecommendRequest,
)
from recsys.settings import Settings
from recsys.store.online import OnlineStore
from recsys.store.sandbox import KEPT_MS, MOST, OF_USER
from tests.serving.running import Service, serving
from tests.serving.world import World

Opened = tuple[Recommender, Inspector, "Clock"]


class Clock:
    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def allowed(settings: Settings) -> Settings:
    return settings.model_copy(update={"sandbox": True})


@pytest.fixture(scope="module")
def opened(world: World) -> Iterator[Opened]:
    clock = Clock(world.simulator_end + HOUR_MS)
    recommender, inspector = open_both(allowed(world.settings), follow=False, clock=clock)
    yield recommender, inspector, clock
    recommender.close()


@pytest.fixture(scope="module")
def service(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(world, tmp_path_factory.mktemp("sandbox"), RECSYS_SANDBOX="true") as started:
        yield started


def sent(user_id: str, kind: str, item_id: str | int, number: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"{user_id} {kind} {item_id} {number}",
        "kind": kind,
        "user_id": user_id,
        "item_id": item_id,
    } | more


def test_over_http_the_copys_slate_changes_and_nothing_else(service: Service, world: World) -> None:
    user, other = world.user_ids[11], world.user_ids[12]
    copy, at = SANDBOX + user, world.simulator_end + HOUR_MS

    def slate(of: str) -> dict[str, Any]:
        answer = service.http.post("/recommend", json={"user_id": of, "k": 10, "context": {"at": at}})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def features(of: str, item_id: str | int) -> tuple[int, list[list[float]]]:
        answer = service.http.post("/features", json={"user_id": of, "item_ids": [item_id], "at": at}).json()
        return answer["position"], answer["rows"]

    before, mine = slate(copy), slate(user)
    assert [i["item_id"] for i in before["items"]] == [i["item_id"] for i in mine["items"]], "a copy begins as its user"
    item_id = before["items"][0]["item_id"]
    of_others = [features(of, item_id) for of in (user, other)]
    position = service.http.get("/readyz").json()["position"]
    events = [sent(copy, kind, item_id, occurred_at=at) for kind in ("click", "dislike")]
    told = service.http.post("/events", json={"events": events}).json()
    assert (told["accepted"], told["rejected"], told["position"]) == (2, [], position)
    again = service.http.post("/events", json={"events": events}).json()
    assert (again["accepted"], again["duplicates"]) == (0, 2)
    after = slate(copy)
    assert item_id not in [i["item_id"] for i in after["items"]]
    assert slate(user)["items"] == mine["items"] and [features(of, item_id) for of in (user, other)] == of_others
    assert features(copy, item_id)[1] != of_others[0][1]
    assert service.http.get("/readyz").json()["position"] == position
    looked = service.http.post("/inspect", json={"user_id": copy, "k": 10, "context": {"at": at}}).json()
    assert [(i["item_id"], i["score"]) for i in looked["items"]] == [(i["item_id"], i["score"]) for i in after["items"]]
    assert looked["user_id"] == copy and looked["history"][0]["imagined"] and "copy of" in looked["words"]
    logged = served_log.read(served_log.segments(Lake(world.settings.home).served_log))
    assert not any(SANDBOX in str(name) for name in logged["user_id"].to_pylist())
    assert not {before["request_id"], after["request_id"]} & set(logged["request_id"].to_pylist())
    assert mine["request_id"] in logged["request_id"].to_pylist()
    assert not any(copy.encode() in path.read_bytes() for path in world.settings.home.rglob("audit/access/*/*.jsonl"))


def test_it_reads_what_a_what_if_shows_but_for_the_items_own_counters(opened: Opened, world: World) -> None:
    recommender, inspector, _ = opened
    user, item_id = world.user_ids[13], world.item_ids[5]
    copy = SANDBOX + user
    imagined = inspector.inspect(
        InspectRequest(user_id=user, events=[Imagined(kind="click", item_id=item_id)], item_ids=[item_id]), Course()
    )
    recommender.record_events(EventsRequest(events=[sent(copy, "click", item_id, shelf="feed")]))
    looked = inspector.inspect(
        InspectRequest(
            user_id=copy,
            item_ids=[item_id],
            evidence=[
                Behind(item_id=item_id, feature=name) for name in ("user_clicks_log_all", "item_impressions_log_all")
            ],
        ),
        Course(),
    )
    names = [feature.name for feature in looked.features]
    values = [next(i for i in of.asked + of.items if i["item_id"] == item_id)["values"] for of in (imagined, looked)]
    differ = {name for name, one, other in zip(names, *values, strict=True) if one != other}
    assert differ and not any(name.startswith("user") for name in differ)
    plain = recommender.features(FeaturesRequest(user_id=user, item_ids=[item_id])).rows[0]
    mine = recommender.features(FeaturesRequest(user_id=copy, item_ids=[item_id])).rows[0]
    moved = {name for name, one, other in zip(names, plain, mine, strict=True) if one != other}
    assert "user_clicks_log_all" in moved and all(name.startswith("user") for name in moved)
    for told in looked.evidence:
        for counted in told.inputs:
            assert "count" not in counted.name or counted.value == counted.events
    assert looked.evidence[0].inputs[0].last[0]["imagined"]
    assert OF_USER.any() and not OF_USER.all() and len(OF_USER) > np.count_nonzero(OF_USER)


def test_what_was_sent_is_bounded_and_gone_after_a_day(opened: Opened, world: World) -> None:
    recommender, inspector, clock = opened
    copy = SANDBOX + "somebody who was never there"
    events = [sent(copy, "click", world.item_ids[n % 40], n) for n in range(MOST + 5)]
    assert recommender.record_events(EventsRequest(events=events)).accepted == MOST + 5
    looked = inspector.inspect(InspectRequest(user_id=copy, network=False), Course())
    assert [e["kind"] for e in looked.history if e["kind"] == "click"] == ["click"] * MOST
    began = clock.now
    clock.now += KEPT_MS
    assert inspector.inspect(InspectRequest(user_id=copy, network=False), Course()).history == []
    clock.now = began


def test_what_is_refused_is_said_in_words(opened: Opened, world: World) -> None:
    recommender, _, _ = opened
    copy, item_id = SANDBOX + world.user_ids[14], world.item_ids[0]
    events = [
        sent(copy, "click", "none-such"),
        sent(copy, "hover", item_id),
        sent(SANDBOX, "click", item_id),
        {"event_id": "s", "kind": "search", "user_id": copy, "query": "whales"},
        sent(copy, "like", item_id),
    ]
    answer = recommender.record_events(EventsRequest(events=events))
    words = {one.index: one.reason for one in answer.rejected}
    assert sorted(words) == [0, 1, 2, 3] and answer.accepted == 1
    assert words[0] == "unknown item" and "unknown_kind" in words[1] and "missing_user_id" in words[2]
    assert "searches" in words[3]
    with pytest.raises(BadRequest, match="block for that one"):
        recommender.block(BlockRequest(user_id=copy, block={"item_ids": [item_id]}))
    recommender.block(BlockRequest(user_id=world.user_ids[14], block={"item_ids": [item_id]}))
    assert recommender.blocks(BlocksRequest(user_id=copy)).item_ids == [item_id]
    shown = recommender.recommend(RecommendRequest(user_id=copy, k=100))
    assert item_id not in [item.item_id for item in shown.items]


def test_it_is_off_unless_allowed_and_then_no_log_takes_it(world: World, recommender: Recommender) -> None:
    copy = SANDBOX + world.user_ids[15]
    answer = recommender.record_events(EventsRequest(events=[sent(copy, "click", world.item_ids[0])]))
    assert answer.accepted == 0 and "RECSYS_SANDBOX=true" in answer.rejected[0].reason
    assert "(sandbox_user)" in answer.rejected[0].reason


def test_a_moment_before_an_event_does_not_know_it(opened: Opened, world: World) -> None:
    recommender, inspector, _ = opened
    copy, item_id = SANDBOX + world.user_ids[16], world.item_ids[7]
    recommender.record_events(
        EventsRequest(events=[sent(copy, "click", item_id, occurred_at=world.simulator_end - 5 * HOUR_MS)])
    )
    newest = [
        inspector.inspect(
            InspectRequest(user_id=copy, network=False, context=Context(at=world.simulator_end - hours * HOUR_MS)),
            Course(),
        ).history[0]["imagined"]
        for hours in (6, 5, 4)
    ]
    assert newest == [False, True, True]


def test_a_forgotten_user_has_no_copy(world: World, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(world.settings.home, home, symlinks=True, ignore=shutil.ignore_patterns("milvus", "*.sock"))
    settings = allowed(world.settings).model_copy(update={"home": home})
    recommender, _ = open_both(settings, follow=False)
    user = world.user_ids[17]
    event = sent(SANDBOX + user, "click", world.item_ids[3])
    assert recommender.record_events(EventsRequest(events=[event])).accepted == 1
    border = Border.of(settings)
    store = recommender._store
    assert isinstance(store, OnlineStore)
    assert traces([user], home)
    forget(user, home, border, store, 1)
    assert traces([user], home) == []
    recommender.close()
    with_border, inspector = open_both(settings, follow=False, border=border)
    answer = with_border.record_events(EventsRequest(events=[event]))
    assert answer.accepted == 0 and answer.rejected[0].reason == "this user was forgotten"
    with pytest.raises(BadRequest, match="forgotten"):
        inspector.inspect(InspectRequest(user_id=SANDBOX + user), Course())
    with_border.close()
    stop_milvus(settings)
