"""One contract, every store: what an online store promises, whichever engine keeps its journal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.events import (
    DAY_MS,
    IDENTITY,
    ITEM_SCHEMA,
    KINDS,
    LIVE_RANK,
    RAW_EVENT_SCHEMA,
    event_key,
    first_position,
    key64,
)
from recsys.features import fold, sweep
from recsys.features.catalog import HISTORY_KINDS, HISTORY_LENGTH
from recsys.features.derive import Context, derive
from recsys.features.log import ItemColumns, Rows
from recsys.store.errors import StoreBusy, StoreError, StoreMissing
from recsys.store.journal import Journal, key_of
from recsys.store.lmdb_journal import LmdbJournal
from recsys.store.online import OnlineStore
from recsys.store.past import Read
from tests.features.crowd import FORKED, opened
from tests.features.streams import NOW, START, item_table, random_log

Opener = Callable[..., OnlineStore]


@pytest.fixture
def journal(place: str) -> Callable[[bool], Journal]:
    """Opens one journal again and again, as other processes and restarts do."""
    return lambda create: opened(place, create)


@pytest.fixture
def opener(journal: Callable[[bool], Journal]) -> Iterator[Opener]:
    stores = []

    def open_again(create: bool = False) -> OnlineStore:
        stores.append(OnlineStore(journal(create), create=create))
        return stores[-1]

    yield open_again
    for store in stores:
        store.close()


def event(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "kind": ("impression", "click", "play", "long_view")[number % 4],
        "user_id": f"u{number % 3}",
        "item_id": f"i{number % 5}",
        "occurred_at": NOW + number * 1000,
        "watch_ms": 1000 if number % 4 == 2 else None,
    } | changes


def identity(event: dict[str, Any]) -> str:
    return event_key(*(event[name] for name in IDENTITY))


def as_bytes(read: Read) -> list[bytes]:
    return [np.ascontiguousarray(value).tobytes() for value in (*read[3:-2], *read.judged)]


def filled(opener: Opener, seed: int = 1) -> tuple[OnlineStore, Any]:
    store = opener(create=True)
    log, _, table = random_log(seed, 500)
    store.bootstrap(log, table, log.head, event_keys=[identity(event(i, event_id=f"old{i}")) for i in range(500)])
    return store, log


def test_a_bootstrapped_store_reads_what_the_sweep_reads(opener: Opener) -> None:
    store, log = filled(opener)
    items = [f"i{i}" for i in range(5)]
    read = store.read("u1", items, NOW)
    keys = key64(items)
    swept = sweep.point_in_time(
        log, store.export()[1], Rows(np.repeat(key64(["u1"]), 5), keys, np.full(5, log.head), np.full(5, NOW))
    )
    assert read.aggregates.tobytes() == swept.tobytes()
    assert read.position == log.head
    assert swept.any()


def test_the_ring_holds_what_was_shown_and_engaged_with_as_the_sweep_gives_it(opener: Opener) -> None:
    store, _ = filled(opener)
    reads = []
    for fresh in (0, 60, 2 * HISTORY_LENGTH):  # nothing live in the ring, a part of it, all of it
        store.append([event(fresh + i, user_id="u1") for i in range(fresh)], NOW + DAY_MS)
        reads.append(store.read("u1", ["i1"], NOW + DAY_MS))
    assert set(reads[0].history_kinds) == {KINDS[kind] for kind in HISTORY_KINDS}
    assert len(reads[-1].history_kinds) == HISTORY_LENGTH
    for read in reads:
        past = store.read("u1", ["i1"], read.as_of, position=read.position).history
        log, at = store.export()[0], np.array([read.position])
        swept = sweep.histories(log, key64(["u1"]), at, np.array([read.as_of]))
        for ours, *others in zip(read.history.row(0), past.row(0), swept.row(0), strict=True):
            assert all(ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes() for theirs in others)


def test_an_accepted_event_is_seen_by_the_next_read_of_every_process_holding_the_store(opener: Opener) -> None:
    store, _ = filled(opener)
    other = opener()
    before = other.read("u1", ["i1"], NOW + 10_000)
    appended = store.append([event(1), event(4, kind="click", user_id="u1", item_id="i1")], NOW + 5000)
    after = other.read("u1", ["i1"], NOW + 10_000)
    assert appended.accepted == 2 and after.position == appended.position > before.position
    assert as_bytes(after) == as_bytes(store.read("u1", ["i1"], NOW + 10_000)) != as_bytes(before)


def test_a_repeated_event_changes_nothing(opener: Opener) -> None:
    store, _ = filled(opener)
    batch = [event(i) for i in range(8)]
    first = store.append(batch, NOW + 9000)
    before = store.read("u1", ["i1", "i2"], NOW + 10_000)
    again = store.append([*batch, event(3)], NOW + 20_000)
    assert (first.accepted, first.duplicates) == (8, 0)
    assert (again.accepted, again.duplicates, again.position) == (0, 9, first.position)
    assert as_bytes(store.read("u1", ["i1", "i2"], NOW + 10_000)) == as_bytes(before)


def test_a_repeat_inside_one_batch_counts_once(opener: Opener) -> None:
    store, _ = filled(opener)
    assert store.append([event(1), event(1)], NOW + 5000)[:2] == (1, 1)


def test_an_event_of_the_archive_sent_again_is_a_duplicate(opener: Opener) -> None:
    store, _ = filled(opener)
    assert store.append([event(7, event_id="old7")], NOW + 5000)[:2] == (0, 1)


def test_bad_events_are_refused_with_a_reason_and_the_others_taken(opener: Opener) -> None:
    store, _ = filled(opener)
    batch = [
        event(0),
        event(1, item_id="nobody"),
        event(2, kind="sneeze"),
        event(3, event_id=""),
        event(4, occurred_at=NOW + 10**9),
        event(5, user_id="u" * 10_000_000),
        event(6, consent=False),
        event(7, watch_ms=-1),
        event(8, request_id="r" * 10_000_000),
        event(9, occurred_at="yesterday"),
        event(10, shelf={"not": {"plain"}}),
    ]
    appended = store.append(batch, NOW + 5000)
    assert appended.accepted == 1
    reasons = dict(appended.rejected)
    assert sorted(reasons) == list(range(1, 11))
    for index, words in {1: "unknown item", 2: "kind", 3: "event_id is missing", 4: "ahead", 5: "longer"}.items():
        assert words in reasons[index]
    assert all(len(reason) < 200 for reason in reasons.values())


def test_live_positions_lie_in_their_day_above_any_import_and_never_go_back(opener: Opener) -> None:
    store, log = filled(opener)
    first = store.append([event(1)], NOW)
    assert first.position == first_position(NOW // DAY_MS) + LIVE_RANK > log.head
    back = store.append([event(2)], NOW - 3 * DAY_MS + 10_000_000)  # the receiving clock went backwards
    assert back.accepted == 0 or back.position == first.position + 1
    assert store.append([event(3, occurred_at=NOW - 3 * DAY_MS)], NOW - 3 * DAY_MS).position > first.position


def test_events_accepted_after_the_bootstrap_survive_the_next_one(opener: Opener) -> None:
    store, log = filled(opener)
    store.append([event(i) for i in range(20)], NOW + 30_000)
    before = store.read("u1", ["i1", "i2"], NOW + 40_000)
    _, _, table = random_log(1, 500)
    store.bootstrap(log, table, log.head, event_keys=[identity(event(i, event_id=f"old{i}")) for i in range(500)])
    assert as_bytes(store.read("u1", ["i1", "i2"], NOW + 40_000)) == as_bytes(before)
    assert as_bytes(opener().read("u1", ["i1", "i2"], NOW + 40_000)) == as_bytes(before)


def test_a_bootstrap_past_live_events_keeps_them_once(opener: Opener) -> None:
    store, _log = filled(opener)
    store.append([event(i) for i in range(20)], NOW + 30_000)
    before = store.read("u1", ["i1", "i2"], NOW + 40_000)
    whole, _ = store.export()
    table = random_log(1, 500)[2]
    # Half of the live events came back with the archive; the archive's head lies past them all.
    store.bootstrap(whole.take(slice(0, 510)), table, whole.head, event_keys=[identity(event(i)) for i in range(10)])
    assert as_bytes(store.read("u1", ["i1", "i2"], NOW + 40_000)) == as_bytes(before)


def test_a_checkpoint_changes_no_byte_and_leaves_little_to_catch_up_with(opener: Opener) -> None:
    store, log = filled(opener)
    other = opener()
    changed = item_table(1).slice(0, 1).set_column(6, "duration_ms", pa.array([77]))
    for number in range(0, 200, 20):
        store.append([event(number + i) for i in range(20)], NOW + 30_000)
        store.put_items(changed.set_column(6, "duration_ms", pa.array([number])), NOW + 30_000)
    at = NOW + 400_000
    before = store.read("u1", ["i0", "i1", "strange"], at)
    earlier = store.read("u1", ["i0"], at, position=log.head + 1)
    told = store.told_items(), store.late_items()
    assert not store.checkpoint(store.since_snapshot) and store.checkpoint(store.since_snapshot - 1)
    fresh = opener()
    assert fresh.since_snapshot == 0
    for held in (store, other, fresh):
        assert as_bytes(held.read("u1", ["i0", "i1", "strange"], at)) == as_bytes(before)
        assert as_bytes(held.read("u1", ["i0"], at, position=log.head + 1)) == as_bytes(earlier)
        assert (held.told_items(), held.late_items()) == told
        assert held.append([event(7), event(7, event_id="old7")], NOW + 30_000)[:2] == (0, 2)
    assert other.append([event(300)], at).accepted == 1
    assert store.read("u0", ["i0"], at).position == fresh.read("u0", ["i0"], at).position == other.head()


def test_checkpoints_that_come_while_a_user_is_forgotten_double_nothing_and_delay_it_once_at_most(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = filled(opener)
    other, real, taken = opener(), store._catch_up, []

    def then_a_checkpoint() -> Any:  # between every look at what is there and the state that is made of it
        hot = real()
        assert len(taken) < 5, "it begins anew for good"
        other.append([event(9 * len(taken) + i, user_id="u2") for i in range(9)], NOW + 9000)
        taken.append(other.checkpoint(0))
        return hot

    monkeypatch.setattr(store, "_catch_up", then_a_checkpoint)
    store.forget("u1", lambda raw: raw)
    assert not all(taken[:2]) and taken[-1]  # and they go on behind it
    log = opener().export()[0]
    assert len(log.position) == 500 + 9 * len(taken) and not np.isin(key64(["u1"]), log.user_key).any()


def test_a_bootstrap_while_another_process_writes_loses_nothing(opener: Opener) -> None:
    store, log = filled(opener)
    other = opener()
    table = random_log(1, 500)[2]
    for i in range(10):
        other.append([event(i)], NOW + 30_000)
        if i % 3 == 0:
            store.bootstrap(log, table, log.head)
    assert len(other.export()[0].position) == 510
    assert as_bytes(other.read("u1", ["i1"], NOW + 40_000)) == as_bytes(store.read("u1", ["i1"], NOW + 40_000))


def test_what_a_restarted_process_reads_is_what_was_read_before(opener: Opener) -> None:
    store, _ = filled(opener)
    store.append([event(i) for i in range(20)], NOW + 30_000)
    store.put_items(pa.Table.from_pylist([{"item_id": "new", "category": "news"}], schema=item_table(1).schema))
    store.append([event(30, item_id="new")], NOW + 31_000)
    before = store.read("u0", ["i1", "new", "strange"], NOW + 40_000)
    assert before.known.tolist() == [True, True, False]
    store.close()
    assert as_bytes(opener().read("u0", ["i1", "new", "strange"], NOW + 40_000)) == as_bytes(before)


def test_a_read_at_an_earlier_position_gives_the_bytes_read_then_items_included(opener: Opener) -> None:
    store, _ = filled(opener)
    items = ["i0", "i1", "i2", "strange"]
    reads = []
    for i in range(12):
        store.append([event(i)], NOW + 30_000 + i)
        changed = item_table(5).slice(i % 5, 1).set_column(6, "duration_ms", pa.array([77 + i]))
        store.put_items(changed, NOW + 30_000 + i)
        reads.append(store.read("u1", items, NOW + 40_000 + i))
    for read in reads:
        assert as_bytes(store.read("u1", items, read.as_of, position=read.position)) == as_bytes(read)
    assert len({tuple(as_bytes(read)) for read in reads}) > 6


def test_a_read_far_behind_the_log_is_still_exact(opener: Opener) -> None:
    store, _log = filled(opener)
    store.append([event(i, occurred_at=NOW) for i in range(4)], NOW)
    as_of = START + 10 * DAY_MS
    read = store.read("u1", ["i1"], as_of)
    whole, items = store.export()
    swept = sweep.point_in_time(
        whole, items, Rows(key64(["u1"]), key64(["i1"]), np.array([read.position]), np.array([as_of]))
    )
    assert read.aggregates.tobytes() == swept.tobytes()


def test_what_was_received_by_an_instant_lies_up_to_one_position_items_included(opener: Opener) -> None:
    store, log = filled(opener)
    archived = log.head
    assert store.position_at(int(log.received_at.max())) == archived and store.position_at(0) == 0
    middle = int(log.received_at[250])
    later = log.received_at[log.position > store.position_at(middle)]
    assert store.position_at(middle) >= log.position[250] and later[0] > middle
    first = store.append([event(1)], NOW).position
    store.put_items(pa.Table.from_pylist([{"item_id": "told", "item_type": "video"}], schema=ITEM_SCHEMA), NOW + 500)
    told = store.head()
    last = store.append([event(2)], NOW + 1000).position
    at = {NOW - 1: archived, NOW: first, NOW + 499: first, NOW + 500: told, NOW + 999: told, NOW + 1000: last}
    assert {instant: store.position_at(instant) for instant in at} == at and first < told < last


def test_a_read_of_the_past_stops_no_writer_and_waits_for_its_turn(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = filled(opener)
    store.append([event(7, occurred_at=NOW + 40 * DAY_MS)], NOW + 40 * DAY_MS)
    begun, go_on, honest = threading.Event(), threading.Event(), fold.scan_rows

    def slow(*given: Any) -> None:
        begun.set()
        assert go_on.wait(30)
        honest(*given)

    monkeypatch.setattr(fold, "scan_rows", slow)
    monkeypatch.setattr("recsys.store.online.TURN_SECONDS", 0.05)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(store.read, "u1", ["i1"], START + 10 * DAY_MS)
        assert begun.wait(30)
        try:
            head = store.append([event(8)], NOW + 41 * DAY_MS).position  # the lock is free
            assert store.read("u1", ["i1"], NOW + 41 * DAY_MS).position == head
            with pytest.raises(StoreBusy, match="wait for their turn: try again"):
                store.read("u1", ["i1"], START + 11 * DAY_MS)
        finally:
            go_on.set()
        assert reading.result(30).position < head
    again = store.read("u1", ["i1"], START + 10 * DAY_MS, reading.result().position)
    assert as_bytes(again) == as_bytes(reading.result())


def test_many_items_read_far_behind_the_log_are_all_exact(opener: Opener) -> None:
    """Their tiles are gone, some share a category or creator, one is unknown: one pass of the log serves them all."""
    store, log = filled(opener)
    store.append([event(7, occurred_at=NOW + 40 * DAY_MS)], NOW + 40 * DAY_MS)
    whole, items = store.export()
    ids = [f"i{k}" for k in range(30)] + ["nobody"]
    for as_of in (int(log.occurred_at.min()), int(np.median(log.occurred_at)), int(log.occurred_at.max())):
        read = store.read("u1", ids, as_of)
        n = len(ids)
        keys, positions = key64(ids), np.full(n, read.position)
        swept = sweep.point_in_time(whole, items, Rows(np.repeat(key64(["u1"]), n), keys, positions, np.full(n, as_of)))
        assert read.aggregates.tobytes() == swept.tobytes()


def test_told_items_are_every_word_that_arrived_live_after_what_the_archive_had_said(opener: Opener) -> None:
    store, log = filled(opener)
    assert store.told_items().num_rows == 0
    changed = item_table(7).slice(2, 1).set_column(6, "duration_ms", pa.array([77]))
    store.bootstrap(log, changed, log.head)  # a record of the archive's, which nobody told
    assert store.told_items().num_rows == 0
    for item_id, category in (("new", "news"), ("new", "sport"), ("i2", "news"), ("i3", "music")):
        row = {"item_id": item_id, "category": category, "is_available": True}
        store.put_items(pa.Table.from_pylist([row], schema=item_table(1).schema), NOW)
    told = store.told_items().to_pylist()
    seen = [(row["item_id"], row["category"], row["duration_ms"], row["valid_from"]) for row in told]
    assert seen == [
        ("new", "news", None, NOW),
        ("new", "sport", None, NOW),
        ("i2", None, 77, 0),
        ("i2", "news", None, NOW),
        ("i3", "news", 40_000, 0),
        ("i3", "music", None, NOW),
    ]
    assert [row["position"] for row in told if row["valid_from"]] == [store.head() - n for n in (3, 2, 1, 0)]


def test_only_a_new_title_or_tag_is_a_new_word(opener: Opener) -> None:
    store, _ = filled(opener)
    before, head = store.known_items(["i1"])["i1"], store.head()
    for change in ({"title": "new"}, {"tags": ["new"]}):
        table = pa.Table.from_pylist([before | change], schema=item_table(1).schema)
        assert (store.put_items(table, NOW), store.put_items(table, NOW)) == (1, 0)
        assert (
            store.late_items()[1].to_pylist() == table.to_pylist()
            and store.known_items(["i1"])["i1"] == table.to_pylist()[0]
        )
    assert store.head() > head


def test_a_live_event_comes_back_with_what_it_counted_for(opener: Opener) -> None:
    store, log = filled(opener)
    row = item_table(1).to_pylist()[0]
    for number, category in enumerate((None, "sport", "music")):
        store.append([event(number, item_id="i0")], NOW)
        store.put_items(pa.Table.from_pylist([row | {"category": category}], schema=item_table(1).schema), NOW)
    keys = [int(key64(["news"])[0]), 0, int(key64(["sport"])[0])]
    assert store.tail(log.head)["category_key"].to_pylist() == keys


def test_what_was_told_after_the_catalogue_was_read_stands(opener: Opener) -> None:
    store, log = filled(opener)
    heard, given = store.told_items(), item_table(7)
    told = pa.Table.from_pylist([given.to_pylist()[0] | {"title": "told"}], schema=given.schema)
    store.put_items(told, NOW)
    store.bootstrap(log, given, log.head, heard=heard)
    assert store.known_items(["i0"])["i0"]["title"] == "told"
    store.bootstrap(log, given, log.head, heard=store.told_items())
    assert store.known_items(["i0"])["i0"]["title"] is None


def test_tail_gives_back_the_events_as_raw_rows(opener: Opener) -> None:
    store, log = filled(opener)
    store.put_items(item_table(7), NOW)
    store.append([event(i) for i in range(4)], NOW + 30_000)
    tail = store.tail(log.head)
    assert tail.schema == RAW_EVENT_SCHEMA
    assert tail["event_id"].to_pylist() == ["e0", "e1", "e2", "e3"]
    assert tail["watch_ms"].to_pylist() == [None, None, 1000, None]
    assert set(tail["received_at"].to_pylist()) == {NOW + 30_000}
    assert tail["date"].null_count == 0
    assert store.tail(tail["position"][1].as_py())["event_id"].to_pylist() == ["e2", "e3"]


def test_a_row_has_the_same_floats_alone_and_among_many(opener: Opener) -> None:
    store, _ = filled(opener)
    items = [f"i{i % 5}" for i in range(500)]
    many = store.read("u1", items, NOW)

    def floats(read: Read) -> np.ndarray:
        n = len(read.item_keys)
        zeros = np.zeros(n, np.int64)
        return derive(read.aggregates, Context(np.full(n, NOW), zeros, zeros, zeros, ItemColumns(*read.item)))

    together = floats(many)
    for k in (0, 1, 2, 3, 4):
        assert (
            floats(store.read("u1", [items[k]], NOW)).tobytes() == together[k].tobytes() == together[k + 495].tobytes()
        )


def test_the_future_is_refused(opener: Opener) -> None:
    store, log = filled(opener)
    with pytest.raises(StoreError, match="ahead of the log's head"):
        store.read("u1", ["i1"], NOW, position=log.head + 1)


def test_a_store_that_is_not_there_says_what_to_materialize(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing, match="materialize online_state"):
        LmdbJournal(tmp_path / "nowhere")


def _writer(place: str, first: int) -> None:
    store = OnlineStore(opened(place))
    for i in range(first, first + 40):
        store.append([event(i), event(1000 + i % 20, occurred_at=NOW)], NOW + 60_000)
    store.close()


def test_processes_that_write_at_once_lose_and_double_nothing(place: str) -> None:
    store = OnlineStore(opened(place, create=True), create=True)
    log, _, table = random_log(1, 50)
    store.bootstrap(log, table, log.head)
    processes = [FORKED.Process(target=_writer, args=(place, 100 * k)) for k in range(1, 4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    ids = store.tail(0)["event_id"].to_pylist()
    assert len(ids) == len(set(ids)) == 3 * 40 + 20
    whole, items = store.export()
    read = store.read("u1", ["i1", "i3"], NOW + 90_000)
    keys = key64(["i1", "i3"])
    swept = sweep.point_in_time(
        whole, items, Rows(np.repeat(key64(["u1"]), 2), keys, np.full(2, whole.head), np.full(2, NOW + 90_000))
    )
    assert read.aggregates.tobytes() == swept.tobytes()
    store.close()


def test_the_key_of_one_id_is_the_key_of_many() -> None:
    names = [f"user {i}" for i in range(1000)] + ["", "ü", "雪"]
    assert [key_of(name) for name in names] == key64(names).tolist()
