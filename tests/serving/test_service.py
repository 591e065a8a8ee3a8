"""The service as its users meet it: started by the launcher, asked by public clients over HTTP and gRPC."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow.compute as pc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from bentos.recommender.recsys_v1 import recommender_pb2 as pb
from recsys.events import key64
from recsys.lake import Lake
from recsys.registry import Registry
from recsys.serving import batch, served_log
from recsys.serving.opening import open_recommender
from recsys.store.opening import open_store
from tests.conftest import ROOT
from tests.registry.test_registry import FACTS, parts
from tests.serving.running import Service, environment, free_port, serving
from tests.serving.world import World


@pytest.fixture(scope="module")
def service(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(world, tmp_path_factory.mktemp("service")) as started:
        yield started


def test_both_fronts_give_the_same_slate_and_the_same_scores(service: Service, world: World) -> None:
    at = world.simulator_end
    for user in world.user_ids[20:24]:
        asked = {"user_id": user, "k": 8, "context": {"at": at, "device": "ios"}}
        http = service.http.post("/recommend", json=asked).json()
        over_grpc = service.stub.Recommend(
            pb.RecommendRequest(user_id=user, k=8, context=pb.Context(at=at, device="ios"))
        )
        assert set(http) == {"request_id", "bundle", "position", "rung", "missing", "items"}
        assert (http["rung"], http["bundle"], http["position"]) == (
            over_grpc.rung,
            over_grpc.bundle,
            over_grpc.position,
        )
        assert [
            (i["item_id"], i["score"], i["p_click"], i["expected_watch_seconds"], i["source"], i["reason"])
            for i in http["items"]
        ] == [(i.item_id, i.score, i.p_click, i.expected_watch_seconds, i.source, i.reason) for i in over_grpc.items]
        assert len(http["items"]) == 8 and http["request_id"] != over_grpc.request_id


def test_batch_gives_the_scores_of_http_and_grpc_byte_for_byte(service: Service, world: World) -> None:
    users, at = world.user_ids[20:26], world.simulator_end
    recommender = open_recommender(world.settings, follow=False, logged=False)
    table = batch.slates(recommender, users, k=8, device="ios", at=at)
    recommender.close()
    context = pb.Context(at=at, device="ios")
    for user in users:
        mine = table.filter(pc.equal(table["user_id"], user))
        asked = {"user_id": user, "k": 8, "context": {"at": at, "device": "ios"}}
        http = service.http.post("/recommend", json=asked).json()
        over_grpc = service.stub.Recommend(pb.RecommendRequest(user_id=user, k=8, context=context))
        for column, http_name in (("score", "score"), ("p_click", "p_click")):
            batched = np.array(mine[column].to_pylist()).tobytes()
            assert np.array([item[http_name] for item in http["items"]]).tobytes() == batched
            assert np.array([getattr(item, column) for item in over_grpc.items]).tobytes() == batched
        assert mine["item_id"].to_pylist() == [item["item_id"] for item in http["items"]]
        assert mine["reason"].to_pylist() == [item.reason for item in over_grpc.items]
    assert table.num_rows == 8 * len(users) and set(table["rung"].to_pylist()) == {"full"}


def test_features_are_the_same_float32_over_both_fronts(service: Service, world: World) -> None:
    at, items = world.simulator_end, world.item_ids[:40]
    http = service.http.post("/features", json={"user_id": world.user_ids[20], "item_ids": items, "at": at}).json()
    over_grpc = service.stub.Features(pb.FeaturesRequest(user_id=world.user_ids[20], item_ids=items, at=at))
    assert set(http) == {"position", "at", "fingerprint", "names", "rows"} and http["at"] == at
    assert http["names"] == list(over_grpc.names) and http["fingerprint"] == over_grpc.fingerprint
    numbers = np.array([[np.nan if x is None else x for x in row] for row in http["rows"]])
    assert numbers.shape == (40, len(http["names"]))
    assert numbers.astype(np.float32).tobytes() == np.array([r.values for r in over_grpc.rows], np.float32).tobytes()
    finite = ~np.isnan(numbers)
    assert (numbers.astype(np.float32).astype(np.float64)[finite] == numbers[finite]).all()  # not rounded on the way


def test_an_event_changes_the_features_and_the_next_answer(service: Service, world: World) -> None:
    user = world.user_ids[25]
    first = service.http.post("/recommend", json={"user_id": user, "k": 5}).json()
    item = first["items"][0]["item_id"]
    before = service.http.post("/features", json={"user_id": user, "item_ids": [item]}).json()
    event = {"user_id": user, "item_id": item, "request_id": first["request_id"], "shelf": "feed", "slot": 0}
    events = [
        {**event, "event_id": f"{user}.{kind}", "kind": kind, **({"watch_ms": 30_000} if kind == "play" else {})}
        for kind in ("impression", "click", "play", "long_view")
    ]
    recorded = service.http.post("/events", json={"events": events}).json()
    assert recorded == {"accepted": 4, "duplicates": 0, "rejected": [], "position": recorded["position"]}
    after = service.http.post("/features", json={"user_id": user, "item_ids": [item]}).json()
    assert after["position"] == recorded["position"] > before["position"]
    changed = {n for n, a, b in zip(before["names"], before["rows"][0], after["rows"][0], strict=True) if a != b}
    assert {"user_clicks_log_1h", "user_clicks_log_all"} <= changed
    second = service.http.post("/recommend", json={"user_id": user, "k": 5}).json()
    assert item not in [i["item_id"] for i in second["items"]] and second["position"] >= recorded["position"]
    repeated = service.stub.RecordEvents(
        pb.RecordEventsRequest(events=[pb.Event(event_id=f"{user}.click", kind="click", user_id=user, item_id=item)])
    )
    assert (repeated.accepted, repeated.duplicates, repeated.position) == (0, 1, recorded["position"])


def test_an_event_keeps_the_shelf_that_was_said_over_either_front(service: Service, world: World) -> None:
    """Also one that neither policy nor bundle knows: what it counts as is decided where it is read."""
    user, item = "a-searcher", world.item_ids[0]
    said = {f"{user}:{front}:{shelf}": shelf for front in ("http", "grpc") for shelf in ("search", "feed", "Küche 7")}
    for event_id, shelf in said.items():
        event = {"event_id": event_id, "kind": "click", "user_id": user, "item_id": item, "shelf": shelf}
        if ":http:" in event_id:
            assert service.http.post("/events", json={"events": [event]}).json()["accepted"] == 1
        else:
            assert service.stub.RecordEvents(pb.RecordEventsRequest(events=[pb.Event(**event)])).accepted == 1
    store = open_store(world.settings)
    kept = {e["event_id"]: e["shelf"] for e in store.tail(0).to_pylist() if e["event_id"] in said}
    log = store.export()[0]  # the kernel's columns
    mine = log.shelf_key[log.user_key == key64([user])[0]]
    store.close()
    assert kept == said and sorted(mine) == sorted(key64(list(said.values())))


def test_features_of_the_past_know_what_was_received_by_then_over_either_front(service: Service, world: World) -> None:
    user, item = "a-time-traveller", world.item_ids[1]

    def click(number: int) -> int:
        event = {"event_id": f"{user}:{number}", "kind": "click", "user_id": user, "item_id": item}
        position = service.http.post("/events", json={"events": [event]}).json()["position"]
        time.sleep(0.05)
        return int(position)

    def clicks(at: int | None, front: str) -> tuple[int, float]:
        if front == "grpc":
            asked = pb.FeaturesRequest(user_id=user, item_ids=[item], **({"at": at} if at else {}))
            told = service.stub.Features(asked)
            return told.position, told.rows[0].values[list(told.names).index("user_clicks_log_all")]
        answer = service.http.post("/features", json={"user_id": user, "item_ids": [item], "at": at}).json()
        return answer["position"], answer["rows"][0][answer["names"].index("user_clicks_log_all")]

    before = time.time_ns() // 1_000_000
    time.sleep(0.05)
    first = click(1)
    between = time.time_ns() // 1_000_000
    time.sleep(0.05)
    second = click(2)
    for front in ("http", "grpc"):
        positions, values = zip(*(clicks(at, front) for at in (before, between, None)), strict=True)
        assert positions[0] < first and positions[1:] == (first, second)
        assert values == pytest.approx([0.0, np.log(2), np.log(3)])


def test_a_slate_of_a_past_moment_shows_what_was_known_then_over_either_front(service: Service, world: World) -> None:
    user, at = world.user_ids[18], world.simulator_end

    def slate(at: int | None, front: str) -> tuple[list[str], int]:
        if front == "grpc":
            told = service.stub.Recommend(pb.RecommendRequest(user_id=user, k=20, context=pb.Context(at=at)))
            return [item.item_id for item in told.items], told.position
        asked = {"user_id": user, "k": 20, "context": {"at": at}}
        answer = service.http.post("/recommend", json=asked).json()
        return [item["item_id"] for item in answer["items"]], answer["position"]

    before = slate(at, "http")
    disliked = [{"kind": "dislike", "user_id": user, "item_id": item} for item in before[0]]
    recorded = service.http.post("/events", json={"events": disliked}).json()
    assert recorded["accepted"] == 20
    assert slate(at, "http") == slate(at, "grpc") == before
    read = service.http.post("/features", json={"user_id": user, "item_ids": before[0][:1], "at": at}).json()
    assert read["position"] == before[1] < recorded["position"]
    looked = service.http.post("/inspect", json={"user_id": user, "k": 20, "context": {"at": at}}).json()
    assert ([item["item_id"] for item in looked["items"]], looked["position"]) == before
    soon = time.time_ns() // 1_000_000 - 60_000  # a caller's clock is a minute slow: that is now
    for now in (slate(None, "http"), slate(soon, "grpc")):
        assert not set(now[0]) & set(before[0]) and now[1] == recorded["position"]


def test_what_a_person_judged_does_not_come_back_over_either_front(service: Service, world: World) -> None:
    """Also after 150 further events, which push it out of the last 128, and from memory alone."""
    user = "a-critic"

    def shown(shelf: str = "feed", front: str = "http") -> list[str]:
        if front == "grpc":
            asked = pb.RecommendRequest(user_id=user, k=100, shelf=shelf)
            return [item.item_id for item in service.stub.Recommend(asked).items]
        answer = service.http.post("/recommend", json={"user_id": user, "k": 100, "shelf": shelf}).json()
        return [item["item_id"] for item in answer["items"]]

    before = shown()
    judged = dict(zip(("dislike", "skip", "long_view", "like"), before, strict=False))
    others = before[4:]
    events = [{"kind": kind, "user_id": user, "item_id": item} for kind, item in judged.items()]
    assert service.http.post("/events", json={"events": events}).json()["accepted"] == 4
    assert judged["dislike"] not in shown("shortcuts")
    for front in ("http", "grpc"):
        assert not set(judged.values()) & set(shown(front=front))
    more = [{"kind": "impression", "user_id": user, "item_id": others[n % len(others)]} for n in range(150)]
    service.http.post("/events", json={"events": more})
    assert not set(judged.values()) & set(shown())


def test_a_new_item_is_taken_over_both_fronts_and_up_within_seconds(service: Service, world: World) -> None:
    new = {"item_id": "brand-new", "item_type": "video", "title": "Brand new"}
    taken = service.http.post("/items", json={"items": [new]}).json()
    assert taken["recorded"] == 1 and taken["position"] > 0
    over_grpc = service.stub.PutItems(
        pb.PutItemsRequest(items=[pb.Item(item_id="newer", item_type="album", tags=["a"]), pb.Item(**new)])
    )
    assert over_grpc.recorded == 1  # brand-new is known as it is: it was published when it first came
    for again in (new, {**new, "published_at": None}, new):
        assert service.http.post("/items", json={"items": [again]}).json()["recorded"] == 0
    told = {"item_id": "newest", "language": "de", "description": "Whales.", "creator_name": "Ana"}
    told["embedding"] = [0.1, -1.0, 2.5]
    assert service.http.post("/items", json={"items": [told]}).json()["recorded"] == 1
    assert service.stub.PutItems(pb.PutItemsRequest(items=[pb.Item(**told)])).recorded == 0
    deadline = time.monotonic() + 60
    while service.http.get("/readyz").json()["late_items"] < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    click = {"kind": "click", "user_id": world.user_ids[19], "item_id": "brand-new"}
    assert service.http.post("/events", json={"events": [click]}).json()["accepted"] == 1
    for bad in ({"item_type": "film"}, {"published_at": -1}, {"tags": ["x"] * 33}, {"more": 1}):
        assert service.http.post("/items", json={"items": [{**new, **bad}]}).status_code == 422
    wrong: dict[str, tuple[str, Any]] = {
        "has 2 numbers where the catalogue's have 3": ("embedding", [1.0, 2.0]),
        "is all zero": ("embedding", [0.0] * 3),
        "holds what is no finite number": ("embedding", [1e39, 0.0, 0.0]),
        "at most 4096 items": ("embedding", [1.0] * 4097),
        "is longer than 8,192 bytes": ("description", "x" * 8193),
    }
    for words, (field, value) in wrong.items():
        answer = service.http.post("/items", json={"items": [new, {**new, field: value}]})
        assert answer.status_code == 422 and f"items.1.{field}" in answer.text and words in answer.text
        with pytest.raises(grpc.RpcError, match=words):
            service.stub.PutItems(pb.PutItemsRequest(items=[pb.Item(**{**new, field: value})]))
    assert service.http.post("/items", json={"items": [{**new, "embedding": ["a", 1, 2]}]}).status_code == 422


def test_a_bad_event_is_rejected_by_its_index_and_the_others_are_kept(service: Service, world: World) -> None:
    good = {"kind": "like", "user_id": world.user_ids[26], "item_id": world.item_ids[0]}
    bad = [{**good, "kind": "stare"}, {**good, "item_id": "nothing"}, {**good, "position": 1}, None]
    bad.append({**good, "occurred_at": int(time.time())})
    answer = service.http.post("/events", json={"events": [good, *bad, good]}).json()
    assert answer["accepted"] == 2 and [r["index"] for r in answer["rejected"]] == [1, 2, 3, 4, 5]
    assert "instant_in_seconds" in answer["rejected"][-1]["reason"]
    over_grpc = service.stub.RecordEvents(
        pb.RecordEventsRequest(events=[pb.Event(kind="stare", user_id="u", item_id="i"), pb.Event()])
    )
    assert [r.index for r in over_grpc.rejected] == [0, 1] and "kind" in over_grpc.rejected[0].reason
    search = pb.Event(
        event_id="s1", kind="search", user_id=world.user_ids[26], query="whales", occurred_at=world.simulator_end
    )
    told = {
        "event_id": "s1",
        "kind": "search",
        "user_id": world.user_ids[26],
        "query": "whales",
        "occurred_at": world.simulator_end,
    }
    assert service.stub.RecordEvents(pb.RecordEventsRequest(events=[search])).accepted == 1
    assert service.http.post("/events", json={"events": [told]}).json()["duplicates"] == 1  # whichever way it came
    del told["event_id"]
    search.ClearField("event_id")  # without one it is known by what it says
    assert service.http.post("/events", json={"events": [told]}).json()["accepted"] == 1
    assert service.stub.RecordEvents(pb.RecordEventsRequest(events=[search])).duplicates == 1


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "code"),
    [
        ("/recommend", b"{", {}, 400, "invalid_json"),
        ("/recommend", b"", {}, 400, "invalid_json"),
        ("/recommend", b"\xff\x00", {}, 400, "invalid_json"),
        ("/recommend", b"[]", {}, 422, "invalid_request"),
        ("/recommend", b'{"user_id": 1, "k": 0}', {}, 422, "invalid_request"),
        ("/recommend", b'{"user_id": 1, "k": 1e400}', {}, 422, "invalid_request"),
        ("/recommend", b'{"user_id": 1, "shelf": "attic"}', {}, 422, "invalid_request"),
        ("/recommend", b'{"user_id": 1, "extra": 1}', {}, 422, "invalid_request"),
        ("/recommend", b'{"user_id": {"a": ' + b"[" * 9000 + b"}", {}, 400, "invalid_json"),
        ("/events", b'{"events": {}}', {}, 422, "invalid_request"),
        ("/events", b'{"events": [' + b"1," * 1000 + b"1]}", {}, 422, "invalid_request"),
        ("/features", b'{"user_id": 1, "item_ids": []}', {}, 422, "invalid_request"),
        ("/recommend", b"{}", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        ("/recommend", b"{}", {"content-type": "multipart/form-data"}, 415, "unsupported_media_type"),
        ("/recommend", b"{}", {"content-encoding": "gzip"}, 415, "unsupported_media_type"),
        ("/events", b" " * ((2 << 20) + 1), {}, 413, "too_large"),
        ("/recommend/", b"{}", {}, 404, "not_found"),
        ("/../etc/passwd", b"{}", {}, 404, "not_found"),
    ],
)
def test_every_malformed_request_is_one_shape_of_error(
    service: Service, path: str, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = service.http.post(path, content=body, headers={"content-type": "application/json", **headers})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(answer.json()) == {"error"} and set(error) == {"code", "message", "request_id"}
    assert error["code"] == code and error["message"] and "\n" not in error["message"]
    assert error["request_id"] == answer.headers["x-request-id"]


def test_a_body_sent_in_pieces_beyond_the_limit_is_refused_too(service: Service) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(50):
            yield b" " * 65_536

    answer = service.http.post("/events", content=pieces(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_other_methods_and_pages(service: Service) -> None:
    wrong = service.http.get("/recommend")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert service.http.delete("/livez").headers["allow"] == "GET, HEAD"
    page = service.http.get("/")
    assert page.status_code == 200 and "http" not in page.text and page.text.count("<script") == 1
    assert service.http.head("/livez").status_code == 200 and service.http.head("/livez").content == b""
    assert service.http.get("/healthz").json()["status"] == "ready"
    metrics = service.http.get("/metrics").text
    assert 'recsys_slates_total{role="champion",rung="full"}' in metrics and "passwd" not in metrics
    assert 'recsys_journal{what="records"}' in metrics


@pytest.mark.parametrize(
    ("method", "message", "words"),
    [
        ("Recommend", pb.RecommendRequest(), "user_id"),
        ("Recommend", pb.RecommendRequest(user_id="u", k=0), "k"),
        ("Recommend", pb.RecommendRequest(user_id="u", k=-5), "k"),
        ("Recommend", pb.RecommendRequest(user_id="u", shelf="attic"), "shelf"),
        ("Recommend", pb.RecommendRequest(user_id="u\nv"), "user_id"),
        ("Recommend", pb.RecommendRequest(user_id="u", context=pb.Context(at=-1)), "context.at"),
        ("Features", pb.FeaturesRequest(user_id="u"), "item_ids"),
        ("Features", pb.FeaturesRequest(user_id="u", item_ids=["i"] * 501), "item_ids"),
        ("RecordEvents", pb.RecordEventsRequest(events=[pb.Event()] * 1001), "events"),
    ],
)
def test_grpc_names_what_is_wrong(service: Service, method: str, message: Any, words: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        getattr(service.stub, method)(message)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert words in refused.value.details() and "Traceback" not in refused.value.details()


def test_grpc_bytes_that_are_no_message_and_messages_too_large(service: Service) -> None:
    raw = service.channel.unary_unary("/recsys.v1.Recommender/Recommend")
    with pytest.raises(grpc.RpcError) as garbage:
        raw(b"\xff\xff\xff", timeout=10)
    assert garbage.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as large:
        service.stub.Features(pb.FeaturesRequest(user_id="u", item_ids=["x" * 1000] * 3000))
    assert large.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert service.stub.Recommend(pb.RecommendRequest(user_id="u")).rung == "full"


def test_grpc_health_and_reflection(service: Service) -> None:
    health = health_pb2_grpc.HealthStub(service.channel)
    for name in ("", "recsys.v1.Recommender"):
        assert (
            health.Check(health_pb2.HealthCheckRequest(service=name)).status == health_pb2.HealthCheckResponse.SERVING
        )
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    listed = next(reflection_pb2_grpc.ServerReflectionStub(service.channel).ServerReflectionInfo(asked))
    assert "recsys.v1.Recommender" in [s.name for s in listed.list_services_response.service]


def test_a_second_server_of_one_home_sees_what_the_first_accepted_at_once(
    service: Service, world: World, tmp_path: Path
) -> None:
    user, items = world.user_ids[27], world.item_ids[:30]
    with serving(world, tmp_path) as second:
        for n in range(10):
            event = {"event_id": f"{user}.{n}", "kind": "click", "user_id": user, "item_id": items[n]}
            ours, theirs = (service, second) if n % 2 else (second, service)
            recorded = ours.http.post("/events", json={"events": [event]}).json()
            assert recorded["accepted"] == 1
            assert theirs.http.post("/events", json={"events": [event]}).json()["duplicates"] == 1
            asked = {"user_id": user, "item_ids": items, "at": time.time_ns() // 1_000_000 + 60_000}
            read = [s.http.post("/features", json=asked).json() for s in (theirs, ours)]
            assert read[0] == read[1] and read[0]["position"] == recorded["position"]
        text = second.http.get("/metrics").text  # one server's metrics are not the other's
        assert 'recsys_events_total{outcome="accepted"} 5.0' in text


def test_a_promotion_and_a_rollback_reach_the_running_service_without_a_failed_request(
    service: Service, world: World
) -> None:
    registry = Registry(Lake(world.settings.home).registry)
    expected = [world.champion.bundle_id]

    def until(bundle_id: str) -> None:
        deadline = time.monotonic() + 30
        while True:
            answer = service.http.post("/recommend", json={"user_id": world.user_ids[28]})
            assert answer.status_code == 200 and answer.json()["rung"] == "full"
            if answer.json()["bundle"] == bundle_id:
                return
            assert answer.json()["bundle"] == expected[-1] and time.monotonic() < deadline
            time.sleep(0.02)

    try:
        registry.promote(world.other.bundle_id)
        until(world.other.bundle_id)
        expected.append(world.other.bundle_id)
    finally:
        registry.rollback()
    until(world.champion.bundle_id)


def test_slates_are_in_the_served_log_when_they_are_answered(service: Service, world: World) -> None:
    answer = service.http.post("/recommend", json={"user_id": world.user_ids[29], "k": 3}).json()
    rows = served_log.read(served_log.segments(Lake(world.settings.home).served_log)).to_pylist()
    mine = [row for row in rows if row["request_id"] == answer["request_id"]]
    assert [(row["item_id"], row["score"], row["slot"]) for row in mine] == [
        (item["item_id"], item["score"], slot) for slot, item in enumerate(answer["items"])
    ]


def test_nothing_that_a_caller_sent_is_in_the_log(service: Service) -> None:
    service.http.post("/recommend", json={"user_id": "secret-user", "k": "secret-k"})
    service.http.post("/recommend", content=b"secret-body", headers={"content-type": "application/json"})
    text = service.output.read_text()
    assert "secret" not in text and "Traceback" not in text


@pytest.mark.parametrize("which", [0, 1])
def test_a_port_that_is_taken_is_one_clear_line(world: World, service: Service, which: int) -> None:
    ports = [free_port(), free_port()]
    ports[which] = service.ports[which]
    ended = subprocess.run(
        [sys.executable, "-m", "bentos.recommender.serve"],
        env=environment(world.settings.home, *ports),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    variable = ("RECSYS_HTTP_PORT", "RECSYS_GRPC_PORT")[which]
    assert ended.returncode == 2
    assert ended.stderr.strip() == f"port {ports[which]} is taken: set {variable} to another, or end what listens there"


def launcher_without_a_champion(home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bentos.recommender.serve"],
        env=environment(home, free_port(), free_port()),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )


def test_without_a_bundle_the_launcher_says_what_to_run(tmp_path: Path) -> None:
    ended = launcher_without_a_champion(tmp_path)
    assert ended.returncode == 2 and ended.stderr.strip() == "no bundle yet: run `make run` first"
    assert list(tmp_path.iterdir()) == []  # nothing was started or written


def test_without_a_champion_the_launcher_names_the_command_that_makes_one(tmp_path: Path) -> None:
    made = Registry(tmp_path / "registry").register(parts(tmp_path / "parts", "1"), FACTS)
    ended = launcher_without_a_champion(tmp_path)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert f'`make promote BUNDLE={made.bundle_id} REASON="..."`' in ended.stderr
