"""From a topic to the store: each event once, whatever ends in between, and nothing passed over in silence."""

# ruff: noqa: F811 - fixtures of the stores' contract suite

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition

from bentos.recommender.dev_stream import Broker
from recsys.privacy.border import Border, Forgotten
from recsys.sources.derived import Rules
from recsys.store.lmdb_journal import LmdbJournal
from recsys.store.online import OnlineStore
from recsys.store.redis_journal import RedisJournal
from recsys.stream.consumer import Stream
from recsys.stream.errors import StreamError
from recsys.stream.kafka import Kafka
from recsys.stream.messages import MOST_BYTES
from tests.features.redis_server import RedisServer
from tests.features.streams import random_log
from tests.features.test_store import NOW, Opener, event, filled, journal, opener  # noqa: F401
from tests.stream.reading import QUICK, Proxy, anew, everything, kafka_of, produce, reading, until


def ids_of(store: OnlineStore, after: int) -> list[str]:
    return store.tail(after)["event_id"].to_pylist()


def small(folder: Path, **given: Any) -> OnlineStore:
    store = OnlineStore(LmdbJournal(folder, create=True, **given), create=True)
    log, _, table = random_log(1, 100)
    store.bootstrap(log, table, log.head)
    return store


def test_what_is_told_counts_once_and_what_is_no_event_is_a_letter_with_its_reason_and_place(
    broker: Broker, opener: Opener
) -> None:
    store, kafka = filled(opener)[0], kafka_of(broker)
    head, good = store.head(), [event(n) for n in range(40)]
    like = {"kind": "like", "user_id": "u1", "item_id": "i1"}
    bad = {
        b"": "empty", b"nope": "no_json", b"[1]": "no_object", b"\0\0\0\0\7{}": "framed",
        b"x" * (MOST_BYTES + 1): "too_large", b'{"kind": "like"}': "schema",
    }  # fmt: skip
    rules: list[tuple[dict[str, Any], str]] = [
        ({**like, "kind": "nap"}, "unknown_kind"), ({**like, "item_id": "strange"}, "unknown_item"),
        ({**like, "consent": False}, "no_consent"), ({**like, "occurred_at": NOW + 10**9}, "too_far_ahead"),
    ]  # fmt: skip
    produce(kafka, [*good, *bad, *(said for said, _ in rules), like, *good])
    with reading(kafka, store, most=30) as stream:
        until(lambda: stream.progress.accepted + stream.progress.duplicates == 81)
        until(lambda: sum(stream.progress.rejected.values()) == 10)
    assert (stream.progress.accepted, stream.progress.duplicates) == (41, 40)
    ids = ids_of(store, head)
    assert len(ids) == 41 and {said["event_id"] for said in good} < set(ids)
    letters = everything(kafka, kafka.rejected)
    headers = [dict(letter.headers()) for letter in letters]
    codes = sorted([*bad.values(), *(code for _, code in rules)])
    assert sorted(told["recsys.code"].decode() for told in headers) == codes
    assert stream.progress.rejected == dict.fromkeys(codes, 1)
    sent = {(m.partition(), m.offset()): m.value() for m in everything(kafka, kafka.topic or "", 2)}
    for letter, told in zip(letters, headers, strict=True):
        came = sent[int(told["recsys.partition"]), int(told["recsys.offset"])]
        hidden = told["recsys.code"] in (b"no_consent", b"too_large")
        assert told["recsys.topic"].decode() == kafka.topic and (letter.value() or b"") == (b"" if hidden else came)
    # the next consumer goes on behind it; the one event without id or instant is not told again either
    kept = store.journal.offsets([f"{kafka.topic}/{partition}" for partition in range(2)])
    assert sum(int(one.split()[0]) for one in kept) == len(sent)
    produce(kafka, [event(999)])
    with reading(anew(kafka), opener()) as again:
        until(lambda: again.progress.accepted)
    assert again.progress.duplicates == 0 and len(ids_of(store, head)) == 42


