"""Keys and rates, at the gate itself and as callers meet them over both fronts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bentos.recommender import gate
from bentos.recommender.gate import Gate, TooOften, Unauthorized
from bentos.recommender.grpc_server import _address
from bentos.recommender.recsys_v1 import recommender_pb2 as pb
from recsys.settings import SettingsError, from_environment
from tests.conftest import ROOT
from tests.serving.test_service import Service, environment, free_port, serving
from tests.serving.world import World

KEYS = ("first-key-0123456789", "second-key-0123456789")
RATE = 5


def test_without_settings_everybody_passes() -> None:
    open_gate = Gate.of(from_environment({}))
    for _ in range(1000):
        open_gate.admit(None, "anybody")


@pytest.mark.parametrize(
    "said", [None, "", KEYS[0], "Bearer", "Bearer ", "Bearer wrong", f"Basic {KEYS[0]}", "Bearer é"]
)
def test_only_a_whole_key_passes(said: str | None) -> None:
    closed = Gate.of(from_environment({"RECSYS_API_KEYS": ",".join(KEYS)}))
    closed.admit(f"Bearer {KEYS[0]}", "peer")
    closed.admit(f"bearer {KEYS[1]}", "peer")
    with pytest.raises(Unauthorized):
        closed.admit(said, "peer")


@pytest.mark.parametrize(
    "keys", ["short", f"{KEYS[0]},", f"{KEYS[0]},with a space in it", f"{KEYS[0]},über-long-key-012"]
)
def test_a_poor_key_is_refused_without_being_repeated(keys: str) -> None:
    with pytest.raises(SettingsError, match="RECSYS_API_KEYS: key") as refused:
        Gate.of(from_environment({"RECSYS_API_KEYS": keys}))
    assert keys not in str(refused.value) and KEYS[0] not in str(refused.value)
    assert KEYS[0] not in repr(from_environment({"RECSYS_API_KEYS": KEYS[0]}))


def test_each_caller_has_a_rate_of_its_own_and_gets_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000_000_000
    monkeypatch.setattr(gate.time, "monotonic_ns", lambda: now)
    limited = Gate(per_second=3)
    for peer in ("a", "b"):
        for _ in range(3):
            limited.admit(None, peer)
        with pytest.raises(TooOften) as refused:
            limited.admit(None, peer)
        assert 0 < refused.value.seconds <= 1
    now += 1_100_000_000
    for _ in range(3):
        limited.admit(None, "a")


def test_callers_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "CALLERS", 10)
    limited = Gate(per_second=1)
    for n in range(1000):
        limited.admit(None, f"peer {n}")
    assert len(limited._callers) == 10


def test_a_grpc_peer_is_its_address_without_the_port() -> None:
    assert _address("ipv4:127.0.0.1:5000") == "127.0.0.1"
    assert _address("ipv6:%5B::1%5D:5000") == "::1"
    assert _address("unix:") == "unix:"


@pytest.fixture(scope="module")
def guarded(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    extra = {"RECSYS_API_KEYS": ",".join(KEYS), "RECSYS_RATE_LIMIT": str(RATE)}
    with serving(world, tmp_path_factory.mktemp("guarded"), **extra) as started:
        yield started


def test_http_asks_for_a_key_but_for_health_and_the_description(guarded: Service) -> None:
    for path in ("/recommend", "/events", "/features"):
        refused = guarded.http.post(path, json={})
        assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
        assert refused.json()["error"]["code"] == "unauthorized"
    assert guarded.http.get("/metrics").status_code == 401
    for path in ("/livez", "/readyz", "/openapi.json", "/"):
        assert guarded.http.get(path).status_code == 200
    answer = guarded.http.post("/recommend", json={"user_id": "u"}, headers={"authorization": f"Bearer {KEYS[0]}"})
    assert answer.status_code == 200 and answer.json()["items"]


def test_http_holds_a_key_to_its_rate(guarded: Service) -> None:
    headers = {"authorization": f"Bearer {KEYS[0]}"}
    answers = [guarded.http.post("/features", json={}, headers=headers) for _ in range(10 * RATE)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused and {answer.status_code for answer in answers} == {422, 429}
    assert refused[0].json()["error"]["code"] == "too_often" and refused[0].headers["retry-after"] == "1"


def test_grpc_asks_for_a_key_and_holds_it_to_its_rate(guarded: Service) -> None:
    for metadata in ((), (("authorization", "Bearer wrong"),)):
        with pytest.raises(grpc.RpcError) as refused:
            guarded.stub.Recommend(pb.RecommendRequest(user_id="u"), metadata=metadata)
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    health = health_pb2_grpc.HealthStub(guarded.channel).Check(health_pb2.HealthCheckRequest())
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    mine = (("authorization", f"Bearer {KEYS[1]}"),)
    assert guarded.stub.Recommend(pb.RecommendRequest(user_id="u"), metadata=mine).items
    codes = set()
    for _ in range(10 * RATE):
        with pytest.raises(grpc.RpcError) as refused:
            guarded.stub.Recommend(pb.RecommendRequest(), metadata=mine)
        codes.add(refused.value.code())
    assert codes == {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_keys_are_never_in_the_log(guarded: Service) -> None:
    text = guarded.output.read_text()
    assert not any(key in text for key in KEYS) and "Authorization: Bearer KEY" in text


def test_the_launcher_refuses_a_poor_key_in_one_line(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "bentos.recommender.serve"],
        env={**environment(tmp_path, free_port(), free_port()), "RECSYS_API_KEYS": "weak-one"},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("RECSYS_API_KEYS: key 1 of 1 needs") and "weak-one" not in ended.stderr
