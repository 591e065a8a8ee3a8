"""`make stream`: events from a Kafka topic into the online store, and served slates out to one, beside the service.

A process of its own. It scales with partitions, and the service with requests. A restart of one does not touch the
other. A consumer in each worker would rebalance the group whenever a worker is started anew. Start it as often as there
are partitions; all of them are one group.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import time
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from bentos.recommender import faults, logs, ports
from bentos.recommender.gate import Gate, TooOften, Unauthorized
from bentos.recommender.roles import Forbidden
from bentos.recommender.serve import NoBundle, champion
from recsys.beside import alone
from recsys.lake import Lake
from recsys.privacy.border import Border
from recsys.registry import Registry, RegistryError
from recsys.serving.about_log import AboutLog
from recsys.settings import Settings, SettingsError, from_environment
from recsys.sources.derived import Rules
from recsys.store.checkpoints import Checkpoints
from recsys.store.opening import open_store
from recsys.stream.consumer import Progress, Stream
from recsys.stream.kafka import Kafka
from recsys.stream.slates import SlatesOut

SLATES_SECONDS = 1.0  # between two looks into the served log
RULES_SECONDS = 1.0  # between two looks at who is champion
STUCK_SECONDS = 120.0  # for which the loop may not have come by, until /livez says so
log = logging.getLogger("recsys.stream")


class ChampionRules:
    """What events imply in the log that the champion learned from, whoever that is."""

    def __init__(self, registry: Registry) -> None:
        self._registry, self._of, self._rules, self._looked_at = registry, "", Rules(), 0.0

    def __call__(self) -> Rules:
        now = time.monotonic()
        if now - self._looked_at > RULES_SECONDS:
            self._looked_at = now
            bundle_id = self._registry.alias_id()
            if bundle_id and bundle_id != self._of:
                try:
                    self._rules, self._of = AboutLog.load(self._registry.get(bundle_id).path).derives, bundle_id
                except (RegistryError, OSError, ValueError) as error:
                    log.error("bundle %s cannot be read (%s): the rules of the one before stand", bundle_id, error)
        return self._rules


class Told:
    """What Prometheus and probes see."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.slates: SlatesOut | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def collect(self) -> Any:
        """The families of metrics, as they are now."""
        if (read := self.progress) is not None:
            messages = CounterMetricFamily("recsys_stream_messages", "messages by outcome", labels=["outcome"])
            messages.add_metric(["accepted"], read.accepted)
            messages.add_metric(["duplicate"], read.duplicates)
            messages.add_metric(["rejected"], read.rejected.total())
            yield messages
            rejected = CounterMetricFamily("recsys_stream_rejected", "dead letters by reason", labels=["reason"])
            for code, count in list(read.rejected.items()):
                rejected.add_metric([code], count)
            yield rejected
            lag = GaugeMetricFamily("recsys_stream_lag", "messages not read yet", labels=["partition"])
            for partition, ahead in list(read.lag.items()):
                lag.add_metric([str(partition)], ahead)
            yield lag
            for name, words, count in (
                ("batches", "steps of the journal", read.batches),
                ("lost", "messages that retention took before they were read", read.lost),
                ("moved", "batches that another consumer had read", read.moved),
                ("renewed", "partitions read anew since their topic was made anew", read.renewed),
            ):
                yield CounterMetricFamily(f"recsys_stream_{name}", words, value=count)
        if self.slates is not None:
            yield CounterMetricFamily("recsys_stream_slates", "slates that went out", value=self.slates.sent)
        waiting = GaugeMetricFamily("recsys_stream_down", "1: waited for", labels=["part"])
        for part in ("kafka", "store", "letters", "slates"):
            waiting.add_metric([part], part in self.down)
        yield waiting

    @property
    def down(self) -> dict[str, str]:
        """What is waited for, and why."""
        down = dict(self.progress.down) if self.progress is not None else {}
        if self.slates is not None and self.slates.down is not None:
            down["slates"] = self.slates.down
        return down

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, content type and body of a GET."""
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        if path == "/readyz":
            down = self.down
            state = {"status": "waiting" if down else "ready", "down": down}
            return 503 if down else 200, "application/json", json.dumps(state).encode()
        if path == "/livez":
            stuck = self.progress is not None and time.monotonic() - self.progress.ticked_at > STUCK_SECONDS
            return 503 if stuck else 200, "application/json", b'{"status":"stuck"}' if stuck else b'{"status":"alive"}'
        return 404, "application/json", b'{"error":"try /metrics, /livez or /readyz"}'


def serve_told(told: Told, settings: Settings) -> ThreadingHTTPServer:
    """Answer probes and Prometheus, in threads beside; `/metrics` asks for a key where the service does."""
    gate = Gate.of(settings)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, status = self.path.partition("?")[0], 0
            if path == "/metrics":
                try:
                    gate.renew()
                    gate.admit(self.headers.get("authorization"), self.client_address[0], path)
                except Unauthorized:
                    status = 401
                except Forbidden:
                    status = 403
                except TooOften:
                    status = 429
            status, content_type, body = (status, "text/plain", b"") if status else told.answer(path)
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Probes are no news."""

    ports.require_free(settings.host, settings.stream_port, "RECSYS_STREAM_PORT")
    server = ThreadingHTTPServer((ports.address(settings.host), settings.stream_port), Handler)
    threading.Thread(target=server.serve_forever, name="told", daemon=True).start()
    return server


