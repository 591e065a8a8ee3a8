"""Keys and rates, at the gate itself and as callers meet them over both fronts."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bentos.recommender import gate
from bentos.recommender.gate import Gate, TooOften, Unauthorized
from bentos.recommender.grpc_server import _address
from bentos.recommender.recsys_v1 import recommender_pb2 as pb
from bentos.recommender.roles import Forbidden
from recsys.settings import SettingsError, from_environment
from tests.conftest import ROOT
from tests.serving.running import Service, environment, free_port, serving
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


def test_a_peer_that_tries_keys_is_asked_to_wait_but_for_the_keys_it_has_shown() -> None:
    closed = Gate(KEYS)
    closed.admit(f"Bearer {KEYS[0]}", "peer")
    refused: list[type[Exception]] = []
    for n in range(40):
        with pytest.raises((Unauthorized, TooOften)) as error:
            closed.admit(f"Bearer a-guess-of-a-key-{n}", "peer")
        refused.append(error.type)
    assert refused[:10] == [Unauthorized] * 10 and refused[-20:] == [TooOften] * 20
    with pytest.raises(TooOften):
        closed.admit(f"Bearer {KEYS[1]}", "peer")  # a right guess is told as little as a wrong one
    assert closed.admit(f"Bearer {KEYS[0]}", "peer").key_id  # who called from there before goes on
    assert closed.admit(f"Bearer {KEYS[1]}", "another peer").key_id


def test_keys_are_taken_anew_from_their_file_and_never_fewer_than_one(tmp_path: Path) -> None:
    file = tmp_path / "recsys_api_keys"
    file.write_text(KEYS[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_SECRETS", str(tmp_path))
        closed = Gate.of(from_environment())
        for text, good, bad in (
            (",".join(KEYS), KEYS, ()),  # both hold while callers change over
            (KEYS[1], KEYS[1:], KEYS[:1]),
            ("", KEYS[1:], KEYS[:1]),
            ("weak", KEYS[1:], KEYS[:1]),
        ):
            file.with_suffix(".new").write_text(text)
            file.with_suffix(".new").replace(file)
            closed.renew()
            for key in good:
                closed.admit(f"Bearer {key}", f"peer of {text}")
            for key in bad:
                with pytest.raises(Unauthorized):
                    closed.admit(f"Bearer {key}", f"peer of {text}")
        for _ in range(20):  # a caller who missed the change is no guesser, and locks nobody out who shares its address
            with pytest.raises(Unauthorized):
                closed.admit(f"Bearer {KEYS[0]}", "a proxy")
        closed.admit(f"Bearer {KEYS[1]}", "a proxy")
        file.unlink()
        closed.renew()
        with pytest.raises(Unauthorized):
            closed.admit(None, "peer")


def test_without_keys_a_proxy_on_this_machine_is_not_this_machine() -> None:
    """Else everybody behind it could look into people's data."""
    open_gate = Gate()
    open_gate.admit(None, "127.0.0.1", "/inspect")
    open_gate.admit(None, "127.0.0.1", "/recommend", forwarded=True)
    with pytest.raises(Forbidden, match="RECSYS_API_KEYS=inspect:KEY"):
        open_gate.admit(None, "127.0.0.1", "/inspect", forwarded=True)


def test_a_grpc_peer_is_its_address_without_the_port() -> None:
    assert _address("ipv4:127.0.0.1:5000") == "127.0.0.1"
    assert _address("ipv6:%5B::1%5D:5000") == "::1"
    assert _address("unix:") == "unix:"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "recsys_api_keys").write_text(",".join(KEYS))
    return folder


@pytest.fixture(scope="module")
def guarded(world: World, secrets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    extra = {"RECSYS_SECRETS": str(secrets), "RECSYS_RATE_LIMIT": str(RATE)}
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


def test_the_log_names_a_key_by_its_id(guarded: Service) -> None:
    headers = {"authorization": f"Bearer {KEYS[0]}"}
    deadline = time.monotonic() + 30
    while guarded.http.post("/features", json={}, headers=headers).status_code != 422:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    lines = [json.loads(line) for line in guarded.output.read_text().splitlines() if line.startswith("{")]
    assert hashlib.sha256(KEYS[0].encode()).hexdigest()[:8] in {line.get("key") for line in lines}


def test_a_running_service_takes_another_key_without_a_restart(guarded: Service, secrets: Path) -> None:
    new = "third-key-0123456789"
    headers = {"authorization": f"Bearer {new}"}
    assert guarded.http.post("/recommend", json={"user_id": "u"}, headers=headers).status_code == 401
    (secrets / "new").write_text(",".join([*KEYS, new]))
    (secrets / "new").replace(secrets / "recsys_api_keys")
    deadline = time.monotonic() + 30
    while (code := guarded.http.post("/recommend", json={"user_id": "u"}, headers=headers).status_code) != 200:
        assert code in (401, 429) and time.monotonic() < deadline
        time.sleep(0.5)
    assert new not in guarded.output.read_text()


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


def test_a_caller_on_this_machine_names_no_other_address(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Else who calls over loopback would have a new rate with each `X-Forwarded-For`."""
    with serving(world, tmp_path_factory.mktemp("forwarded"), RECSYS_RATE_LIMIT="2") as started:
        codes = {
            started.http.post("/features", json={}, headers={"x-forwarded-for": f"198.51.100.{n}"}).status_code
            for n in range(20)
        }
        time.sleep(1.1)
        looked = started.http.post("/inspect", json={}, headers={"x-forwarded-for": "198.51.100.7"})
        with pytest.raises(grpc.RpcError) as refused:
            started.stub.Inspect(pb.InspectRequest(), metadata=(("x-forwarded-for", "198.51.100.7"),))
    assert codes == {422, 429}
    assert looked.status_code == 403 and refused.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_an_idle_connection_is_kept(guarded: Service) -> None:
    """A balancer keeps idle connections for a minute: the framework's five seconds gave its callers sporadic errors."""
    with socket.create_connection(("127.0.0.1", guarded.ports[0]), timeout=30) as connection:
        for _ in range(2):
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while b"alive" not in answer:  # head and body may come apart
                answer += (more := connection.recv(4096))
                assert more, "it was closed"
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(7)
