"""Seen from outside: TLS, traces that continue a caller's, a log with request ids, metrics of what was done."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import trustme
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from bentos.recommender.recsys_v1 import recommender_pb2 as pb
from bentos.recommender.recsys_v1 import recommender_pb2_grpc as pb_grpc
from recsys.lake import Lake
from recsys.registry import Registry
from tests.conftest import ROOT
from tests.serving.running import Service, environment, free_port, serving
from tests.serving.world import World

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(ThreadingHTTPServer):
    """Takes spans as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        spans: list[Span] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                import gzip

                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                request = ExportTraceServiceRequest.FromString(body)
                spans.extend(s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.spans = spans


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    server = Collector()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.private_key_pem.write_to_path(folder / "ca.key")
    for name in ("127.0.0.1", "client"):
        made = authority.issue_cert(name)
        made.private_key_pem.write_to_path(folder / f"{name}.key")
        made.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    return folder


@pytest.fixture(scope="module")
def service(
    world: World, collector: Collector, certificates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    registry = Registry(Lake(world.settings.home).registry)
    registry.try_out(world.other.bundle_id, canary=0.5, shadow=0.5)
    settings = {
        "RECSYS_TLS_CERT": str(certificates / "127.0.0.1.pem"),
        "RECSYS_TLS_KEY": str(certificates / "127.0.0.1.key"),
        "RECSYS_TLS_CLIENT_CA": str(certificates / "ca.pem"),
        "RECSYS_TRACES": f"http://127.0.0.1:{collector.server_port}",
        "RECSYS_TRACE_SHARE": "0",
        "RECSYS_LOG_REQUESTS": "all",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    try:
        with serving(world, tmp_path_factory.mktemp("outside"), certificates=certificates, **settings) as started:
            yield started
    finally:
        registry.try_out(world.other.bundle_id)


def test_without_a_certificate_nobody_comes_in(service: Service, certificates: Path) -> None:
    url = f"127.0.0.1:{service.ports[0]}"
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{url}/livez")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"https://{url}/livez", verify=str(certificates / "ca.pem"))  # no client certificate
    assert service.http.get("/livez").status_code == 200
    with grpc.insecure_channel(f"127.0.0.1:{service.ports[1]}") as channel, pytest.raises(grpc.RpcError):
        pb_grpc.RecommenderStub(channel).Recommend(pb.RecommendRequest(user_id="u"), timeout=5)
    assert service.stub.Recommend(pb.RecommendRequest(user_id="u")).rung == "full"


def test_a_renewed_certificate_is_shown_by_both_fronts_and_half_a_pair_is_not(
    service: Service, certificates: Path
) -> None:
    pem, key = certificates / "127.0.0.1.pem", certificates / "127.0.0.1.key"

    def shown(port: int) -> str:
        context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
        context.set_alpn_protocols(["h2", "http/1.1"])
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            return ssl.DER_cert_to_PEM_cert(secured.getpeercert(binary_form=True) or b"")

    before, old_key = pem.read_text(), key.read_bytes()
    assert [shown(port) for port in service.ports] == [before, before]
    authority = trustme.CA.from_pem((certificates / "ca.pem").read_bytes(), (certificates / "ca.key").read_bytes())
    renewed = authority.issue_cert("127.0.0.1")
    renewed.cert_chain_pems[0].write_to_path(pem)  # its key is yet to come
    time.sleep(2.5)
    assert [shown(port) for port in service.ports] == [before, before]
    assert "the certificate stays as it was: RECSYS_TLS_CERT and RECSYS_TLS_KEY" in service.output.read_text()
    renewed.private_key_pem.write_to_path(key)
    deadline = time.monotonic() + 30
    while [shown(port) for port in service.ports] != [pem.read_text()] * 2:
        assert time.monotonic() < deadline and key.read_bytes() != old_key
        time.sleep(0.2)
    assert service.http.get("/livez").status_code == 200  # a connection of before goes on
    assert service.stub.Recommend(pb.RecommendRequest(user_id="u")).rung == "full"


def _negotiated(
    service: Service,
    certificates: Path,
    ciphers: str,
    front: int,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
) -> str | None:
    """The cipher that a version of TLS agrees on out of `ciphers`; None when the server has none of them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    context.load_verify_locations(certificates / "ca.pem")
    context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    context.set_alpn_protocols(["h2"] if front else ["http/1.1"])
    with socket.create_connection(("127.0.0.1", service.ports[front]), timeout=10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
                agreed = secured.cipher()
                return agreed[0] if agreed else None
        except (ssl.SSLError, ConnectionError):
            return None


@pytest.mark.parametrize("front", [0, 1], ids=["http", "grpc"])
def test_tls_1_2_has_modern_ciphers_and_no_others(service: Service, certificates: Path, front: int) -> None:
    offered = [cipher["name"] for cipher in _all_ciphers()]
    agreed = {name for name in offered if _negotiated(service, certificates, name, front)}
    modern = {name for name in agreed if name.startswith("ECDHE-") and ("GCM" in name or "CHACHA20" in name)}
    assert agreed and agreed == modern


@pytest.mark.parametrize("front", [0, 1], ids=["http", "grpc"])
def test_no_version_of_tls_before_1_2_is_spoken(service: Service, certificates: Path, front: int) -> None:
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        assert _negotiated(service, certificates, "ALL", front, version) is None
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert _negotiated(service, certificates, "ALL", front, version)


def _all_ciphers() -> list[dict[str, Any]]:
    """Every cipher of TLS 1.2 that this machine's OpenSSL can offer, weak ones too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")
    return [dict(cipher) for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"]


def test_a_trace_goes_on_where_the_callers_began_and_names_the_stages(
    service: Service, collector: Collector, world: World
) -> None:
    service.http.post("/recommend", json={"user_id": world.user_ids[0]})  # nobody's trace: the share is 0
    asked = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    answer = service.http.post("/recommend", json={"user_id": world.user_ids[0]}, headers=asked)
    service.stub.Recommend(pb.RecommendRequest(user_id=world.user_ids[1]), metadata=tuple(asked.items()))
    deadline = time.monotonic() + 30
    while len([span for span in collector.spans if span.name == "recommend"]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    roots = [span for span in collector.spans if span.name == "recommend"]
    assert {span.parent_span_id.hex() for span in roots} == {PARENT}
    told = [{a.key: a.value for a in span.attributes} for span in roots]
    assert {attributes["front"].string_value for attributes in told} == {"http", "grpc"}
    by_id = {a["request_id"].string_value: span for span, a in zip(roots, told, strict=True)}
    mine = by_id[answer.json()["request_id"]]
    stages = [span for span in collector.spans if span.parent_span_id == mine.span_id]
    assert {"store", "retrieval", "two_tower", "ranker", "shown", "log"} <= {s.name for s in stages}
    assert all(mine.start_time_unix_nano <= s.start_time_unix_nano <= s.end_time_unix_nano for s in stages)
    assert all(s.end_time_unix_nano <= mine.end_time_unix_nano for s in stages)


def test_the_log_is_json_with_request_ids(service: Service, world: World) -> None:
    answer = service.http.post("/recommend", json={"user_id": world.user_ids[2]}).json()
    refused = service.http.post("/recommend", json={"user_id": world.user_ids[2], "k": 0}).json()
    time.sleep(0.3)
    lines = [json.loads(line) for line in service.output.read_text().splitlines() if line.startswith('{"time"')]
    by_id = {line.get("request_id"): line for line in lines}
    mine, bad = by_id[answer["request_id"]], by_id[refused["error"]["request_id"]]
    assert (mine["logger"], mine["code"], mine["rung"]) == ("recsys.requests", "200", "full")
    assert mine["bundle"] == answer["bundle"] and mine["stages_ms"]["ranker"] >= 0 and bad["code"] == "422"
    assert world.user_ids[2] not in service.output.read_text()  # ids of people are in no log


def test_metrics_tell_bundles_rungs_stages_and_features(service: Service, world: World) -> None:
    deadline, text = time.monotonic() + 60, ""
    while "recsys_shadow_overlap_count" not in text or 'role="canary"' not in text:  # a second until it is taken up
        assert time.monotonic() < deadline
        for user in world.user_ids[:48]:  # each bundle's shadow sees another quarter: of 12, none
            service.http.post("/recommend", json={"user_id": user})
        text = service.http.get("/metrics").text
    champion, other = world.champion.bundle_id, world.other.bundle_id
    for series in (
        'recsys_slates_total{role="canary",rung="full"}',
        f'recsys_bundle_seconds_count{{bundle="{champion}",role="champion"}}',
        f'recsys_bundle_seconds_count{{bundle="{other}",role="canary"}}',
        f'recsys_bundle_seconds_count{{bundle="{other}",role="shadow"}}',
        f'recsys_prediction_sum{{bundle="{other}",prediction="p_click",role="canary"}}',
        'recsys_stage_seconds_bucket{le="0.1",stage="ranker"}',
        'recsys_slate_seconds_count{rung="full"}',
        'recsys_breaker{part="store"} 0.0',
        'recsys_feature_unknown_total{feature="user_clicks_log_all"}',
        "recsys_feature_rows_total",
        "recsys_candidates_sum",
    ):
        assert series in text, series


@pytest.mark.parametrize("wrong", ["missing", "swapped", "half"])
def test_a_certificate_that_cannot_be_used_is_one_clear_line(tmp_path: Path, certificates: Path, wrong: str) -> None:
    files = {"RECSYS_TLS_CERT": str(certificates / "127.0.0.1.pem"), "RECSYS_TLS_KEY": str(certificates / "client.key")}
    if wrong == "missing":
        files["RECSYS_TLS_KEY"] = str(tmp_path / "none.key")
    elif wrong == "half":
        del files["RECSYS_TLS_KEY"]
    ended = subprocess.run(
        [sys.executable, "-m", "bentos.recommender.serve"],
        env={**environment(tmp_path, free_port(), free_port()), **files},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "RECSYS_TLS_CERT" in ended.stderr
