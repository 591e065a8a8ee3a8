"""Slates out: each that is on the disk, at least once with its request id, whatever became of its segment."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import orjson

from bentos.recommender.dev_stream import Broker
from recsys.serving import sealing
from recsys.serving.served_log import Served, ServedLog, forget, segments
from recsys.stream.kafka import Kafka
from recsys.stream.slates import SlatesOut
from tests.stream.reading import Proxy, everything, kafka_of, until


def served(request_id: str, user_id: str = "u", rung: str = "full") -> Served:
    names = ("a", "b")
    return Served(
        request_id=request_id, served_at=time.time_ns() // 1_000_000, user_id=user_id, shelf="feed", log_shelf="feed",
        device=None, bundle="b1", rung=rung, position=7, as_of=8, fingerprint="f", item_id=names, slot=range(2),
        source=names, score=[0.5, 0.25], p_click=[0.1, None], watch_seconds=[None, 2.0], features=None, k=2,
        missing=["two_tower"],
    )  # fmt: skip


def told(kafka: Kafka) -> list[dict[str, Any]]:
    return [orjson.loads(message.value() or b"") for message in everything(kafka, kafka.topic or "")]


def ids(kafka: Kafka) -> list[str]:
    return [slate["request_id"] for slate in told(kafka)]


def of(broker: Broker) -> Kafka:
    """Slates go to a topic of one partition, so that they have one order."""
    kafka = kafka_of(broker, partitions=1)
    return dataclasses.replace(kafka, served=kafka.topic)


def test_what_is_served_goes_out_once_also_from_segments_that_were_sealed_or_written_anew(
    broker: Broker, tmp_path: Path
) -> None:
    kafka, log = of(broker), ServedLog(tmp_path)
    log.append(served("before it began"))
    out = SlatesOut(kafka, tmp_path)
    assert out.look() == 0
    for number in range(3):
        log.append(served(f"r{number}", "gone" if number == 1 else "u"))
    log.append(served("features alone", rung="features"))
    assert out.look() == 4 and out.look() == 0
    first = told(kafka)[0]
    assert first["items"][1] == {
        "item_id": "b", "slot": 1, "source": "b", "score": 0.25, "p_click": None, "watch_seconds": 2.0,
    }  # fmt: skip
    assert (first["request_id"], first["user_id"], first["k"], first["missing"]) == ("r0", "u", 2, ["two_tower"])
    assert "features" not in first and ids(kafka) == ["r0", "r1", "r2"]
    log.append(served("r3"))
    assert forget(tmp_path, ["gone"]) == (1, 2)
    out = SlatesOut(kafka, tmp_path)  # begun again
    assert out.look() == 1 and ids(kafka)[3:] == ["r3"]
    log.append(served("r4"))
    log.close()
    for path in segments(tmp_path):
        sealing.seal(path)
    assert out.look() == 1 and SlatesOut(kafka, tmp_path).look() == 0
    assert ids(kafka) == ["r0", "r1", "r2", "r3", "r4"]


def test_slates_wait_in_the_log_while_kafka_is_gone(tmp_path: Path) -> None:
    with Proxy() as proxy, proxy.broker() as broker:
        kafka = of(broker)
        kafka = dataclasses.replace(kafka, properties={**kafka.properties, "message.timeout.ms": "3000"})
        log, out = ServedLog(tmp_path), SlatesOut(kafka, tmp_path)
        log.append(served("r0"))
        until(lambda: out.look() == 1)
        assert out.down is None
        proxy.cut()
        log.append(served("r1"))
        assert out.look() == 0 and "takes no slates" in (out.down or "")
        proxy.mend()
        until(lambda: out.look() == 1)
        assert out.down is None and set(ids(kafka)) == {"r0", "r1"}
        log.close()
