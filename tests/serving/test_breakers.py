"""Breakers: closed, open after failures in a row, half-open after a while, closed again by one success."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from recsys.serving.breakers import Breakers, PartDown


class Down(Exception):
    pass


def fail() -> None:
    raise Down


def test_a_circuit_opens_after_failures_in_a_row_and_one_success_after_the_wait_closes_it() -> None:
    breakers = Breakers(["index", "ranker"], failures=3, seconds=0.2)
    calls = []
    for _ in range(2):
        with pytest.raises(PartDown, match="index failed with Down"):
            breakers.call("index", fail)
    assert breakers.call("index", lambda: 7) == 7  # a success between: they were not in a row
    for _ in range(3):
        with pytest.raises(PartDown):
            breakers.call("index", fail)
    assert breakers.states() == {"index": "opened", "ranker": "closed"}
    with pytest.raises(PartDown, match="left alone"):
        breakers.call("index", lambda: calls.append(1))
    assert calls == []  # not even tried
    assert breakers.call("ranker", lambda: 1) == 1  # the other part is untouched
    time.sleep(0.25)
    assert breakers.call("index", lambda: 8) == 8
    assert breakers.states()["index"] == "closed"


def test_a_failure_when_half_open_opens_the_circuit_again() -> None:
    breakers = Breakers(["index"], failures=1, seconds=0.1)
    for _ in range(2):
        with pytest.raises(PartDown, match="failed"):
            breakers.call("index", fail)
        with pytest.raises(PartDown, match="left alone"):
            breakers.call("index", lambda: None)
        time.sleep(0.15)


def test_threads_may_share_a_breaker() -> None:
    breakers = Breakers(["index"], failures=2, seconds=0.001)
    start = threading.Barrier(8)

    def work(worker: int) -> int:
        start.wait()
        down = 0
        for n in range(400):
            try:
                breakers.call("index", fail if (n + worker) % 3 else lambda: None)
            except PartDown:
                down += 1
        return down

    with ThreadPoolExecutor(8) as pool:
        assert all(down > 0 for down in pool.map(work, range(8)))
    time.sleep(0.01)
    assert breakers.call("index", lambda: "up") == "up"