def test_members_share_partitions_and_lose_and_double_nothing_as_they_come_and_go(
    broker: Broker, tmp_path: Path
) -> None:
    store, kafka = small(tmp_path / "store"), kafka_of(broker, partitions=4)
    head = store.head()
    with reading(kafka, store, most=20) as first:
        produce(kafka, [event(n) for n in range(500)])
        with reading(kafka, OnlineStore(LmdbJournal(tmp_path / "store")), most=20) as second:
            until(lambda: second._places and first._places and len(second._places) + len(first._places) == 4)
            produce(kafka, [event(n) for n in range(500, 1000)])
            until(lambda: first.progress.accepted + second.progress.accepted == 1000)
            assert second.progress.accepted
        produce(kafka, [event(n) for n in range(1000, 1100)])
        until(lambda: first.progress.accepted + second.progress.accepted == 1100)
    ids = ids_of(store, head)
    assert len(ids) == len(set(ids)) == 1100 and first.progress.duplicates == second.progress.duplicates == 0


def test_a_second_group_over_one_store_takes_nothing_twice(broker: Broker, tmp_path: Path) -> None:
    """Of two that read one partition one wins each batch; what has no id of its own counts once as well."""
    store, kafka = small(tmp_path / "store"), kafka_of(broker, partitions=1)
    other = Kafka({**kafka.properties, "group.id": "another"}, kafka.topic, kafka.rejected, None)
    head, like = store.head(), {"kind": "like", "user_id": "u1", "item_id": "i1"}
    with (
        reading(kafka, store, most=5) as one,
        reading(other, OnlineStore(LmdbJournal(tmp_path / "store")), most=5) as two,
    ):
        until(lambda: one._places and two._places)
        produce(kafka, [like] * 300)
        until(lambda: one.progress.accepted + two.progress.accepted == 300)
    assert len(set(ids_of(store, head))) == 300 and one.progress.moved + two.progress.moved > 0


@pytest.mark.redis
def test_a_store_that_is_gone_is_waited_for_and_then_has_everything(broker: Broker, tmp_path: Path) -> None:
    kafka = kafka_of(broker)
    with RedisServer(tmp_path) as server:
        store = OnlineStore(RedisJournal(server.url), create=True)
        log, _, table = random_log(1, 100)
        store.bootstrap(log, table, log.head)
        head = store.head()
        with reading(kafka, store, most=20) as stream:
            produce(kafka, [event(n) for n in range(100)])
            until(lambda: stream.progress.accepted)
            server.kill()
            produce(kafka, [event(n) for n in range(100, 300)])
            until(lambda: "store" in stream.progress.down)
            assert "does not answer" in stream.progress.down["store"]
            server.start()
            # a batch of which Redis could not say that it took it is not counted
            until(lambda: not stream.progress.down and len(ids_of(store, head)) == 300)
        assert len(set(ids_of(store, head))) == 300


def test_a_full_disk_is_waited_for_and_nothing_is_passed_over(broker: Broker, tmp_path: Path) -> None:
    store, kafka = small(tmp_path / "store", map_bytes=1 << 20), kafka_of(broker, partitions=1)
    head = store.head()
    produce(kafka, [event(n) for n in range(4000)])
    with reading(kafka, store, most=500) as stream:
        until(lambda: "store" in stream.progress.down)
        assert "is full" in stream.progress.down["store"]
    taken = stream.progress.accepted
    store.close()
    assert 0 < taken < 4000
    roomy = OnlineStore(LmdbJournal(tmp_path / "store"))
    with reading(anew(kafka), roomy) as again:
        until(lambda: again.progress.accepted == 4000 - taken)
    assert len(set(ids_of(roomy, head))) == 4000


