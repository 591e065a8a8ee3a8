"""Slates out: what the served log holds, to a topic. Beside the service, never in a request's path.

A slate goes out once it is on the disk, at least once, with its request id: what reads it drops repeats by that. How
far each segment went is kept beside the log; where a segment was written anew meanwhile (sealed, or somebody was
forgotten) it goes on behind the last request that went out.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson
from confluent_kafka import KafkaError, Message

from recsys.lake import replacing, sync
from recsys.serving import segment_files
from recsys.serving.served_log import OF_ROW, SEALED, header_of, pieces, segments
from recsys.stream.kafka import Kafka

AT_ONCE: Final = 1_000  # slates between two notes of how far it is
FLUSH_SECONDS: Final = 30.0
PLACES: Final = "slates_out.json"
OF_SLATE: Final = (
    "request_id", "served_at", "user_id", "shelf", "device", "bundle", "rung", "position", "as_of", "k", "missing",
)  # fmt: skip
OF_ITEM: Final = ("item_id", "slot", "source", "score", "p_click", "watch_seconds")
log = logging.getLogger("recsys.stream")


class SlatesOut:
    """Sends what is new in a served log.

    Args:
        root: folder of the served log. What was served before the first look does not go out
    """

    def __init__(self, kafka: Kafka, root: Path) -> None:
        assert kafka.served is not None
        self._topic, self._root, self._kafka = kafka.served, root, kafka
        self._producer = kafka.producer()
        self._failed: list[KafkaError] = []
        self.sent = 0
        self.down: str | None = None  # why nothing goes out
        root.mkdir(parents=True, exist_ok=True)
        if not self._file.exists():
            self._keep({name_of(path, root): _at_its_end(path) for path in segments(root)})

    @property
    def _file(self) -> Path:
        return self._root / PLACES

    def look(self) -> int:
        """Send what came since the last look; how many slates. What Kafka does not take is sent again next time."""
        places, sent = json.loads(self._file.read_text()), 0
        on_disk = segments(self._root)
        kept = {name: places[name] for name in (name_of(path, self._root) for path in on_disk) if name in places}
        for path in on_disk:
            with suppress(FileNotFoundError):  # sealed or removed meanwhile: next time
                sent += self._segment(path, kept)
        if kept != places:
            self._keep(kept)
        self.sent += sent
        return sent

    def _segment(self, path: Path, places: dict[str, Any]) -> int:
        name = name_of(path, self._root)
        place = places.get(name, {"file": 0, "at": 0, "last": None, "done": False})
        seen = path.stat()
        same = place["file"] == seen.st_ino
        if place["done"] or (same and place["at"] == seen.st_size):
            return 0
        if path.suffix != SEALED:
            sync(path)
        went = 0
        if not same:  # behind the last request that went out; where that was forgotten, all of it again
            numbered = enumerate(answers(path), start=1) if place["last"] else ()
            went = max((n for n, (_, answer) in numbered if answer["request_id"] == place["last"]), default=0)
        ahead = itertools.islice(answers(path, place["at"] if same else 0), went, None)
        sent = 0
        while part := list(itertools.islice(ahead, AT_ONCE)):
            if not self._went_out([answer for _, answer in part if answer["rung"] != "features"]):
                break
            sent += len(part)
            place = {"file": seen.st_ino, "at": part[-1][0], "last": part[-1][1]["request_id"], "done": False}
            places[name] = place
        else:
            places[name] = {**place, "file": seen.st_ino, "done": path.suffix == SEALED}
        return sent

    def _went_out(self, slates: list[dict[str, Any]]) -> bool:
        self._failed.clear()
        for slate in slates:
            items = [dict(zip(OF_ITEM, row, strict=True)) for row in zip(*(slate[n] for n in OF_ITEM), strict=True)]
            value = orjson.dumps({**{name: slate.get(name) for name in OF_SLATE}, "items": items})
            while True:
                try:
                    self._producer.produce(
                        self._topic, value=value, key=slate["user_id"] or None, on_delivery=self._delivered
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
        left = self._producer.flush(FLUSH_SECONDS)
        down = None
        if left or self._failed:
            why = self._kafka.words(self._failed[0]) if self._failed else "no answer"
            down = f"{self._topic} takes no slates ({why})"
            if self.down is None:
                log.warning("waiting: %s; they stay in the served log", down)
            self._producer = self._kafka.producer()  # with nothing left to send
        elif self.down is not None:
            log.info("slates go out again")
        self.down = down
        return down is None

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed.append(error)

    def _keep(self, places: dict[str, Any]) -> None:
        with replacing(self._file) as temporary:
            temporary.write_text(json.dumps(places))


def answers(path: Path, after: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """The answers of a segment as `header_of` has them, each with the place behind it: there the next call goes on.

    Args:
        after: such a place of the same file. A sealed segment has none: it is read from its beginning
    """
    if path.suffix != SEALED:
        with segment_files.opened(path) as file:
            file.seek(max(after, file.tell()))
            for _, payload in segment_files.frames(file):
                yield file.tell(), header_of(payload)
        return
    for piece in pieces(path):
        rows = piece.read().drop_columns(["features"]).to_pylist()
        begins = [at for at, row in enumerate(rows) if row["slot"] == 0 or at == 0]
        for first, end in itertools.pairwise([*begins, len(rows)]):
            yield 0, {**rows[first], **{name: [row[name] for row in rows[first:end]] for name in OF_ROW}}


def name_of(path: Path, root: Path) -> str:
    """A segment's name, whatever it has become."""
    return str(path.relative_to(root).with_suffix(""))


def _at_its_end(path: Path) -> dict[str, Any]:
    at, last = 0, None
    for behind, answer in answers(path):
        at, last = behind, answer["request_id"]
    return {"file": path.stat().st_ino, "at": at, "last": last, "done": path.suffix == SEALED}
