"""Trainings beside each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from recsys.training_sets.threads import side_by_side

PATIENCE = 30.0  # seconds


def test_two_pieces_are_under_way_at_a_time_and_results_keep_their_order() -> None:
    met = threading.Barrier(2)  # each of the first two waits for the other one

    def meeting(result: int) -> Callable[[], int]:
        def work() -> int:
            met.wait(PATIENCE)
            return result

        return work

    assert list(side_by_side({"a": meeting(1), "b": lambda: 2, "c": meeting(3)}).items()) == [
        ("a", 1),
        ("b", 2),
        ("c", 3),
    ]


def test_the_first_is_done_in_the_thread_that_asks() -> None:
    assert side_by_side({"a": threading.current_thread, "b": threading.current_thread})["a"] is threading.main_thread()


def test_a_piece_alone_needs_no_other() -> None:
    assert side_by_side({"a": lambda: 1}) == {"a": 1}


def test_what_fails_beside_is_told() -> None:
    def fails() -> int:
        raise ValueError("nothing to learn from")

    with pytest.raises(ValueError, match="nothing to learn from"):
        side_by_side({"a": lambda: 1, "b": fails})


def test_what_is_stopped_here_ends_what_is_under_way_beside_it() -> None:
    begun, rounds = threading.Event(), []

    def long() -> int:
        begun.set()
        while True:
            rounds.append(1)
            time.sleep(0.01)

    def stopped() -> int:
        assert begun.wait(PATIENCE)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side({"a": stopped, "b": lambda: 2, "c": long})
    after = len(rounds)
    time.sleep(0.1)
    assert len(rounds) == after