def test_nothing_is_passed_over_where_kafka_answers_later_than_the_store_from_where_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked for the end of a partition meanwhile, and that answer won."""
    store = small(tmp_path / "store")
    asked = store.journal.offsets

    def slowly(partitions: Sequence[str]) -> list[bytes]:
        proxy.passes.clear()
        time.sleep(0.7)  # librdkafka asks once more after .5 s
        threading.Timer(0.3, proxy.passes.set).start()
        return asked(partitions)

    with Proxy() as proxy, proxy.broker() as broker:
        kafka = kafka_of(broker, **{"fetch.wait.max.ms": "3000"})  # the first partition has nothing and is asked first
        produce(kafka, [event(n) for n in range(10)])
        with reading(kafka, store) as stream:
            until(lambda: stream.progress.accepted == 10)
        produce(kafka, [event(10)])
        monkeypatch.setattr(store.journal, "offsets", slowly)
        with reading(anew(kafka), store) as stream:
            until(lambda: stream.progress.accepted)


def test_kafka_gone_in_between_is_told_and_then_read_on(tmp_path: Path) -> None:
    store = small(tmp_path / "store")
    with Proxy() as proxy, proxy.broker() as broker:
        kafka = kafka_of(broker)
        with reading(kafka, store) as stream:
            produce(kafka, [event(n) for n in range(50)])
            until(lambda: stream.progress.accepted == 50)
            proxy.cut()
            until(lambda: "kafka" in stream.progress.down)
            proxy.mend()
            produce(kafka, [event(n) for n in range(50, 90)])
            until(lambda: stream.progress.accepted == 90 and not stream.progress.down)
        proxy.cut()
        with pytest.raises(StreamError, match=r"Kafka at 127\.0\.0\.1:\d+ does not answer"):
            kafka.look()


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(broker: Broker, tmp_path: Path) -> None:
    store, kafka = small(tmp_path / "store"), kafka_of(broker, partitions=1)
    produce(kafka, [event(n) for n in range(10)])
    with reading(kafka, store) as stream:
        until(lambda: stream.progress.accepted == 10)
    for deleted in broker.admin.delete_topics([kafka.topic or ""]).values():
        deleted.result()
    broker.topics(**{kafka.topic or "": 1})
    produce(kafka, [event(n) for n in range(5, 20)])  # an old offset of 10 would leave 5 of them out
    with reading(anew(kafka), store) as stream:
        until(lambda: stream.progress.accepted + stream.progress.duplicates == 15)
    assert (stream.progress.accepted, stream.progress.duplicates, stream.progress.renewed) == (10, 5, 1)


def test_what_retention_took_is_counted_and_a_group_of_two_stores_is_refused(tmp_path: Path) -> None:
    """On librdkafka's own broker for tests, whose partitions keep 5 MB: the one in the wheel keeps everything."""
    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "none", "log_level": 0})
    (node,) = cluster.list_topics(timeout=10).brokers.values()
    kafka = Kafka(
        {"bootstrap.servers": f"{node.host}:{node.port}", "group.id": "g", **QUICK}, "old", "old.rejected", None
    )
    produce(kafka, [b"{}"], "old.rejected")
    produce(kafka, [event(n) for n in range(10)])
    store = small(tmp_path / "store")
    head = store.head()
    with reading(kafka, store) as stream:
        until(lambda: stream.progress.accepted == 10)
    store.close()
    for _ in range(7000):
        cluster.produce("old", b"x" * 1000, partition=0)
        cluster.poll(0)
    assert cluster.flush(30) == 0
    store = OnlineStore(LmdbJournal(tmp_path / "store"))
    with reading(kafka, store, most=50) as stream:
        until(lambda: stream.progress.lost)
        until(lambda: stream.progress.rejected["no_json"] > 50)
    low, high = stream._kafka.consumer().get_watermark_offsets(TopicPartition("old", 0), timeout=10)
    assert stream.progress.lost > 1000 and low > 1000 and high >= 7000
    assert len(ids_of(store, head)) == 10
    with pytest.raises(StreamError, match=r"group\.id of its own"):
        Stream(kafka, small(tmp_path / "second"), None, Rules).run(threading.Event())
    del cluster


def test_with_pseudonyms_or_somebody_forgotten_no_letter_holds_a_text(broker: Broker, tmp_path: Path) -> None:
    store, kafka = small(tmp_path / "store"), kafka_of(broker, partitions=1)
    border = Border(Forgotten(tmp_path), b"the key of the border")
    border.forgotten.note({"who": [border.forgotten.digest(name) for name in border.names("gone-for-good")], "at": 1})
    like = {"kind": "like", "user_id": "gone-for-good", "item_id": "i1"}
    produce(kafka, [like, {**like, "user_id": "somebody-else"}, b"somebody-else, in words"])
    head = store.head()
    with reading(kafka, store, border=border) as stream:
        until(lambda: stream.progress.batches)
    assert stream.progress.rejected == {"forgotten": 1, "no_json": 1}
    assert [letter.value() for letter in everything(kafka, kafka.rejected)] == [None, None]
    (kept,) = store.tail(head).to_pylist()
    assert kept["user_id"] == border.user("somebody-else")
