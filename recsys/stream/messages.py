"""A message on its way to be an event, or to the topic of those that are none, with the reason and where it lay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import xxhash
from confluent_kafka import KafkaError, Message, Producer
from pydantic_core import from_json

from recsys.privacy.border import Border
from recsys.serving.taking import FORGOTTEN
from recsys.stream.kafka import Kafka
from recsys.vocabulary import REASONS, TOO_LATE

MOST_BYTES: Final = 64 << 10  # of a message; an honest event has 40 kB at most, every letter of it escaped
FLUSH_SECONDS: Final = 30.0
# reasons that are no rule of the vocabulary, for counters
NO_EVENT: Final = ("empty", "too_large", "framed", "no_json", "no_object", "schema", "unknown_item", "forgotten")
NOT_KEPT: Final = ("too_large", "forgotten", "no_consent")  # whose text no letter repeats


class LettersUndelivered(RuntimeError):
    """Kafka did not take the dead letters; some may be there: send all of them again."""


class Refusal(NamedTuple):
    """Why a message is no event."""

    code: str  # of NO_EVENT or vocabulary.REASONS, or TOO_LATE
    words: str

    @classmethod
    def of(cls, reason: str) -> Refusal:
        """From the words with which an event is rejected, over HTTP as here."""
        if reason == FORGOTTEN:
            return cls("forgotten", reason)
        if reason == "unknown item":
            return cls("unknown_item", reason)
        code = reason.rpartition("(")[2].removesuffix(")")
        return cls(code if code in (*REASONS, TOO_LATE) else "schema", reason)


def lies(message: Message) -> tuple[int, int]:
    """Partition and offset; -1 of what has none, as an error."""
    partition, offset = message.partition(), message.offset()
    return -1 if partition is None else partition, -1 if offset is None else offset


def event_of(message: Message, topic_id: str) -> dict[str, Any] | Refusal:
    """What a message says, as POST /events would read it.

    One that says neither an id nor an instant gets its place in the topic as its id, so that it counts once as well.
    """
    value = message.value()
    if not value:
        return Refusal("empty", "the message is empty")
    if len(value) > MOST_BYTES:
        return Refusal("too_large", f"the message has {len(value):,} bytes: an event has {MOST_BYTES:,} at most")
    if value[:1] == b"\0":
        return Refusal("framed", "the message is framed for a schema registry: send plain JSON")
    try:
        raw = from_json(value)
    except ValueError:
        return Refusal("no_json", "the message is no JSON")
    if not isinstance(raw, dict):
        return Refusal("no_object", "the message is no JSON object")
    if "event_id" not in raw and raw.get("occurred_at") is None:
        place = f"{topic_id}/{message.topic()}/{message.partition()}/{message.offset()}"
        raw["event_id"] = xxhash.xxh3_128_hexdigest(place.encode())
    return raw


class Letters:
    """Writes dead letters: durable in their topic when `send` returns, at least once."""

    def __init__(self, kafka: Kafka, border: Border | None) -> None:
        self._kafka, self._border = kafka, border
        self._producer: Producer | None = None
        self._delivered: set[tuple[int, int]] = set()

    def send(self, letters: Sequence[tuple[Message, Refusal]]) -> None:
        """Write those that are not written yet.

        Raises:
            LettersUndelivered: Kafka does not take them.
        """
        missing = [one for one in letters if lies(one[0]) not in self._delivered]
        if not missing:
            return
        self._producer = self._producer or self._kafka.producer()
        failed: list[KafkaError] = []
        for message, refusal in missing:
            self._produce(message, refusal, failed, whole=self._keeps(refusal))
        if self._producer.flush(FLUSH_SECONDS) or failed:
            self._producer = None  # with what it still would send
            why = self._kafka.words(failed[0]) if failed else "no answer"
            raise LettersUndelivered(f"{self._kafka.rejected} takes no letters ({why})")

    def settled(self) -> None:
        """The batch is in the journal: its letters are not sent again."""
        self._delivered.clear()

    def _keeps(self, refusal: Refusal) -> bool:
        return refusal.code not in NOT_KEPT and (self._border is None or self._border.keeps_texts)

    def _produce(self, message: Message, refusal: Refusal, failed: list[KafkaError], *, whole: bool) -> None:
        assert self._producer is not None
        place = lies(message)

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is None:
                self._delivered.add(place)
            elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE and whole:
                self._produce(message, refusal, failed, whole=False)
            else:
                failed.append(error)

        origin = {"topic": message.topic() or "", "partition": str(place[0]), "offset": str(place[1])}
        headers = {"reason": refusal.words, "code": refusal.code, **origin}
        ours = [(f"recsys.{name}", said.encode()) for name, said in headers.items()]
        try:
            self._producer.produce(
                self._kafka.rejected,
                value=message.value() if whole else None,
                key=message.key() if whole else None,
                headers=[*((message.headers() or []) if whole else []), *ours],
                on_delivery=delivered,
            )
        except BufferError:  # more at once than its queue has room for
            if self._producer.flush(FLUSH_SECONDS):
                raise LettersUndelivered(f"{self._kafka.rejected} takes no letters") from None
            self._produce(message, refusal, failed, whole=whole)
        self._producer.poll(0)
