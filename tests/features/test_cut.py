"""The journal is cut: what snapshot and lake hold leaves it, and nobody reads, loses or doubles anything by that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys.cleaned import live
from recsys.events import DAY_MS, ITEM_SCHEMA
from recsys.features.catalog import FINGERPRINT
from recsys.features.log import merged
from recsys.lake import Lake
from recsys.store import upgrade
from recsys.store.errors import JournalCut
from recsys.store.journal import digest_of
from recsys.store.known import horizon
from recsys.store.online import OnlineStore
from recsys.stream.messages import Refusal
from recsys.vocabulary import TOO_LATE
from tests.features.crowd import opened
from tests.features.nights import begin, cut, into, night, taken, words_into
from tests.features.streams import NOW, item_table, random_log
from tests.features.test_store import as_bytes, event, identity

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
        assert night(store, lake, ITEMS, days=1)[:2] == (A_DAY + 1 if day > 1 else 0, 0)
        kept = min(day + 1, 2) * (A_DAY + 1)
        assert store.journal.size()[:2] == (kept, kept)
    for held in (store, sleeper, opener()):
        for position, now, before in reads:
            assert as_bytes(held.read("u1", ["i0", "i1", "i2"], now, position)) == before
        assert held.append([row for day in range(6) for row in events(day)], NOW + 6 * DAY_MS)[:2] == (0, 6 * A_DAY)
        told = held.told_items().filter(pc.field("position") > 0)
        assert told["duration_ms"].to_pylist() == [100 + day for day in range(6)]
        assert held.late_items(3)[1]["duration_ms"].to_pylist() == [102]
        assert held.known_items(["i0"])["i0"]["duration_ms"] == 105
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
    assert [cut.left for cut in cuts] == [A_DAY + 1] and len(set(other.export()[0].position.tolist())) == (
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
    stays = A_DAY + 2  # and the words
    left = cut(store, lake, -1)
    assert left[:2] == (A_DAY, stays) and f"{stays} are due and stay" in str(left)
    before = as_bytes(store.read("u1", ["i0", "i1"], NOW + 2 * DAY_MS))
    assert store.journal.size().records == stays
    for path in lake.home.rglob("*.parquet"):
        path.unlink()
    begin(store, lake, ITEMS, random_log(1, 300)[0])
    assert as_bytes(store.read("u1", ["i0", "i1"], NOW + 2 * DAY_MS)) == before


def test_a_state_that_is_gone_begins_anew_behind_a_cut(opener: Callable[[], OnlineStore], lake: Lake) -> None:
    """Torn, or of other features: what had left is in the lake alone, what had not in the journal."""
    store = opener()
    lived(store, 0)
    items = words_into(lake, store, ITEMS)
    log = store.export()[0]
    into(lake, store.tail(0))
    begin(store, lake, items, log)
    lived(store, 1)
    assert cut(store, lake, -1)[:2] == (A_DAY + 1, 0) and store.journal.size().records == A_DAY + 1
    before = as_bytes(store.read("u1", ["i0", "i1"], NOW + 2 * DAY_MS))
    others = OnlineStore(store.journal, create=True, fingerprint="other")
    begin(others, lake, items, log)
    assert as_bytes(others.read("u1", ["i0", "i1"], NOW + 2 * DAY_MS)) == before
    assert others.append([*events(0), *events(1)], NOW + 2 * DAY_MS)[:2] == (0, 2 * A_DAY)
    told = (held.told_items().filter(pc.field("position") > 0) for held in (others, store))
    assert next(told).equals(next(told))


def test_ids_are_known_for_a_horizon_and_what_happened_before_it_is_refused(
    opener: Callable[[], OnlineStore], lake: Lake
) -> None:
    store, other = opener(), opener()
    for day in range(6):
        lived(store, day)
        night(store, lake, ITEMS, days=0, known_days=3)
    ids = [[digest_of(identity(row)) for row in events(day)] for day in range(6)]
    for held in (store, other, opener()):
        assert [bool(held.knows(of_day).all()) for of_day in ids] == [False, False, True, True, True, True]
        assert not held.knows(ids[0]).any()
        done = held.append([*events(0), *events(3)], NOW + 6 * DAY_MS)
        assert done[:2] == (0, A_DAY) and [place for place, _ in done.rejected] == list(range(A_DAY))
        why = done.rejected[0][1]
        assert Refusal.of(why).code == TOO_LATE and "\n" not in why
        said = int(np.datetime64(why.split()[3], "ms").astype(np.int64))  # the first instant that is taken
        late, taken = (event(9_000_000, occurred_at=at) for at in (said - 1, said))
        assert held.append([late], NOW + 6 * DAY_MS).rejected and not held.append([taken], NOW + 6 * DAY_MS).rejected
    unsaid = {"event_id": "unsaid", "kind": "like", "user_id": "u1", "item_id": "i1"}
    assert store.append([unsaid], NOW + 6 * DAY_MS)[:2] == (1, 0)
    # what the journal has could be told again by the archive: its ids stay as long
    assert horizon(store.export()[0], store.journal, 0, NOW + 90 * DAY_MS) < NOW + 5 * DAY_MS


def test_what_the_lake_has_in_quarantine_leaves_and_counts_as_before(
    opener: Callable[[], OnlineStore], lake: Lake
) -> None:
    """An event that the service took, and that today's rules refuse."""
    store = opener()
    position, now, before = lived(store, 0)
    log, rows = store.export()[0], store.tail(0)
    into(lake, rows)
    aside = rows.slice(3, 1)
    cleaned = log.take(log.position != aside["position"][0].as_py())
    lake.write(
        aside.append_column("reason", pa.array(["rule"])), lake.day(live.local_day(now, 0), "cleaned", "quarantine")
    )
    set_aside = live.set_aside(lake)
    assert set_aside["event_id"].to_pylist() == aside["event_id"].to_pylist()
    assert all(map(np.array_equal, live.counted(set_aside), log.take(log.position == aside["position"][0].as_py())))
    begin(store, lake, words_into(lake, store, ITEMS), merged(cleaned, live.counted(set_aside)))
    assert cut(store, lake, -1)[:2] == (A_DAY + 1, 0) and store.journal.size().records == 0
    for held in (store, opener()):
        assert as_bytes(held.read("u1", ["i0", "i1", "i2"], now, position)) == before
        assert held.append(events(0), now)[:2] == (0, A_DAY)


def test_a_state_of_other_features_holds_what_it_needs_until_it_is_dropped(
    opener: Callable[[], OnlineStore], lake: Lake, place: str
) -> None:
    store = opener()
    upgrade.build_beside(store.journal, FINGERPRINT, "other")
    beside = OnlineStore(opened(place), fingerprint="other")
    lived(store, 0)
    held = night(store, lake, ITEMS, days=-1)
    assert (held.left, held.held_by) == (0, "other") and "make upgrade DROP=other" in str(held)
    now = NOW + DAY_MS
    assert as_bytes(beside.read("u1", ["i0"], now)) == as_bytes(store.read("u1", ["i0"], now))
    store.journal.drop("other")
    assert night(store, lake, ITEMS, days=-1).left == A_DAY + 1
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
