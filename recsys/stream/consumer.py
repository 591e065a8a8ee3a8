"""Events from a topic into the online store: each counts once, and none is passed over in silence.

How far each partition was read is kept by the journal, in the step that takes the events: after any death the next
consumer goes on where the journal says. A partition that two consumers read at one time (one was paused for long, or
there are two groups) has one winner a batch: the other's step is refused, and it goes on from where the winner is.
What is no event is written to the topic of dead letters before the offset moves.

While the store is slow, full or gone, the partitions are paused and the group is kept: Kafka holds what comes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)

from recsys.privacy.border import Border
from recsys.serving.taking import Told
from recsys.sources.derived import Rules
from recsys.store.errors import OffsetMoved, StoreError
from recsys.store.journal import Offset
from recsys.store.online import OnlineStore
from recsys.stream.errors import StreamError
from recsys.stream.kafka import ANSWER_SECONDS, Kafka, partitions_of
from recsys.stream.messages import Letters, LettersUndelivered, Refusal, event_of, lies

MOST: Final = 5_000  # messages of one batch: one step of the journal, and one write of the disk
POLL_SECONDS: Final = 0.5
GATHER_SECONDS: Final = 0.02  # for which a batch that has begun waits for more
LOOK_SECONDS: Final = 5.0
TWICE_SECONDS: Final = 30.0  # between two looks whether another store reads under this group's name
AGAIN_SECONDS: Final = (0.5, 1.0, 2.0, 5.0)  # between two tries of a batch
STRANGE: Final = 100  # messages, of which none is an event: a topic of something else
TRIES: Final = 3
REPEAT_SECONDS: Final = 60.0  # the same line of the log comes no more often
MINE: Final = "recsys store "  # before a store's identity, in the metadata of a committed offset
_GONE: Final = (
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError.OFFSET_OUT_OF_RANGE,
)
log = logging.getLogger("recsys.stream")


@dataclass
class Progress:
    """What a consumer did since it began, and how it is: for its metrics and its log."""

    accepted: int = 0
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)  # by code
    lost: int = 0  # messages that retention took before they were read
    moved: int = 0  # batches that another consumer had read
    renewed: int = 0  # partitions that began anew: their topic was made anew
    batches: int = 0
    lag: dict[int, int] = field(default_factory=dict)  # messages ahead of us, by partition that is ours
    down: dict[str, str] = field(default_factory=dict)  # part that is waited for (kafka, store, letters), and why
    ticked_at: float = field(default_factory=time.monotonic)  # when the loop last came by


@dataclass(eq=False)
class _Place:
    """How far one partition was read."""

    partition: int
    kept: bytes  # in the journal
    following: int | None  # offset of the next message; None: whatever comes first


class Stream:
    """One member of the group. `run` until told to stop.

    Args:
        border: what users' ids pass; None where they are given as they are known inside
        rules: what events imply in the log that the champion learned from, asked for each batch
        clock: UTC ms now
    """

    def __init__(
        self,
        kafka: Kafka,
        store: OnlineStore,
        border: Border | None,
        rules: Callable[[], Rules],
        *,
        progress: Progress | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        most: int = MOST,
    ) -> None:
        assert kafka.topic is not None
        self._kafka, self._topic, self._store, self._border, self._rules = kafka, kafka.topic, store, border, rules
        self._clock, self._most = clock, most
        self.progress = progress or Progress()
        self._identity = MINE + store.journal.identity()
        self._letters = Letters(kafka, border)
        self._consumer: Consumer = kafka.consumer(error_cb=self._told)
        self._admin = kafka.admin()
        self._stop = threading.Event()
        self._topic_id = ""
        self._places: dict[int, _Place] = {}
        self._unplaced: set[int] = set()  # ours, and not read from yet
        self._paused = False
        self._looked_at = self._checked_at = 0.0
        self._said: dict[str, float] = {}

    # -- the loop ------------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Read until `stop` is set; a batch that is begun is ended first.

        Raises:
            StreamError: the stream cannot begin or go on.
        """
        self._stop = stop
        partitions_of(self._kafka, self._consumer, self._topic, [])
        partitions_of(self._kafka, self._consumer, self._kafka.rejected, [])
        for tries in range(TRIES):
            try:
                self._require_alone()
                break
            except KafkaException as error:  # whoever coordinates groups is not there yet
                if tries == TRIES - 1:
                    raise StreamError(f"Kafka does not answer ({self._kafka.words(error)}): try again") from None
        self._consumer.subscribe(
            [self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )
        try:
            while not stop.is_set():
                self.progress.ticked_at = time.monotonic()
                if self._unplaced:
                    self._place()
                messages = self._consumer.consume(1, POLL_SECONDS)
                if messages and self._most > 1:
                    messages += self._consumer.consume(self._most - 1, GATHER_SECONDS)
                self._settle(self._ours(messages))
                self._look()
        finally:
            with suppress(KafkaException):
                self._tell_kafka(asynchronous=False)
            self._consumer.close()

    def _settle(self, batch: list[tuple[_Place, Message]]) -> None:
        """Try until the journal has the batch, or none of it is ours any more."""
        tries = 0
        while batch and not self._stop.is_set():
            try:
                self._take(batch)
                break
            except OffsetMoved:
                self.progress.moved += 1
                self._say("another consumer has read this part of the topic: going on behind it")
                self._unplaced |= {place.partition for place, _ in batch}
                break
            except StoreError as error:
                self._wait("store", str(error), tries)
            except LettersUndelivered as error:
                self._wait("letters", str(error), tries)
            tries += 1
            batch = [(place, message) for place, message in batch if self._places.get(place.partition) is place]
        self._letters.settled()
        self._resume()

    def _take(self, batch: Sequence[tuple[_Place, Message]]) -> None:
        """Take what are events, and how far that is, in one step; note down first what are none."""
        topic_id = self._topic_id
        raws: list[dict[str, Any]] = []
        of_raws: list[Message] = []
        letters: list[tuple[Message, Refusal]] = []
        last: dict[_Place, int] = {}
        for place, message in batch:
            last[place] = lies(message)[1]
            raw = event_of(message, topic_id)
            if isinstance(raw, Refusal):
                letters.append((message, raw))
            else:
                raws.append(raw)
                of_raws.append(message)
        told = Told.of(raws, self._border)
        letters += [(of_raws[one.index], Refusal.of(one.reason)) for one in told.rejected]
        self._letters.send(letters)
        kept = {place: f"{offset + 1} {topic_id}".encode() for place, offset in last.items()}
        offsets = [Offset(self._named(place.partition), place.kept, now) for place, now in kept.items()]
        rows, messages = told.rows, [of_raws[place] for place in told.places]
        while True:
            appended = self._store.append(rows, self._clock(), self._rules(), offsets)
            if not appended.rejected:
                break
            refused = [(messages[row], Refusal.of(reason)) for row, reason in appended.rejected]
            self._letters.send(refused)
            letters += refused
            without = {row for row, _ in appended.rejected}
            rows = [one for row, one in enumerate(rows) if row not in without]
            messages = [one for row, one in enumerate(messages) if row not in without]
        for place, now in kept.items():
            place.kept, place.following = now, last[place] + 1
        self.progress.accepted += appended.accepted
        self.progress.duplicates += appended.duplicates
        self.progress.rejected.update(refusal.code for _, refusal in letters)
        self.progress.batches += 1
        if self.progress.rejected.total() >= STRANGE and not self.progress.accepted + self.progress.duplicates:
            words = letters[0][1].words
            self._say(f"no message of {self._topic} was an event so far ({words}): is it the right topic?")

    # -- waiting -------------------------------------------------------------------------------------------------------

    def _wait(self, part: str, why: str, tries: int) -> None:
        """Pause, and keep the place in the group, for a while."""
        self.progress.down[part] = why
        self._say(f"waiting: {why}")
        assigned = self._consumer.assignment()
        if assigned:
            self._consumer.pause(assigned)
        self._paused = True
        until = time.monotonic() + AGAIN_SECONDS[min(tries, len(AGAIN_SECONDS) - 1)]
        while (left := until - time.monotonic()) > 0 and not self._stop.is_set():
            self.progress.ticked_at = time.monotonic()
            self._ours(self._consumer.consume(1, min(left, POLL_SECONDS)))  # paused: rebalances and errors alone

    def _resume(self) -> None:
        for part in ("store", "letters"):
            if self.progress.down.pop(part, None) is not None:
                log.info("the %s can be written again", "store" if part == "store" else "topic of dead letters")
        if self._paused:
            placed = [TopicPartition(self._topic, n) for n in self._places if n not in self._unplaced]
            with suppress(KafkaException):  # one was lost meanwhile: its callback comes
                self._consumer.resume(placed)
            self._paused = False

    # -- partitions and their places -----------------------------------------------------------------------------------

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Begin to read what became ours where the journal says; hold it while the journal does not say.

        It is assigned once. librdkafka asks Kafka what a logical offset is, and where it was assigned anew meanwhile
        that answer wins over a number: held at OFFSET_END, messages of one in twenty assignments were passed over.
        Held at the beginning, they come twice at worst, and `_ours` drops what was read.
        """
        ours = [partition.partition for partition in partitions]
        try:
            places = [] if self._paused else self._places_of(ours)
        except StoreError:
            places = []
        if places:
            consumer.incremental_assign([self._at(place) for place in places])
            self._places |= {place.partition: place for place in places}
            return
        consumer.incremental_assign([TopicPartition(self._topic, number, OFFSET_BEGINNING) for number in ours])
        if ours:
            consumer.pause(partitions)
        self._unplaced |= set(ours)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._places.pop(partition.partition, None)
            self.progress.lag.pop(partition.partition, None)
            self._unplaced.discard(partition.partition)

    def _place(self) -> None:
        """Begin to read the partitions that are held where the journal says."""
        tries = 0
        while self._unplaced and not self._stop.is_set():
            asked = sorted(self._unplaced)
            try:
                places = self._places_of(asked)
            except StoreError as error:
                self._wait("store", str(error), tries)
                tries += 1
                continue
            for place in places:
                self._read_from(place)
            self._unplaced -= set(asked)
        self._resume()

    def _places_of(self, partitions: Sequence[int]) -> list[_Place]:
        """Where the journal says to go on in each."""
        self._topic_id = self._asked_topic_id()
        kept = self._store.journal.offsets([self._named(partition) for partition in partitions])
        return [self._place_of(partition, value) for partition, value in zip(partitions, kept, strict=True)]

    def _place_of(self, partition: int, kept: bytes) -> _Place:
        offset, _, topic_id = kept.decode().partition(" ")
        if not kept:
            return _Place(partition, kept, None)
        if topic_id and self._topic_id and topic_id != self._topic_id:
            self.progress.renewed += 1
            log.error(
                "topic %s was made anew since partition %d was read: reading it from its beginning",
                self._topic,
                partition,
            )
            return _Place(partition, kept, None)
        return _Place(partition, kept, int(offset))

    def _read_from(self, place: _Place) -> None:
        """A partition that is ours, from there on. `seek` is refused once its offset was found to be gone."""
        with suppress(KafkaException):  # it was lost meanwhile: its callback comes
            self._consumer.incremental_unassign([TopicPartition(self._topic, place.partition)])
            self._consumer.incremental_assign([self._at(place)])
            self._consumer.resume([TopicPartition(self._topic, place.partition)])  # it was held
            self._places[place.partition] = place

    def _at(self, place: _Place) -> TopicPartition:
        at = OFFSET_BEGINNING if place.following is None else place.following
        return TopicPartition(self._topic, place.partition, at)

    def _is_gone(self, place: _Place) -> None:
        """The next message is not there any more: say what is lost, and go on from the earliest."""
        where = TopicPartition(self._topic, place.partition)
        try:
            low, high = self._consumer.get_watermark_offsets(where, timeout=ANSWER_SECONDS)
        except KafkaException:
            self._unplaced.add(place.partition)  # found out again
            return
        following = place.following or 0
        if following < low:
            self.progress.lost += low - following
            log.error(
                "%s of Kafka kept offsets from %d on, and %d to %d were not read yet: %d messages are lost, since its "
                "retention is shorter than the lag; going on from the earliest",
                self._named(place.partition), low, following, low - 1, low - following,
            )  # fmt: skip
        else:
            self.progress.renewed += 1
            log.error(
                "%s of Kafka ends at offset %d and was read up to %d: it was made anew or lost messages; reading it "
                "from its earliest one, of which those that were taken count once",
                self._named(place.partition), high, following,
            )  # fmt: skip
        place.following = low
        self._read_from(place)

    def _ours(self, messages: Iterable[Message]) -> list[tuple[_Place, Message]]:
        """The messages that are to be taken; errors are dealt with."""
        ours = []
        for message in messages:
            error = message.error()
            partition, offset = lies(message)
            place = self._places.get(partition)
            if error is not None:
                self._failed(error, place)
            elif place is not None and offset >= (place.following or 0):
                ours.append((place, message))
        if ours and self.progress.down.pop("kafka", ""):
            log.info("Kafka answers again")
        return ours

    def _failed(self, error: KafkaError, place: _Place | None) -> None:
        if error.code() in _GONE:
            if place is not None:
                self._is_gone(place)
        elif error.fatal():
            raise StreamError(f"Kafka: {self._kafka.words(error)}")
        else:
            self._told(error)

    def _told(self, error: KafkaError) -> None:
        """Something is wrong that librdkafka tries again by itself."""
        if error.code() == KafkaError._TRANSPORT:  # one connection of several, that it makes anew
            return
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            why = f"topic {self._topic} is gone: make it again"
        else:
            why = f"Kafka does not answer as it should ({self._kafka.words(error)})"
        self.progress.down["kafka"] = why
        self._say(f"waiting: {why}")

    # -- what is told --------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Lag, and what Kafka's own tools want to know; now and then."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        with suppress(KafkaException):
            for number, place in self._places.items():
                low, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), cached=True)
                read = max(low, 0) if place.following is None else place.following
                if high >= 0:  # else nothing was heard of it yet
                    self.progress.lag[number] = max(0, high - read)
            self._tell_kafka(asynchronous=True)
        try:
            if now - self._checked_at > TWICE_SECONDS or "kafka" in self.progress.down:
                self._require_alone()
        except KafkaException as error:
            self._told(error.args[0])

    def _tell_kafka(self, *, asynchronous: bool) -> None:
        """Commit, for Kafka's own tools and for others that begin under this group's name; we never read it back."""
        read = [
            TopicPartition(self._topic, place.partition, place.following, metadata=self._identity)
            for place in self._places.values()
            if place.following is not None
        ]
        if read and asynchronous:
            self._consumer.commit(offsets=read)
        elif read:
            self._consumer.commit(offsets=read, asynchronous=False)

    def _require_alone(self) -> None:
        """Two stores under one group's name would get half of the events each, and say nothing.

        Raises:
            StreamError: another store reads under this name.
        """
        self._checked_at = time.monotonic()
        number = len(self._consumer.list_topics(self._topic, timeout=ANSWER_SECONDS).topics[self._topic].partitions)
        every = [TopicPartition(self._topic, partition) for partition in range(number)]
        for committed in self._consumer.committed(every, timeout=ANSWER_SECONDS):
            by = committed.metadata or ""
            if by.startswith(MINE) and by != self._identity:
                raise StreamError(
                    f"another store reads topic {self._topic} as group.id={self._kafka.group}, so that each would get a"
                    " part of the events: give this one a group.id of its own in the file of RECSYS_KAFKA"
                )
        if self.progress.down.pop("kafka", None):
            log.info("Kafka answers again")

    def _say(self, line: str) -> None:
        """A line of the log, once a minute at most."""
        now = time.monotonic()
        if now - self._said.get(line, -REPEAT_SECONDS) >= REPEAT_SECONDS:
            self._said = {said: at for said, at in self._said.items() if now - at < REPEAT_SECONDS} | {line: now}
            log.warning("%s", line)

    # -- names ---------------------------------------------------------------------------------------------------------

    def _named(self, partition: int) -> str:
        return f"{self._topic}/{partition}"

    def _asked_topic_id(self) -> str:
        """What tells this topic from another one of its name, made later; "" where Kafka does not say."""
        try:
            asked = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=ANSWER_SECONDS / 2)
            return str(asked[self._topic].result().topic_id)
        except KafkaException:
            return ""
