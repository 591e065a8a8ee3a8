"""What breaks, and what is left of it: no event is lost or doubled, and one line says what to do."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.events import key64
from recsys.features import sweep
from recsys.features.log import Rows
from recsys.settings import Settings
from recsys.store import online as store_module
from recsys.store.checkpoints import Checkpoints
from recsys.store.errors import StoreCorrupt, StoreFull, StoreMissing, StoreUnavailable
from recsys.store.lmdb_journal import LmdbJournal
from recsys.store.lmdb_map import MAP_BYTES, Map
from recsys.store.online import OnlineStore
from recsys.store.redis_journal import RedisJournal
from recsys.store.redo import SLOT
from tests.features.crowd import FORKED, opened
from tests.features.redis_server import RedisServer
from tests.features.streams import NOW, random_log
from tests.features.test_store import as_bytes, event


def filled(folder: Path, **options: Any) -> OnlineStore:
    store = OnlineStore(LmdbJournal(folder, create=True, **options), create=True)
    log, _, table = random_log(1, 300)
    store.bootstrap(log, table, log.head)
    return store


def assert_true_to_its_log(store: OnlineStore) -> None:
    whole, items = store.export()
    names = ["i0", "i1", "i2", "i3", "i4"]
    for user in ("u0", "u1", "u2"):
        read = store.read(user, names, NOW + 90_000)
        rows = np.repeat(key64([user]), 5), key64(names), np.full(5, read.position), np.full(5, read.as_of)
        assert read.aggregates.tobytes() == sweep.point_in_time(whole, items, Rows(*rows)).tobytes()


def one_line(error: pytest.ExceptionInfo[Exception], *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text and all(word in text for word in words), text


@pytest.mark.parametrize("damage", ["truncated", "one bit", "gone"])
def test_a_damaged_snapshot_is_refused_with_what_to_do(tmp_path: Path, damage: str) -> None:
    filled(tmp_path).close()
    file = next(tmp_path.glob("snapshot-*/cells.npy"))
    if damage == "truncated":
        os.truncate(file, file.stat().st_size // 2)
    elif damage == "one bit":
        data = bytearray(file.read_bytes())
        data[2000] ^= 1
        file.write_bytes(data)
    else:
        file.unlink()
    with pytest.raises(StoreCorrupt) as error:
        OnlineStore(LmdbJournal(tmp_path))
    one_line(error, "cells.npy", "materialize online_state")


def test_a_damaged_log_of_a_snapshot_is_never_replayed_nor_carried_on(tmp_path: Path) -> None:
    store = filled(tmp_path)
    store.append([event(i) for i in range(20)], NOW + 30_000)
    file = next(tmp_path.glob("snapshot-*/log.npy"))
    data = bytearray(file.read_bytes())
    data[2000] ^= 1
    file.write_bytes(data)
    again = OnlineStore(LmdbJournal(tmp_path))  # opens whatever the log's length: nothing reads the log
    for call in (again.export, lambda: again.checkpoint(0), lambda: again.forget("u1", lambda raw: raw)):
        with pytest.raises(StoreCorrupt) as error:
            call()
        one_line(error, "log.npy", "materialize online_state")


def test_a_snapshot_of_another_version_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = LmdbJournal(tmp_path, create=True)
    cells = np.zeros(10, np.int64)
    journal.save(store_module.FINGERPRINT, "old", {"table": cells, "cells": cells, "used": cells[:3]}, None)
    with pytest.raises(StoreCorrupt) as error:
        OnlineStore(journal)
    one_line(error, "another version", "materialize online_state")
    OnlineStore(journal, create=True).close()


def test_a_damaged_map_is_refused_with_what_to_do(tmp_path: Path) -> None:
    filled(tmp_path).close()
    (tmp_path / "current" / "data.mdb").write_bytes(b"no map" * 4000)
    with pytest.raises(StoreCorrupt) as error:
        LmdbJournal(tmp_path)
    one_line(error, "materialize online_state")


def test_after_damage_a_bootstrap_repairs_the_state_and_keeps_the_live_events(tmp_path: Path) -> None:
    store = filled(tmp_path)
    store.append([event(i) for i in range(20)], NOW + 30_000)
    before = store.read("u1", ["i1"], NOW + 40_000)
    store.close()
    next(tmp_path.glob("snapshot-*/cells.npy")).unlink()
    log, _, table = random_log(1, 300)
    again = OnlineStore(LmdbJournal(tmp_path), create=True)
    again.bootstrap(log, table, log.head)
    assert as_bytes(again.read("u1", ["i1"], NOW + 40_000)) == as_bytes(before)
    again.close()


def test_a_store_of_other_features_is_refused_and_a_cut_over_loses_no_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = filled(tmp_path)
    monkeypatch.setattr(store_module, "FINGERPRINT", "the next one")
    with pytest.raises(StoreMissing) as error:
        OnlineStore(LmdbJournal(tmp_path))
    one_line(error, "the next one", "materialize online_state")
    # The new state is built beside the old one, while events keep arriving.
    log, _, table = random_log(1, 300)
    new = OnlineStore(LmdbJournal(tmp_path), create=True)
    old.append([event(1)], NOW + 30_000)
    new.bootstrap(log, table, log.head)
    new.append([event(2)], NOW + 31_000)
    assert_true_to_its_log(new)
    old.append([event(3)], NOW + 32_000)
    assert len(new.export()[0].position) == len(old.export()[0].position) == 303
    assert as_bytes(new.read("u1", ["i1"], NOW + 90_000)) == as_bytes(old.read("u1", ["i1"], NOW + 90_000))
    new.close()
    old.close()


@pytest.mark.parametrize("appended", [1, 2])
def test_a_power_cut_takes_no_event_that_was_acknowledged(tmp_path: Path, appended: int) -> None:
    store, map_file = filled(tmp_path), tmp_path / "current" / "data.mdb"
    for number in range(appended):
        flushed = map_file.read_bytes()  # the root of the last commit alone may not have reached the disk
        store.append([event(number), event(number + 10)], NOW + number)
    head = store.head()
    store.close()
    map_file.write_bytes(flushed)
    again = OnlineStore(LmdbJournal(tmp_path))
    assert again.head() == head
    assert again.tail(0).num_rows == 2 * appended
    assert again.append([event(appended - 1), event(20)], NOW + 5).duplicates == 1
    assert_true_to_its_log(again)
    again.close()


def test_a_commit_that_failed_does_not_come_back_with_the_next_opening(tmp_path: Path) -> None:
    store = filled(tmp_path)
    head = store.head()
    opened = Map.held(tmp_path / "current", MAP_BYTES)
    with pytest.raises(OSError, match="no space"), opened.begin(write=True) as transaction:  # noqa: PT012
        later = (head + 1).to_bytes(8, "big")
        opened.redo.begin(transaction.id(), {b"events": [(later, b"an event")], b"meta": [(b"head", later)]})
        raise OSError("no space")
    opened.release()
    store.close()
    again = OnlineStore(LmdbJournal(tmp_path))
    assert again.head() == head
    again.close()


@pytest.mark.parametrize("torn", [0, 20, 60, 300])
def test_a_batch_torn_by_a_power_cut_is_not_taken(tmp_path: Path, torn: int) -> None:
    store, map_file = filled(tmp_path), tmp_path / "current" / "data.mdb"
    store.append([event(1)], NOW)
    flushed, head = map_file.read_bytes(), store.head()
    store.append([event(2)], NOW + 1)
    store.close()
    map_file.write_bytes(flushed)
    redo = bytearray((tmp_path / "current" / "redo").read_bytes().ljust(2 * SLOT))
    for slot in (0, SLOT):
        redo[slot + torn] ^= 1
    (tmp_path / "current" / "redo").write_bytes(redo)
    again = OnlineStore(LmdbJournal(tmp_path))
    assert again.head() == head
    assert again.append([event(2)], NOW + 1).accepted == 1
    again.close()


def test_a_full_map_takes_nothing_of_the_batch_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    store = filled(tmp_path, map_bytes=1 << 20)
    taken = 0
    with pytest.raises(StoreFull) as error:  # noqa: PT012
        while True:
            store.append([event(i, occurred_at=NOW) for i in range(taken, taken + 200)], NOW)
            taken += 200
    one_line(error, "full", "nothing of this batch was taken")
    assert taken > 0 and store.tail(0).num_rows == taken
    assert_true_to_its_log(store)
    store.close()
    larger = OnlineStore(LmdbJournal(tmp_path))
    appended = larger.append([event(i, occurred_at=NOW) for i in range(taken - 100, taken + 200)], NOW)
    assert appended[:2] == (200, 100)
    assert_true_to_its_log(larger)
    larger.close()


def _append_until_killed(place: str, acknowledged: Any) -> None:
    store = OnlineStore(opened(place))
    for i in range(0, 1_000_000, 7):
        store.append([event(j, occurred_at=NOW) for j in range(i, i + 7)], NOW)
        acknowledged.value = i + 7


def test_kill_9_loses_and_doubles_nothing_that_was_acknowledged(place: str) -> None:
    store = OnlineStore(opened(place, create=True), create=True)
    log, _, table = random_log(1, 300)
    store.bootstrap(log, table, log.head)
    rng = np.random.default_rng(3)
    sent = 0
    for _ in range(3):
        acknowledged = FORKED.Value("q", 0)
        writer = FORKED.Process(target=_append_until_killed, args=(place, acknowledged))
        writer.start()
        for _ in range(2000):
            if acknowledged.value > sent + 50:
                break
            time.sleep(0.01)
        time.sleep(float(rng.uniform(0, 0.1)))
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        sent = max(sent, acknowledged.value)
        ids = store.tail(0)["event_id"].to_pylist()
        assert len(ids) == len(set(ids))
        assert set(ids) >= {f"e{i}" for i in range(sent)}
        assert len(ids) % 7 == 0  # a batch happened as a whole, or not at all
        assert_true_to_its_log(store)
    store.close()


@pytest.mark.redis
def test_redis_that_goes_away_is_named_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        store = OnlineStore(RedisJournal(server.url), create=True)
        log, _, table = random_log(1, 300)
        store.bootstrap(log, table, log.head)
        store.append([event(i) for i in range(10)], NOW + 30_000)
        server.kill()
        for call in (lambda: store.append([event(11)], NOW + 31_000), lambda: store.read("u1", ["i1"], NOW)):
            with pytest.raises(StoreUnavailable) as error:
                call()
            one_line(error, server.url, "start it")
        server.start()
        appended = store.append([event(i) for i in range(12)], NOW + 32_000)
        assert appended[:2] == (2, 10)
        assert_true_to_its_log(store)


@pytest.mark.redis
def test_redis_without_memory_takes_nothing_of_the_batch(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        store = OnlineStore(RedisJournal(server.url), create=True)
        log, _, table = random_log(1, 300)
        store.bootstrap(log, table, log.head)
        server.client().config_set("maxmemory", "1mb")
        with pytest.raises(StoreFull) as error:
            store.append([event(i) for i in range(10)], NOW + 30_000)
        one_line(error, "full", "nothing of this batch was taken")
        server.client().config_set("maxmemory", "0")
        assert store.append([event(i) for i in range(10)], NOW + 30_000)[:2] == (10, 0)
        assert_true_to_its_log(store)


def test_a_checkpoint_is_taken_by_a_process_beside_once_it_is_due(tmp_path: Path) -> None:
    store = filled(tmp_path / "store")
    store.append([event(i) for i in range(30)], NOW + 30_000)
    before, held = store.read("u1", ["i1"], NOW + 40_000), store.since_snapshot
    for records, left in ((30, held), (20, 0)):
        due = Checkpoints(store, Settings(home=tmp_path), records=records)
        due.look()
        due.close()
        assert as_bytes(store.read("u1", ["i1"], NOW + 40_000)) == as_bytes(before)
        assert store.since_snapshot == left
    store.close()
