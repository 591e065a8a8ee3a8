"""Processes that read and append at once over one store, what they saw, and whether it fits one order of things."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from recsys.events import ITEM_SCHEMA, key64
from recsys.features.catalog import AGGREGATES
from recsys.lake import Lake
from recsys.store.journal import Journal
from recsys.store.lmdb_journal import LmdbJournal
from recsys.store.online import OnlineStore
from tests.features.nights import taken
from tests.features.streams import NOW

CLICKS = AGGREGATES.index("user_clicks_count_all")
USERS = [f"u{n}" for n in range(6)]
TOLD = "i3"  # of which words are said

# Processes of a test begin as copies of one that has imported what they need: to import it costs each 2 to 4 s of CPU.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tests.features.test_crowd", "tests.features.test_store_failures"])


def opened(place: str, create: bool = False) -> Journal:
    """The journal of a folder, or of an address of Redis or a cluster."""
    if place.startswith("redis://"):
        from recsys.store.redis_journal import RedisJournal

        return RedisJournal(place, timeout=60)
    if place.startswith("redis+cluster://"):
        from recsys.store.cluster_journal import ClusterJournal

        return ClusterJournal(place, timeout=60)
    return LmdbJournal(Path(place), create=create)


class Call(NamedTuple):
    """One call as its caller saw it; instants of the monotonic clock, ns. `end` is 0 for one never answered."""

    kind: str  # append, read, or tell: a word about an item
    user: str
    begin: int
    end: int
    ids: list[str]  # of the clicks appended; the title told
    position: int  # of a word: of the log behind it
    clicks: int  # of the user, as read


def _work(place: str, output: str, name: str, threads: int) -> None:
    """One process: threads that append clicks and read counts until it is killed, each call told before and after."""
    store = OnlineStore(opened(place))
    store.read(USERS[0], ["i1"], NOW)  # loads what is compiled: no call of the history has to
    out = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def live(thread: int) -> None:
        rng, number = np.random.default_rng([thread, *name.encode()]), 0
        while True:
            user, chance = USERS[rng.integers(len(USERS))], rng.random()
            if chance < 0.02:
                title, number = f"{name}-{thread}-{number}", number + 1
                word = store.known_items([TOLD])[TOLD] | {"title": title}
                begin = time.monotonic_ns()
                os.write(out, json.dumps(["tell", user, begin, 0, [title], 0, 0]).encode() + b"\n")
                store.put_items(pa.Table.from_pylist([word], ITEM_SCHEMA), NOW)
                position, end = store.head(), time.monotonic_ns()
                os.write(out, json.dumps(["tell", user, begin, end, [title], position, 0]).encode() + b"\n")
            elif chance < 0.5:
                ids = [f"{name}-{thread}-{number + i}" for i in range(rng.integers(1, 4))]
                number += len(ids)
                rows = [
                    {"event_id": i, "kind": "click", "user_id": user, "item_id": "i1", "occurred_at": NOW} for i in ids
                ]
                begin = time.monotonic_ns()
                os.write(out, json.dumps(["append", user, begin, 0, ids, 0, 0]).encode() + b"\n")
                done = store.append(rows, NOW)
                end = time.monotonic_ns()
                assert done.accepted + done.duplicates == len(ids), done  # a cluster's client may have asked twice
                os.write(out, json.dumps(["append", user, begin, end, ids, done.position, 0]).encode() + b"\n")
            else:
                begin = time.monotonic_ns()
                read = store.read(user, ["i1"], NOW)
                end, clicks = time.monotonic_ns(), int(read.aggregates[0, CLICKS])
                os.write(out, json.dumps(["read", user, begin, end, [], read.position, clicks]).encode() + b"\n")

    workers = [threading.Thread(target=live, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    os._exit(1)  # they end only by what they did not expect


@dataclass
class Crowd:
    """Processes that live on a store until `end`; any of them may be killed and another takes its place."""

    place: str
    folder: Path
    processes: int = 2
    threads: int = 4
    _running: list[Any] = field(default_factory=list)
    _started: int = 0

    def __enter__(self) -> Crowd:
        for _ in range(self.processes):
            self._running.append(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            process.kill()
            process.join()

    def _start(self) -> Any:
        self._started += 1
        name = f"p{self._started}"
        arguments = (self.place, str(self.folder / f"{name}.calls"), name, self.threads)
        process = FORKED.Process(target=_work, args=arguments, daemon=True)
        process.start()
        return process

    def kill_one(self, which: int) -> None:
        """SIGKILL to one process, and a new one in its place."""
        process = self._running[which % self.processes]
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        self._running[which % self.processes] = self._start()

    def check_alive(self) -> None:
        """Raises when one died by itself, which only a failed call does."""
        dead = [process.exitcode for process in self._running if not process.is_alive()]
        assert not dead, f"a process ended by itself: {dead}"

    def calls(self) -> list[Call]:
        """Every call so far; one that was never answered has no end."""
        by_begin: dict[tuple[str, int, str], Call] = {}
        for file in sorted(self.folder.glob("*.calls")):
            for line in file.read_bytes().split(b"\n")[:-1]:
                call = Call(*json.loads(line))
                by_begin[file.name, call.begin, str(call.ids)] = call
        return list(by_begin.values())

    def wait(self, calls: int, seconds: float, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Until so many calls were answered."""
        deadline = time.monotonic() + seconds
        while sum(call.end > 0 for call in self.calls()) < calls:
            assert time.monotonic() < deadline, "too few calls were answered"
            self.check_alive()
            meanwhile()
            time.sleep(0.3)


