"""A state is written behind its log: what a process appends is applied by whoever reads next."""

# ruff: noqa: F811 - fixtures of the stores' contract suite

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recsys.events import DAY_MS, key64
from recsys.features import sweep
from recsys.features.log import Rows
from recsys.store.errors import StoreUnavailable
from tests.features.test_store import NOW, Opener, as_bytes, event, filled, journal, opener  # noqa: F401


def test_events_appended_one_by_one_by_two_processes_are_read_as_if_they_came_at_once(opener: Opener) -> None:
    store, _ = filled(opener)
    other = opener()
    for number, appends in enumerate([store, store, other, store, other, other, store]):
        appends.append([event(number, user_id="u1"), event(number + 20)], NOW + 30_000 + number)
        if number == 3:
            store.checkpoint(0)
    first, second, third = (each.read("u1", ["i1", "i2"], NOW + 40_000) for each in (store, other, opener()))
    assert as_bytes(first) == as_bytes(second) == as_bytes(third)
    rows = Rows(*np.array([key64(["u1"] * 2), key64(["i1", "i2"]), [first.position] * 2, [NOW + 40_000] * 2]))
    assert first.aggregates.tobytes() == sweep.point_in_time(*store.export(), rows).tobytes()


def test_what_was_just_told_is_known_here_while_the_journal_answers_nobody(opener: Opener, monkeypatch: Any) -> None:
    store, _ = filled(opener)
    store.read("u1", ["i1"], NOW)
    before = store.judged("u1").at.max()
    store.append([event(9, kind="dislike", user_id="u1", item_id="i3")], NOW + DAY_MS)

    def gone(fingerprint: str) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(store.journal, "mark", gone)
    with pytest.raises(StoreUnavailable):
        store.read("u1", ["i1"], NOW + DAY_MS)
    assert store.judged("u1").at.max() > before
