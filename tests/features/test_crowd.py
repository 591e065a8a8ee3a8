"""Many processes and threads over one store, while users are forgotten and processes are killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.lake import Lake
from recsys.privacy.border import Border, Forgotten
from recsys.serving.pipeline import Recommender
from recsys.serving.schema import ItemsRequest
from recsys.store import lmdb_journal, redis_journal
from recsys.store.online import OnlineStore
from tests.features.crowd import FORKED, Crowd, disorder, longest_wait, opened
from tests.features.nights import night
from tests.features.streams import item_table, random_log
from tests.features.test_store import NOW, event

GONE = [f"somebody-who-goes-{n}" for n in range(200)]
WORDS = 40  # of each worker about one item
ENGINES = ["lmdb", pytest.param("redis", marks=pytest.mark.redis)]  # a cluster's histories: test_store_cluster.py


@pytest.fixture
def lived(place: str) -> str:
    """A store with an archive, and clicks of those who will be forgotten."""
    store = OnlineStore(opened(place, create=True), create=True)
    log, _, table = random_log(1, 300)
    store.bootstrap(log, table, log.head)
    clicks = [event(n, user_id=user, kind="click", watch_ms=None, occurred_at=NOW) for n, user in enumerate(GONE)]
    store.append(clicks, NOW)
    store.close()
    return place


def test_users_are_forgotten_beside_processes_that_read_and_write_and_no_call_hangs(lived: str, tmp_path: Path) -> None:
    border, store = Border(Forgotten(tmp_path / "home")), OnlineStore(opened(lived))
    with Crowd(lived, tmp_path, processes=2, threads=4) as crowd:
        crowd.wait(100, 180)
        other, ended = OnlineStore(opened(lived)), threading.Event()
        folding = threading.Thread(target=lambda: [other.checkpoint(0) for _ in iter(ended.is_set, True)], daemon=True)
        folding.start()  # without a pause, each quicker than a forgetting, which waits for one of them at most
        gone = iter(GONE)
        began = time.monotonic()
        while time.monotonic() - began < 8:
            assert store.forget(next(gone), border.nobodys_json) == 1
            crowd.check_alive()
            time.sleep(0.05)
        ended.set()
        folding.join(60)
        assert not folding.is_alive()
        other.close()
        before = len(crowd.calls())
        crowd.wait(before + 100, 180)  # they all still live
    calls = crowd.calls()
    left = {name for name in GONE if store.read(name, ["i1"], NOW).history_kinds.any()}
    assert left == set(gone)
    assert longest_wait(calls) < 8  # of a machine that may do much else; .3 s on an idle one
    assert disorder(calls, store) == []
    store.close()


def nights(place: str, home: Path) -> None:
    """A process that takes all into the lake and cuts the journal, again and again, until it is killed."""
    lmdb_journal.CUT_AT_ONCE = redis_journal.CUT_AT_ONCE = 7  # type: ignore[misc]
    store = OnlineStore(opened(place))
    while True:
        night(store, Lake(home), item_table(5), days=-1)
        time.sleep(0.3)


@pytest.mark.parametrize("place", ENGINES, indirect=True)
def test_histories_of_processes_that_are_killed_are_linearizable(lived: str, tmp_path: Path) -> None:
    """Beside checkpoints and cuts of the journal, which are killed too."""
    store, rng, lake = OnlineStore(opened(lived)), np.random.default_rng(5), Lake(tmp_path / "home")
    cuts = [0]
    with Crowd(lived, tmp_path, processes=2, threads=4) as crowd:
        for kills in range(4):
            if kills % 2 == 0:
                cutting = FORKED.Process(target=nights, args=(lived, lake.home), daemon=True)
                cutting.start()
            crowd.wait(200 * (kills + 1), 180)
            time.sleep(float(rng.uniform(0, 0.3)))
            crowd.kill_one(kills)
            store.checkpoint(0)
            if kills % 2:
                while store.journal.cut_at() <= cuts[-1]:
                    crowd.check_alive()
                    time.sleep(float(rng.uniform(0, 0.1)))
                cutting.kill()
                cutting.join()
                cuts.append(store.journal.cut_at())
        crowd.wait(1000, 180)
    calls = crowd.calls()
    assert len(calls) > 1000 and disorder(calls, store, lake) == [] and len(set(cuts)) == 3
    store.checkpoint(0)  # LMDB shows what a killed process committed last only once somebody else has written
    assert night(store, lake, item_table(5), days=-1).left > 0 and store.journal.size()[:2] == (0, 0)
    assert disorder(calls, store, lake) == []
    store.close()


@pytest.mark.parametrize("place", ENGINES, indirect=True)
def test_threads_of_one_process_go_on_while_one_of_them_forgets(lived: str, tmp_path: Path) -> None:
    """Stores of one process share LMDB's map: the last that lets go of the old one closes it."""
    border = Border(Forgotten(tmp_path / "home"))
    stores = [OnlineStore(opened(lived)) for _ in range(2)]
    ended, failed, sent = threading.Event(), [], []

    def live(store: OnlineStore, number: int) -> None:
        try:
            while not ended.is_set():
                name = f"t{number}-{len(sent)}-{time.monotonic_ns()}"
                store.append([event(1, event_id=name, occurred_at=NOW)], NOW)
                sent.append(name)
                store.read("u1", ["i1"], NOW)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=live, args=(stores[n % 2], n), daemon=True) for n in range(6)]
    for thread in threads:
        thread.start()
    for user in GONE[:15]:
        stores[0].forget(user, border.nobodys_json)
    ended.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a thread hangs"
    assert not failed and set(sent) <= set(stores[1].tail(0)["event_id"].to_pylist())
    for store in stores:
        store.close()


def tell(place: str, name: str) -> None:
    """A worker whose caller says one field of an item, word by word."""
    nothing: Any = None  # no bundle takes part in it
    store = OnlineStore(opened(place))
    recommender = Recommender(store, nothing, None)
    for number in range(WORDS):
        said = {"title": str(number), "category": str(number), "duration_ms": number, "tags": [str(number)]}
        word = {"is_available": False} if name == "tags" and number == WORDS // 2 else {name: said[name]}
        recommender.put_items(ItemsRequest.model_validate({"items": [{"item_id": "i1", **word}]}))
    store.close()


def tell_at_once(place: str, names: Sequence[str], begin: Any) -> None:
    """Some of them in one process."""
    begin.wait(60)
    with ThreadPoolExecutor(len(names)) as workers:
        list(workers.map(tell, [place] * len(names), names))


def test_words_of_many_workers_about_one_item_all_stand(lived: str) -> None:
    """Each says another field of it, in the same milliseconds: none takes back what another one said."""
    begin = FORKED.Barrier(2)
    processes = [
        FORKED.Process(target=tell_at_once, args=(lived, names, begin))
        for names in (("title", "tags"), ("category", "duration_ms"))
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    store = OnlineStore(opened(lived))
    last = str(WORDS - 1)
    told = {"title": last, "category": last, "duration_ms": WORDS - 1, "tags": [last], "is_available": False}
    assert {name: store.known_items(["i1"])["i1"][name] for name in told} == told
    store.close()