def longest_wait(calls: Sequence[Call]) -> float:
    """Seconds of the longest call that was answered."""
    return max((call.end - call.begin for call in calls if call.end), default=0) / 1e9


def disorder(calls: Sequence[Call], store: OnlineStore, lake: Lake | None = None) -> list[str]:
    """What no single order of all calls explains; [] for a linearizable history.

    The order is the log's: a position is a place in it, so it is enough that places agree with the clock (a call that
    began after another one ended has no smaller position), that each read counts exactly the log up to its position,
    and that the log holds each acknowledged event once and nothing that nobody sent.
    """
    wrong = []
    tail = store.tail(0) if lake is None else taken(store, lake)
    ids, positions = tail["event_id"].to_pylist(), tail["position"].to_pylist()
    kept = Counter(ids)
    words = Counter(store.told_items()["title"].to_pylist())
    told = {name for call in calls for name in call.ids if call.kind == "tell" and call.end}
    wrong += [f"word {name} is there {words[name]} times" for name in sorted(told) if words[name] != 1]
    sent = {name for call in calls for name in call.ids}
    acknowledged = {name for call in calls if call.kind == "append" and call.end for name in call.ids}
    wrong += [f"{name} is lost" for name in sorted(acknowledged - set(kept))]
    wrong += [f"{name} is there {n} times" for name, n in kept.items() if n > 1]
    wrong += [f"{name} was never sent" for name in sorted(set(kept) - sent) if name.startswith("p")]
    place = dict(zip(ids, positions, strict=True))
    of_user = defaultdict(list)
    log = store.export()[0]
    for user in USERS:
        mine = (log.user_key == key64([user])[0]) & (log.kind == 2)
        of_user[user] = log.position[mine]
    answered = [call for call in calls if call.end]
    for call in answered:
        if call.kind == "read" and int(np.searchsorted(of_user[call.user], call.position, "right")) != call.clicks:
            wrong.append(f"a read of {call.user} at {call.position} counts {call.clicks}")
        if call.kind == "append" and any(place.get(name, 0) > call.position for name in call.ids):
            wrong.append(f"{call.ids} lie after {call.position}, at which they were acknowledged")
    # by the clock: the greatest position of what had ended before each call began
    ends = sorted((call.end, call.position) for call in answered)
    high = np.maximum.accumulate([position for _, position in ends]) if ends else np.zeros(0)
    at = np.array([end for end, _ in ends])
    for call in answered:
        before = int(np.searchsorted(at, call.begin, "left"))
        # an append is at the place of its first event: what it answers may be later
        mine = min((place[name] for name in call.ids if name in place), default=call.position)
        if before and mine < high[before - 1]:
            wrong.append(f"a {call.kind} at {mine} began after a call at {high[before - 1]} had ended")
    return wrong
