"""What an append keeps in one step with its events: how far a stream was read, and what the events imply."""

# ruff: noqa: F811 - fixtures of the contract suite

from __future__ import annotations

import pytest

from recsys.sources.derived import Rules
from recsys.store.errors import OffsetMoved
from recsys.store.journal import Offset
from tests.features.test_store import NOW, Opener, event, filled, journal, opener  # noqa: F401


def test_how_far_a_stream_was_read_is_kept_in_the_events_own_step_or_neither_is(opener: Opener) -> None:
    store, other = filled(opener)[0], opener()
    parts = ["events/0", "events/1"]
    assert store.journal.offsets(parts) == [b"", b""]
    first, second = Offset("events/0", b"", b"2 a"), Offset("events/1", b"", b"7 a")
    assert store.append([event(1), event(2)], NOW, offsets=[first, second]).accepted == 2
    head = store.head()
    with pytest.raises(OffsetMoved, match="events/1"):  # one that woke up late, and a second group
        other.append([event(3)], NOW, offsets=[Offset("events/0", b"2 a", b"3 a"), second])
    refused = other.append([event(3), event(4, kind="nap")], NOW, offsets=[Offset("events/0", b"2 a", b"4 a")])
    assert [place for place, _ in refused.rejected] == [1] and refused.accepted == 0
    assert (store.head(), other.journal.offsets(parts)) == (head, [b"2 a", b"7 a"])
    # nothing but repeats, or nothing at all: read all the same
    assert store.append([event(1)], NOW, offsets=[Offset("events/0", b"2 a", b"3 a")]).duplicates == 1
    store.append([], NOW, offsets=[Offset("events/1", b"7 a", b"8 a")])
    identity = store.journal.identity()
    store.forget("u1", lambda raw: raw)
    fresh = opener()
    assert (fresh.head(), fresh.journal.offsets(parts)) == (head, [b"3 a", b"8 a"])
    assert fresh.journal.identity() == identity and len(identity) == 32


def test_what_an_event_implies_comes_behind_the_batch_in_the_same_step(opener: Opener) -> None:
    store, rules = filled(opener)[0], Rules(long_view=True, click="play")
    head = store.head()
    sent = [event(2, watch_ms=3_600_000), event(6, watch_ms=-1), event(10, watch_ms=0)]
    taken = store.append(sent, NOW, rules)
    assert (taken.accepted, [place for place, _ in taken.rejected]) == (2, [1])
    ids = store.tail(head)["event_id"].to_pylist()
    assert ids == ["e2", "e10", "e2#long_view", "e2#click", "e10#click"]
    again = store.append(sent, NOW + 1, rules)
    assert (again.accepted, again.duplicates, again.position) == (0, 2, taken.position)
