"""The journal is cut: what snapshot and lake hold leaves it, and nobody reads, loses or doubles anything by that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.events import DAY_MS, ITEM_SCHEMA
from recsys.features.catalog import FINGERPRINT
from recsys.lake import Lake
from recsys.store import upgrade
from recsys.store.errors import JournalCut
from recsys.store.online import OnlineStore
from tests.features.crowd import opened
from tests.features.nights import begin, into, night, taken
from tests.features.streams import NOW, item_table, random_log
from tests.features.test_store import as_bytes, event

ITEMS = item_table(5)
A_DAY = 20


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "home")


@pytest.fixture
def opener(place: str) -> Iterator[Callable[[], OnlineStore]]:
    """Opens the store, which has an archive, as other processes do."""
    stores = [OnlineStore(opened(place, create=True), create=True)]
    log = random_log(1, 300)[0]
    stores[0].bootstrap(log, ITEMS, log.head)

    def again() -> OnlineStore:
        stores.append(OnlineStore(opened(place)))
        return stores[-1]

    yield again
    for store in stores:
        store.close()


def events(day: int, count: int = A_DAY) -> list[dict[str, Any]]:
    return [event(1000 * day + i, occurred_at=NOW + day * DAY_MS + i) for i in range(count)]


def lived(store: OnlineStore, day: int) -> tuple[int, int, list[bytes]]:
    """A day of events and a word about an item, and what was read at its end: position, instant, bytes."""
    now = NOW + day * DAY_MS + 1000
    assert store.append(events(day), now)[:2] == (A_DAY, 0)
    word = ITEMS.to_pylist()[0] | {"duration_ms": 100 + day}
    assert store.put_items(pa.Table.from_pylist([word], ITEM_SCHEMA), now) == 1
    read = store.read("u1", ["i0", "i1", "i2"], now)
    return read.position, now, as_bytes(read)


def test_after_cuts_every_read_replays_each_event_is_known_and_the_journal_stays_small(
    opener: Callable[[], OnlineStore], lake: Lake
) -> None:
    store, sleeper = opener(), opener()
    reads = []
    for day in range(6):
        reads.append(lived(store, day))
        assert night(store, lake, ITEMS, days=1).left == (A_DAY if day > 1 else 0)
        kept = min(day + 1, 2) * A_DAY + day + 1  # all words about items stay
        assert store.journal.size()[:2] == (kept, kept)
    for held in (store, sleeper, opener()):
        for position, now, before in reads:
            assert as_bytes(held.read("u1", ["i0", "i1", "i2"], now, position)) == before
        assert held.append([row for day in range(6) for row in events(day)], NOW + 6 * DAY_MS)[:2] == (0, 6 * A_DAY)
    assert (
        len(store.export()[0].position) == 300 + 6 * A_DAY == 300 + len(set(taken(store, lake)["event_id"].to_pylist()))
    )
    assert not np.diff(store.export()[0].position).min() <= 0
    assert store.journal.size().bytes > 0 and sleeper.tail(0).num_rows == 2 * A_DAY


@pytest.mark.parametrize("call", ["records", "append", "raw"])
def test_a_cut_in_the_middle_of_a_call_of_another_process_is_seen_by_it(
    opener: Callable[[], OnlineStore], lake: Lake, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """It looked at the log's head, or at which events are known, before the cut; it goes on behind it."""
    store, other = opener(), opener()
    lived(store, 0)
    if call != "records":
        other.head(), other.read("u1", ["i0"], NOW)
    real, cuts = getattr(other.journal, call), []

    def behind_a_cut(*arguments: Any, **named: Any) -> Any:
        answer = real(*arguments, **named) if call == "raw" else None
        if not cuts:
            cuts.append(night(store, lake, ITEMS, days=-1))
        return answer or real(*arguments, **named)

    monkeypatch.setattr(other.journal, call, behind_a_cut)
    now = NOW + DAY_MS
    if call == "append":
        assert other.append([*events(0), event(1, event_id="new")], now)[:2] == (1, A_DAY)
    elif call == "records":
        assert as_bytes(other.read("u1", ["i0"], now)) == as_bytes(store.read("u1", ["i0"], now))
    else:
        assert other.tail(0).num_rows == 0  # not what it read first, of which it no longer knows what it counted for
    assert [cut.left for cut in cuts] == [A_DAY] and len(set(other.export()[0].position.tolist())) == (
        300 + A_DAY + (call == "append")
    )


def test_what_the_lake_does_not_hold_stays_and_what_it_lost_is_not_lost(
    opener: Callable[[], OnlineStore], lake: Lake
) -> None:
    store = opener()
    lived(store, 0)
    log = store.export()[0]
    lived(store, 1)
    into(lake, store.tail(0).slice(0, A_DAY))
    begin(store, lake, ITEMS, log)
    cut = night_without_new_rows(store, lake)
    assert cut[:3] == (A_DAY, A_DAY, 0) and "20 are due and stay" in str(cut)
    before = as_bytes(store.read("u1", ["i0", "i1"], NOW + 2 * DAY_MS))
    assert store.journal.size().records == A_DAY + 2
    for path in lake.home.rglob("*.parquet"):
        path.unlink()
    begin(store, lake, ITEMS, random_log(1, 300)[0])
    assert as_bytes(store.read("u1", ["i0", "i1"], NOW + 2 * DAY_MS)) == before


def night_without_new_rows(store: OnlineStore, lake: Lake) -> Any:
    from recsys.cleaned import live
    from recsys.store import archived

    return archived.cut(store.journal, FINGERPRINT, lambda since: live.keys_since(lake, since, 0), store.knows, -1)


def test_a_state_of_other_features_holds_what_it_needs_until_it_is_dropped(
    opener: Callable[[], OnlineStore], lake: Lake, place: str
) -> None:
    store = opener()
    upgrade.build_beside(store.journal, FINGERPRINT, "other")
    beside = OnlineStore(opened(place), fingerprint="other")
    lived(store, 0)
    cut = night(store, lake, ITEMS, days=-1)
    assert (cut.left, cut.held_by) == (0, "other") and "make upgrade DROP=other" in str(cut)
    now = NOW + DAY_MS
    assert as_bytes(beside.read("u1", ["i0"], now)) == as_bytes(store.read("u1", ["i0"], now))
    store.journal.drop("other")
    assert night(store, lake, ITEMS, days=-1).left == A_DAY
    beside.close()


def test_a_state_from_before_the_cut_is_refused_not_read(opener: Callable[[], OnlineStore], lake: Lake) -> None:
    """One that nobody knew of when the records left: of a backup, say."""
    store = opener()
    lived(store, 0)
    with store.journal.dumped(FINGERPRINT) as dump:
        old = {name: np.array(array) for name, array in dump.arrays.items()}
    night(store, lake, ITEMS, days=-1)
    store.journal.save(FINGERPRINT, "old-old", old, None)
    with pytest.raises(JournalCut, match="materialize online_state"):
        opener()