def run(settings: Settings, kafka: Kafka, stop: threading.Event) -> None:
    """Read and send until `stop` is set.

    Raises:
        StreamError, StoreError, NoBundle, PortTaken: it cannot begin or go on.
    """
    lake = Lake(settings.home)
    kafka.look()
    with ExitStack() as opened:
        progress = Progress() if kafka.topic else None
        told = Told(progress)
        stream = None
        if kafka.topic:
            champion(settings)
            store = opened.enter_context(closing(open_store(settings)))
            opened.callback(Checkpoints(store, settings).close)
            rules = ChampionRules(Registry(lake.registry))
            stream = Stream(kafka, store, Border.of(settings), rules, progress=progress)
        opened.callback(serve_told(told, settings).shutdown)
        if kafka.served:
            sender = threading.Thread(target=_send, args=(settings, kafka, lake, told, stop), name="slates")
            sender.start()
            opened.callback(sender.join, 60)
            opened.callback(stop.set)
        said = f"topic {kafka.topic} as group {kafka.group}" if kafka.topic else "no events"
        print(f"reading {said}; slates go to {kafka.served or 'no topic'}; Ctrl-C ends it", flush=True)
        if stream is not None:
            stream.run(stop)
        else:
            stop.wait()


def _send(settings: Settings, kafka: Kafka, lake: Lake, told: Told, stop: threading.Event) -> None:
    """Send slates, unless another process of this home does; it is tried again and again."""
    settings.home.mkdir(parents=True, exist_ok=True)
    while not stop.is_set():
        with alone(settings.home / "slates_out.lock") as mine:
            if mine:
                told.slates = told.slates or SlatesOut(kafka, lake.served_log)
                while not stop.is_set():
                    try:
                        told.slates.look()
                    except Exception as error:  # a disk that is full; next time
                        log.error("no slates went out: %s", " ".join(str(error).split()) or type(error).__name__)
                    stop.wait(SLATES_SECONDS)
        stop.wait(5 * SLATES_SECONDS)


def main() -> int:
    """Everything wrong ends here as one line on stderr and status 2."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = from_environment()
        kafka = Kafka.of(settings)
        if kafka is None:
            raise SettingsError("no stream is set: RECSYS_KAFKA and RECSYS_KAFKA_TOPIC say which (docs/stream.md)")
        run(settings, kafka, stop)
    except (NoBundle, *faults.SPEAKING) as error:
        print(" ".join(str(error).split()), file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    logs.to_stderr()
    sys.exit(main())
