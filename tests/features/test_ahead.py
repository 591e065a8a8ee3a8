"""A process makes the next snapshot ready beside its requests, and its first read behind it loads nothing."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.store import lmdb_journal, redis_states
from recsys.store.errors import StoreCorrupt
from recsys.store.lmdb_journal import LmdbJournal
from recsys.store.online import OnlineStore
from tests.features.streams import random_log
from tests.features.test_store import NOW, Opener, as_bytes, event, filled, journal, opener  # noqa: F401

READS = [(user, [f"i{n}" for n in range(5)], NOW + 20_000) for user in ("u0", "u1", "u2")]


def counted(store: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what a store asks its journal for from now on, beside the log."""
    asked: list[str] = []
    for name in ("load", "owned"):
        real = getattr(store.journal, name, None)
        if real is not None:
            monkeypatch.setattr(
                store.journal, name, lambda *given, real=real, name=name: (asked.append(name), real(*given))[1]
            )
    return asked


def test_the_first_read_behind_a_bootstrap_loads_nothing_and_has_the_same_bytes(
    opener: Opener,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (lmdb_journal, redis_states):
        monkeypatch.setattr(module, "AHEAD_SECONDS", 0.0)  # what happens meanwhile is said below
        monkeypatch.setattr(module, "WATCHED_SECONDS", 600)
    store, log = filled(opener)
    looking, other = opener(), opener()
    for held in (looking, other):
        for read in READS:
            held.read(*read)
    looking.late_items()
    real, announced = store.journal._announce, []

    def meanwhile(*given: Any) -> None:
        real(*given)
        announced.append(looking.append([event(20 + len(announced))], NOW + 10_000).accepted)
        looking.late_items()
        if len(announced) == 1:
            assert other.checkpoint(0)  # what was announced is made anew
            looking.read(*READS[0])

    monkeypatch.setattr(store.journal, "_announce", meanwhile)
    store.bootstrap(log, random_log(1, 500)[2], log.head)
    assert announced == [1, 1]
    asked = counted(looking, monkeypatch), counted(other, monkeypatch)
    assert looking.append([event(30)], NOW + 15_000).accepted == 1
    found = [[as_bytes(held.read(*read)) for read in READS] for held in (looking, other, opener())]
    assert found[0] == found[1] == found[2]
    assert not asked[0] and "load" in asked[1]

    store.forget("u1", lambda raw: raw)  # nobody is given time to go on with them
    assert not looking.read(*READS[1]).history_kinds.size and not other.read(*READS[1]).history_kinds.size


def test_a_replay_ends_beside_checkpoints_without_a_pause(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    other, _ = filled(opener)
    held = opener()
    real, checks = held.journal.check, 0

    def check(*given: Any) -> None:
        nonlocal checks
        checks += 1
        assert checks < 3, "each snapshot is gone before its log is checked"
        other.append([event(20 + checks)], NOW)
        assert other.checkpoint(0)
        real(*given)

    monkeypatch.setattr(held.journal, "check", check)
    held.past()
    assert checks == 1


def test_what_a_worker_maps_stays_as_it_is_there(tmp_path: Path) -> None:
    store = OnlineStore(LmdbJournal(tmp_path / "store", create=True), create=True)
    log, _, table = random_log(1, 300)
    store.bootstrap(log, table, log.head)
    for batch in range(8):
        state = store._catch_up().state
        mapped, run = state.table, state.cells[: state.used[1]]
        before = mapped.copy(), run.copy()
        store.append([event(n, occurred_at=NOW, user_id=f"u{n}") for n in range(100 * batch, 100 * batch + 100)], NOW)
        state = store._catch_up().state
        assert state.table is mapped and state.cells.base is run.base and state.used[3] > 100
        assert np.array_equal(mapped, before[0]) and np.array_equal(run, before[1])
        store.checkpoint(0)
        assert 2 * store._catch_up().state.used[0] <= len(store._catch_up().state.table)


def test_who_reads_what_is_gone_waits_for_the_thread_that_loads_what_came(
    opener: Opener,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, log = filled(opener)
    other, table = opener(), random_log(1, 500)[2]
    held, load, loading = store._catch_up(), store.journal.load, threading.Event()

    def slow(*given: Any) -> Any:
        loading.set()
        time.sleep(0.3)  # the reader asks meanwhile whether what it read from is the journal's own
        return load(*given)

    def gone() -> None:
        other.bootstrap(log, table, log.head)
        monkeypatch.setattr(store.journal, "load", slow)
        threading.Thread(target=store.read, args=READS[0]).start()
        assert loading.wait(30)
        raise StoreCorrupt("it left with the snapshot")

    monkeypatch.setattr(held, "lacking", lambda *given: gone)
    assert as_bytes(store.read(*READS[1])) == as_bytes(other.read(*READS[1]))
    assert store._hot is not held
