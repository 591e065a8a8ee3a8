"""A failed run is told: one line of the log, one call of the webhook, and never a failure of its own."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from recsys_assets.defs.automation.alerts import tell

ALERT = {"job": "observe", "run_id": "r1", "reason": "disk full", "tags": {"recsys/cause": "drift"}}


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, object]]]]:
    told: list[dict[str, object]] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Listener)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/alerts", told
    server.shutdown()
    server.server_close()


def test_the_webhook_gets_the_reason_in_words_and_in_fields(
    webhook: tuple[str, list[dict[str, object]]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RECSYS_ALERT_WEBHOOK", webhook[0])
    with caplog.at_level(logging.ERROR, "recsys.alerts"):
        tell(ALERT)
    assert webhook[1] == [{"text": "observe failed: disk full", **ALERT}]
    assert "run r1 of observe failed: disk full" in caplog.text


def test_a_webhook_that_is_not_there_is_one_line_of_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RECSYS_ALERT_WEBHOOK", "http://127.0.0.1:9/secret-path")
    with caplog.at_level(logging.ERROR, "recsys.alerts"):
        tell(ALERT)
    assert "the webhook did not take it" in caplog.text and "secret-path" not in caplog.text
