"""What callers and clocks do to an online store: counted, refused with a reason or taken once, and never lost."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recsys.events import DAY_MS, HOUR_MS
from recsys.features import fold
from recsys.store.errors import StoreError, StoreUnavailable
from recsys.store.online import OnlineStore
from recsys.store.redis_journal import RedisJournal
from tests.features.redis_server import RedisServer
from tests.features.streams import item_table, random_log
from tests.features.test_store import NOW, Opener, as_bytes, event, filled, journal, opener  # noqa: F401  fixtures
from tests.features.test_store_failures import assert_true_to_its_log, one_line


def test_a_clock_that_goes_backwards_loses_and_reorders_nothing(opener: Opener) -> None:  # noqa: F811
    store, _ = filled(opener)
    other = opener()
    positions, number = [store.head()], 0
    for jump in (0, 60_000, -2 * HOUR_MS, -3 * DAY_MS, 0, -1, 5 * DAY_MS, -5 * DAY_MS):
        batch = [event(number + i, occurred_at=NOW + jump - 500 * i) for i in range(5)]
        appended = (store if jump % 2 else other).append(batch, NOW + jump)
        assert appended[:3] == (5, 0, [])
        positions.append(appended.position)
        number += 5
    assert all(later - earlier >= 5 for earlier, later in itertools.pairwise(positions))
    assert store.tail(0)["event_id"].to_pylist() == [f"e{i}" for i in range(number)]  # in the order they were told
    for held in (store, other, opener()):
        assert_true_to_its_log(held)


def test_an_unknown_item_is_refused_by_name_until_it_is_known(opener: Opener) -> None:  # noqa: F811
    store, _ = filled(opener)
    batch = [event(1), event(2, item_id="not yet"), event(3)]
    assert store.append(batch, NOW)[:3] == (2, 0, [(1, "unknown item")])
    item = {**item_table(1).to_pylist()[0], "item_id": "not yet"}
    store.put_items(pa.Table.from_pylist([item], schema=item_table(1).schema), NOW)
    assert store.append(batch, NOW)[:3] == (1, 2, [])
    assert_true_to_its_log(store)


@pytest.mark.parametrize("field", ["device", "shelf", "event_id", "impression_id", "user_id"])
def test_an_event_of_ten_megabytes_is_refused_and_its_neighbours_taken(opener: Opener, field: str) -> None:  # noqa: F811
    store, _ = filled(opener)
    large = event(2, occurred_at=NOW) | {field: "x" * (10 << 20)}
    appended = store.append([event(1, occurred_at=NOW), large, event(3, occurred_at=NOW)], NOW)
    assert appended.accepted == 2
    ((index, reason),) = appended.rejected
    assert index == 1 and len(reason) < 100
    assert any(words in reason for words in ("larger than", "longer than", "at most"))
    assert store.tail(0)["event_id"].to_pylist() == ["e1", "e3"]


def test_the_state_of_a_hot_key_does_not_grow_with_its_events(opener: Opener) -> None:  # noqa: F811
    store, _ = filled(opener)

    def heat(begin: int, hours: int) -> int:
        for i in range(begin, begin + hours):
            at = NOW + i * HOUR_MS
            hot = {"user_id": "u1", "item_id": "i1", "occurred_at": at, "kind": "click", "watch_ms": None}
            assert store.append([event(n, event_id=f"h{i}:{n}", **hot) for n in range(400)], at).accepted == 400
        store.read("u1", ["i1"], NOW)
        assert store._hot is not None
        return int(store._hot.state.used[fold.U_CELLS])

    before = heat(0, 10)
    assert heat(10, 20) == before  # 8,000 events later
    assert_true_to_its_log(store)
    assert store.read("u1", ["i1"], NOW + 30 * HOUR_MS).aggregates.max() >= 12_000


@pytest.mark.redis
def test_redis_killed_in_the_middle_of_batches_takes_each_as_a_whole_once(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        store = OnlineStore(RedisJournal(server.url), create=True)
        log, _, table = random_log(1, 300)
        store.bootstrap(log, table, log.head)
        acknowledged, failures = 0, []

        def batch() -> list[dict[str, Any]]:
            return [event(acknowledged * 300 + i, occurred_at=NOW) for i in range(300)]

        for round_ in range(4):
            killer = threading.Timer(0.05 + 0.03 * round_, server.kill)  # in the midst of a batch or between two
            killer.start()
            try:
                while True:
                    store.append(batch(), NOW)
                    acknowledged += 1
            except StoreUnavailable as error:
                failures.append(str(error))
            killer.join()
            server.start()
            ids = store.tail(0)["event_id"].to_pylist()
            assert len(ids) == len(set(ids)) and len(ids) - acknowledged * 300 in (0, 300)
            again = store.append(batch(), NOW)  # the caller's repeat
            assert (again.accepted, again.duplicates) in ((300, 0), (0, 300))
            acknowledged += 1
            assert store.tail(0)["event_id"].to_pylist() == [f"e{i}" for i in range(acknowledged * 300)]
        assert len(failures) == 4 and all("send the batch again" in words for words in failures)
        assert_true_to_its_log(store)


@pytest.mark.redis
def test_a_batch_repeated_after_a_time_out_counts_once(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        patient = OnlineStore(RedisJournal(server.url), create=True)
        log, _, table = random_log(1, 300)
        patient.bootstrap(log, table, log.head)
        store = OnlineStore(RedisJournal(server.url, timeout=0.3))
        batch = [event(i) for i in range(50)]
        for _ in range(2):  # the server hangs: what was sent lies in its socket, and may be done when it wakes
            os.kill(server._process.pid, signal.SIGSTOP)
            with pytest.raises(StoreUnavailable) as error:
                store.append(batch, NOW + 60_000)
            one_line(error, "does not answer", "send the batch again")
            os.kill(server._process.pid, signal.SIGCONT)
        time.sleep(0.2)
        again = store.append(batch, NOW + 61_000)
        assert again.accepted + again.duplicates == 50
        assert store.append(batch, NOW + 62_000)[:2] == (0, 50)
        assert sorted(store.tail(0)["event_id"].to_pylist()) == sorted(f"e{i}" for i in range(50))
        names = ["i0", "i1"]
        assert as_bytes(store.read("u1", names, NOW + 70_000)) == as_bytes(patient.read("u1", names, NOW + 70_000))
        assert_true_to_its_log(store)


def test_repeats_of_a_batch_by_two_writers_at_once_count_once(opener: Opener) -> None:  # noqa: F811
    """Both timed out and send again: together they take each event once."""
    filled(opener)
    stores = [opener() for _ in range(2)]
    batch, appends = [event(i) for i in range(200)], []
    threads = [threading.Thread(target=lambda s=s: appends.append(s.append(batch, NOW + 300_000))) for s in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(appended.accepted for appended in appends) == 200 and sum(a.duplicates for a in appends) == 200
    ids = stores[0].tail(0)["event_id"].to_pylist()
    assert len(ids) == len(set(ids)) == 200
    assert_true_to_its_log(stores[1])


@pytest.mark.redis
def test_an_address_that_cannot_be_used_is_one_line_without_its_password(tmp_path: Path) -> None:
    """It was a traceback, the type of an error, or the word to start what runs."""
    with RedisServer(tmp_path) as server, socket.socket() as web:
        here = server.url.partition("://")[2].removesuffix("/0")
        web.bind(("127.0.0.1", 0))
        web.listen()
        threading.Thread(
            target=lambda: web.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), daemon=True
        ).start()
        for url, words in (
            (f"redis://{here}/99", "DB index is out of range"),
            (f"redis://u:s3cr3t@{here}/0", "invalid username-password pair"),
            (f"redis://{here}/0?socket_timeout=s3cr3t", "socket_timeout"),
            (f"redis://{here}/0?nonsense=s3cr3t", "nonsense"),
            (f"redis://u:s3cr3t@127.0.0.1:{web.getsockname()[1]}/0", "Protocol Error"),
        ):
            with pytest.raises(StoreError) as error:
                RedisJournal(url)
            one_line(error, "RECSYS_STORE", words)
            assert "s3cr3t" not in str(error.value)
