"""How many threads a training may take, and trainings that go on beside each other."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from typing import TypeVar

import torch

T = TypeVar("T")


@contextmanager
def on_threads(threads: int) -> Iterator[None]:
    """So many of torch's threads, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def side_by_side(work: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """What each piece of work returns, two of them done at a time: the first ones here, the last ones in a thread.

    Only one that is done here may draw from torch's own generator or set its seed: all threads share that.

    Raises:
        Whatever a piece raises; what is under way beside one that failed here ends within its round.
    """
    waiting, done, failed = deque(work), dict[str, T](), list[BaseException]()

    def go_on(taken: Callable[[], str]) -> None:
        while waiting:
            try:
                name = taken()
            except IndexError:  # the other took the last one
                return
            done[name] = work[name]()

    def beside() -> None:
        try:
            go_on(waiting.pop)
        except BaseException as error:  # it is told where it can be
            failed.append(error)

    thread = Thread(target=beside, name="trains beside")
    first = waiting.popleft()
    thread.start()
    try:
        done[first] = work[first]()
        go_on(waiting.popleft)
        thread.join()
    except BaseException:
        waiting.clear()
        # raised at its next line of Python: a round of trees takes 20 ms, one of factors 100
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
        thread.join()
        raise
    if failed:
        raise failed[0]
    return {name: done[name] for name in work}
