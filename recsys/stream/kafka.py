"""Kafka as the settings name it: a file of librdkafka's properties, so that clusters, TLS and SASL are as everywhere.

What the contract needs is ours and stands in OURS: our journal keeps the offsets, so nothing commits by itself, and an
offset that is gone is an error that we tell, never a silent jump.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from recsys.settings import Settings
from recsys.stream.errors import StreamError

OURS: Final[dict[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": False,
    "auto.offset.reset": "error",
    "partition.assignment.strategy": "cooperative-sticky",  # a rebalance stops only what moves
    "allow.auto.create.topics": False,
    "enable.idempotence": True,
}
DEFAULTS: Final[dict[str, Any]] = {
    "group.id": "recsys",
    "queued.max.messages.kbytes": 16_384,  # read ahead while the store works; librdkafka's own is 64 MB
    "log.connection.close": False,
}
# beginnings of properties that a producer does not know
OF_CONSUMERS: Final = ("group.", "session.", "heartbeat.", "fetch.", "queued.", "max.poll.", "isolation.", "check.crcs")
SECRET: Final = ("password", "secret", "pem", "token")  # in a property's name: its value is never told
ANSWER_SECONDS: Final = 10.0
log = logging.getLogger("recsys.stream")


@dataclass(frozen=True)
class Kafka:
    """Where the events come from, and where letters and slates go.

    Args:
        topic: of events; None: none are read
        rejected: of what is no event (dead letters)
        served: of the slates that were served; None: none go out
    """

    properties: Mapping[str, str] = field(repr=False)
    topic: str | None
    rejected: str
    served: str | None

    @classmethod
    def of(cls, settings: Settings) -> Kafka | None:
        """What the settings say; None where they say nothing of Kafka.

        Raises:
            StreamError: the file cannot be read, or says what is ours to say.
        """
        if settings.kafka is None:
            return None
        rejected = settings.kafka_rejected or f"{settings.kafka_topic}.rejected"
        return cls(_properties(settings.kafka), settings.kafka_topic, rejected, settings.kafka_served)

    @property
    def group(self) -> str:
        """Name of the consumer group."""
        return str({**DEFAULTS, **self.properties}["group.id"])

    def consumer(self, **more: Any) -> Consumer:
        """A member of the group, not subscribed yet. Raises StreamError: a property is wrong."""
        ours = {name: value for name, value in OURS.items() if name != "enable.idempotence"}
        return self._made(Consumer, {**DEFAULTS, **self.properties, **ours, **more})

    def producer(self, **more: Any) -> Producer:
        """One that loses and doubles nothing by itself. Raises StreamError: a property is wrong."""
        return self._made(Producer, {**self._shared(), "enable.idempotence": True, **more})

    def admin(self) -> AdminClient:
        """One that asks about topics. Raises StreamError: a property is wrong."""
        return self._made(AdminClient, self._shared())

    def _shared(self) -> dict[str, Any]:
        shared = {name: value for name, value in self.properties.items() if not name.startswith(OF_CONSUMERS)}
        return {"log.connection.close": False, **shared}

    def _made(self, kind: Any, properties: dict[str, Any]) -> Any:
        try:
            return kind(properties, logger=log)
        except KafkaException as error:
            raise StreamError(f"RECSYS_KAFKA: {self.words(error)}") from None

    def words(self, error: KafkaException | KafkaError) -> str:
        """What librdkafka says of an error, without what is secret."""
        first = error.args[0] if isinstance(error, KafkaException) else error
        said = " ".join((first.str() if isinstance(first, KafkaError) else str(first)).split())
        for name, value in self.properties.items():
            if any(word in name for word in SECRET) and value:
                said = said.replace(value, "...")
        return said

    def look(self) -> str:
        """One line about the topics.

        Raises:
            StreamError: Kafka does not answer, refuses us, or lacks a topic.
        """
        told: list[KafkaError] = []
        consumer = self.consumer(error_cb=told.append)
        try:
            said = [
                f"{topic} ({partitions_of(self, consumer, topic, told)} partitions)"
                for topic in (self.topic, self.topic and self.rejected, self.served)
                if topic
            ]
        finally:
            consumer.close()
        return f"{self.properties['bootstrap.servers']}: {', '.join(said)}"


def partitions_of(kafka: Kafka, consumer: Consumer, topic: str, told: list[KafkaError]) -> int:
    """Partitions of a topic; asking makes none.

    Args:
        told: what librdkafka said of its connections meanwhile

    Raises:
        StreamError: there is no such topic, or no answer.
    """
    where = kafka.properties["bootstrap.servers"]
    try:
        described = consumer.list_topics(topic, timeout=ANSWER_SECONDS).topics[topic]
    except KafkaException as error:
        consumer.poll(0)  # brings what was said
        why = kafka.words(told[-1] if told else error)
        raise StreamError(f"Kafka at {where} does not answer ({why}): start it, or mend RECSYS_KAFKA") from None
    if described.error is not None:
        missing = described.error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
        why = "is not there: create it" if missing else f"cannot be used: {kafka.words(described.error)}"
        raise StreamError(f"topic {topic} of Kafka at {where} {why}")
    return len(described.partitions)


def _properties(path: Path) -> dict[str, str]:
    """A file of `name=value` lines; `#` begins a comment."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not text in UTF-8"
        raise StreamError(f"RECSYS_KAFKA={path}: {why}") from None
    properties: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not name:
            raise StreamError(
                f"RECSYS_KAFKA={path}, line {number}: give name=value, as librdkafka names its properties"
            )
        if name in OURS:
            raise StreamError(f"RECSYS_KAFKA={path}, line {number}: {name} is not yours to set: take it out")
        if name in properties:
            raise StreamError(f"RECSYS_KAFKA={path}, line {number}: {name} stands there twice")
        properties[name] = value
    if "bootstrap.servers" not in properties:
        raise StreamError(f"RECSYS_KAFKA={path} needs bootstrap.servers=host:port")
    return properties
