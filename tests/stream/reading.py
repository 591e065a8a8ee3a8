"""A broker's topics, a stream that reads them in a thread, and a proxy that cuts its connections."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from bentos.recommender.dev_stream import Broker
from recsys.privacy.border import Border
from recsys.sources.derived import Rules
from recsys.store.online import OnlineStore
from recsys.stream.consumer import Stream
from recsys.stream.kafka import Kafka
from tests.features.test_store import NOW

SECONDS = 120.0
QUICK = {"session.timeout.ms": "3000", "heartbeat.interval.ms": "300"}  # this broker waits half a session for a group
_numbers = itertools.count()


def kafka_of(broker: Broker, partitions: int = 2, **properties: str) -> Kafka:
    """Topics of their own, and how to reach them."""
    name = f"events{next(_numbers)}"
    broker.topics(**{name: partitions, f"{name}_rejected": 1})
    given = {"bootstrap.servers": broker.servers, "group.id": name, **QUICK, **properties}
    return Kafka(given, name, f"{name}.rejected", None)


def anew(kafka: Kafka) -> Kafka:
    """The same topics under a group that this broker has not met: it may keep a leader that left (docs/stream.md)."""
    group = f"{kafka.group}-{next(_numbers)}"
    return dataclasses.replace(kafka, properties={**kafka.properties, "group.id": group})


def produce(kafka: Kafka, values: Sequence[bytes | Mapping[str, Any]], topic: str | None = None) -> None:
    """Messages, one partition after the other."""
    producer = Producer({"bootstrap.servers": kafka.properties["bootstrap.servers"], "log_level": 0})
    for number, value in enumerate(values):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        producer.produce(topic or kafka.topic or "", body, key=str(number % 5))
    assert producer.flush(SECONDS) == 0


def everything(kafka: Kafka, topic: str, partitions: int = 1) -> list[Message]:
    """All messages of a topic."""
    given = {"bootstrap.servers": kafka.properties["bootstrap.servers"], "log_level": 0}
    consumer = Consumer({**given, "group.id": "looks", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    messages, ends, deadline = [], 0, time.monotonic() + SECONDS
    while ends < partitions and time.monotonic() < deadline:
        for message in consumer.consume(1000, 0.2):
            if message.error() is None:
                messages.append(message)
            else:
                ends += 1
    consumer.close()
    return messages


def until(held: Callable[[], Any]) -> None:
    """Wait for something to hold."""
    deadline = time.monotonic() + SECONDS
    while not held():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


@contextmanager
def reading(
    kafka: Kafka, store: OnlineStore, border: Border | None = None, rules: Callable[[], Rules] = Rules, **given: Any
) -> Iterator[Stream]:
    """A stream that reads meanwhile; what ends it is raised."""
    stream = Stream(kafka, store, border, rules, **{"clock": lambda: NOW + 10**8, **given})
    stop, failed = threading.Event(), list[Exception]()

    def run() -> None:
        try:
            stream.run(stop)
        except Exception as error:
            logging.getLogger("recsys.stream").exception("it ended")
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield stream
    finally:
        stop.set()
        thread.join(SECONDS)
        if failed:
            raise failed[0]


class Proxy:
    """`with Proxy() as proxy`: connections to proxy.port go to `proxy.to`, until `cut`; `mend` lets them pass again.

    While `proxy.passes` is clear, what comes waits.
    """

    def __init__(self) -> None:
        self.to, self.through, self._pairs = 0, True, list[socket.socket]()
        self.passes = threading.Event()
        self.passes.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._listener.close()

    def broker(self) -> Broker:
        """One whose clients come back through here."""
        broker = Broker(advertised=self.port)
        self.to = broker.port
        return broker

    def cut(self) -> None:
        self.through = False
        for end in self._pairs:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def mend(self) -> None:
        self.through = True

    def _listen(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self.through:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                near.close()
                continue
            self._pairs += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                self.passes.wait(SECONDS)
                other.sendall(data)
        for end in (one, other):
            end.close()
