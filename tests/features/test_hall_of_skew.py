"""Skew bugs that other systems shipped, as scenarios of ours. Each name is that project's issue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.events import DAY_MS, HOUR_MS, KINDS, key64
from recsys.features import sweep
from recsys.features.catalog import AGGREGATES, FEATURES
from recsys.features.derive import Context, derive
from recsys.features.history import HISTORY_COLUMNS
from recsys.features.impressions import FEATURE_SCHEMA, impression_features, replayed
from recsys.features.log import EventLog, ItemColumns, Items, Rows, items_from_table
from recsys.store import online as store_module
from recsys.store.errors import StoreMissing
from recsys.store.lmdb_journal import LmdbJournal
from recsys.store.online import OnlineStore
from recsys.store.redis_journal import RedisJournal
from tests.features.redis_server import RedisServer
from tests.features.streams import START, item_table, random_log, random_rows
from tests.features.test_store import NOW, as_bytes, event

USER, ITEM = int(key64(["u1"])[0]), int(key64(["i1"])[0])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OnlineStore]:
    opened = OnlineStore(LmdbJournal(tmp_path / "store", create=True), create=True)
    log, _, table = random_log(1, 300)
    opened.bootstrap(log, table, log.head)
    yield opened
    opened.close()


def one_user(*events: tuple[str, int, int]) -> tuple[EventLog, Items]:
    """A log of (kind, occurred_at, received_at), in that order, of one user and one item."""
    items = items_from_table(item_table(3))
    n = len(events)
    item = items.lookup(np.full(n, ITEM))
    kind, occurred, received = (np.array(c) for c in zip(*((KINDS[k], o, r) for k, o, r in events), strict=True))
    log = EventLog(
        np.arange(1, n + 1), kind.astype(np.int8), np.full(n, USER), np.full(n, ITEM), item.category_key,
        item.creator_key, np.zeros(n, np.int64), occurred, received, np.zeros(n, np.int64),
    )  # fmt: skip
    return log, items


def value(column: str, log: EventLog, items: Items, position: int, as_of: int) -> int:
    """By the sweep and by the replay, which must say the same."""
    rows = Rows(np.array([USER]), np.array([ITEM]), np.array([position]), np.array([as_of]))
    swept, again = (runner(log, items, rows) for runner in (sweep.point_in_time, replayed))
    assert swept.tobytes() == again.tobytes()
    return int(swept[0, AGGREGATES.index(column)])


def test_feast_6615_training_rows_see_no_value_that_was_not_yet_available() -> None:
    log, items = one_user(("click", START, START), ("click", START + 1, START + HOUR_MS))
    as_of = np.array([START + HOUR_MS // 2, START + HOUR_MS + 1])
    positions = sweep.read_positions(log, as_of)
    seen = [value("user_clicks_count_24h", log, items, int(p), int(s)) for p, s in zip(positions, as_of, strict=True)]
    assert seen == [1, 2]  # the second happened before the first read, and was not known then


def test_feast_6821_a_window_expires_online_too(store: OnlineStore) -> None:
    store.append([event(1)], NOW + 5_000)
    column = AGGREGATES.index("user_clicks_count_1h")
    soon, later = (store.read("u1", ["i1"], NOW + d).aggregates[0, column] for d in (10_000, 2 * HOUR_MS))
    assert (soon, later) == (1, 0)


def test_feast_5163_an_event_out_of_order_neither_wins_nor_is_lost() -> None:
    log, items = one_user(("click", START + 9_000, START + 9_000), ("click", START, START + 10_000))
    assert value("user_click_at_latest_all", log, items, 2, START + 20_000) == START + 9_000
    assert value("user_clicks_count_1h", log, items, 2, START + 20_000) == 2


def test_feast_4479_online_and_offline_have_one_set_of_columns(store: OnlineStore) -> None:
    read = store.read("u1", ["i1", "i2"], NOW)
    assert read.aggregates.shape == (2, len(AGGREGATES))
    assert tuple(FEATURE_SCHEMA.names[3:]) == (*FEATURES, *HISTORY_COLUMNS)


@pytest.mark.redis
def test_feast_2960_stores_agree(store: OnlineStore, redis_server: RedisServer) -> None:
    redis_server.client().flushall()
    other = OnlineStore(RedisJournal(redis_server.url), create=True)
    log, _, table = random_log(1, 300)
    other.bootstrap(log, table, log.head)
    for held in (store, other):
        for i in range(0, 60, 7):
            held.append([event(j) for j in range(i, i + 9)], NOW + 90_000)
    for user in ("u0", "u1", "nobody"):
        ours, theirs = (held.read(user, ["i0", "i1", "i2", "what"], NOW + 99_000) for held in (store, other))
        assert as_bytes(ours) == as_bytes(theirs) and ours.position == theirs.position


def test_feast_6787_rows_that_share_entity_and_instant_stay_rows() -> None:
    log, items, _ = random_log(3, 200)
    rows = Rows(*(np.repeat(column[:1], 20) for column in random_rows(3, 1, log)))
    aggregates = sweep.point_in_time(log, items, rows)
    assert len(aggregates) == 20 and len(np.unique(aggregates, axis=0)) == 1


def test_chronon_1115_what_a_measure_leaves_out_does_not_move_it() -> None:
    log, items = one_user(("click", START, START), ("skip", START + DAY_MS, START + DAY_MS))
    assert value("item_clicks_count_7d", log, items, 2, START + DAY_MS) == 1
    assert value("user_click_at_latest_all", log, items, 2, START + DAY_MS) == START


def test_chronon_1032_a_reader_cannot_change_what_the_next_one_reads(store: OnlineStore) -> None:
    first = store.read("u1", ["i1", "i2"], NOW)
    kept = as_bytes(first)
    for array in (first.aggregates, first.item_keys, first.history_item_keys, first.history_occurred_at, *first.item):
        array[:] = -7
    assert as_bytes(store.read("u1", ["i1", "i2"], NOW)) == kept
    store.read("u1", ["i1", "i2"], NOW + 9 * DAY_MS)  # moves every window's running sums
    assert as_bytes(store.read("u1", ["i1", "i2"], NOW)) == kept


def test_chronon_905_stale_definitions_are_refused(
    store: OnlineStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "FINGERPRINT", "of yesterday")
    with pytest.raises(StoreMissing, match="of yesterday"):
        OnlineStore(LmdbJournal(tmp_path / "store"))


def test_openmldb_3749_no_row_of_the_future_is_in_the_window(store: OnlineStore) -> None:
    position = store.head()
    before = store.read("u1", ["i1"], NOW + 60_000)
    store.append([event(1)], NOW + 30_000)
    assert as_bytes(store.read("u1", ["i1"], NOW + 60_000, position=position)) == as_bytes(before)
    ahead = store.append([event(5, user_id="u1", occurred_at=NOW + 200_000)], NOW + 30_000)
    assert ahead.accepted == 1 and store.export()[0].occurred_at[-1] == NOW + 30_000  # clamped to our clock


def test_openmldb_1780_ties_are_in_the_order_of_position() -> None:
    log, items = one_user(*(("click", START, START) for _ in range(140)))
    log = log._replace(item_key=np.arange(1, 141))
    read = sweep.histories(log, np.array([USER]), np.array([135]), np.array([START]))
    assert read.row(0)[0].tolist() == list(range(8, 136))
    assert value("user_clicks_count_1h", log, items, 135, START) == 135


def test_openmldb_1629_threads_do_not_change_the_result() -> None:
    log, items, _ = random_log(9, 2_000, users=30, items=20, backwards=0.02)
    rows = random_rows(9, 600, log, users=30, items=20)
    results = {sweep.point_in_time(log, items, rows, threads=n).tobytes() for n in (1, 2, 3, 7, 64)}
    assert len(results) == 1


def test_metarank_940_the_order_of_rows_is_the_callers() -> None:
    log, items, _ = random_log(10, 500)
    rows = random_rows(10, 100, log)
    backwards = Rows(*(column[::-1].copy() for column in rows))
    there, back = (sweep.point_in_time(log, items, asked) for asked in (rows, backwards))
    assert back[::-1].tobytes() == there.tobytes()


def test_merlin_systems_243_serving_has_the_dtype_and_bytes_of_training(store: OnlineStore) -> None:
    log, items = store.export()
    names, as_of = ["i0", "i1", "i3"], NOW
    impressions: dict[str, Any] = {
        "impression_id": ["a", "b", "c"],
        "user_key": pa.array([USER] * 3),
        "item_key": pa.array(key64(names)),
        "occurred_at": pa.array([as_of] * 3),
        "shelf": ["feed", None, "feed"],
        "device": pa.array([None] * 3, pa.string()),
        "slot": pa.array([0] * 3, pa.int32()),
    }
    trained = impression_features(log, items, pa.table(impressions))
    zero = np.zeros(3, np.int64)
    shelf = np.array([int(key64(["feed"])[0]), 0, int(key64(["feed"])[0])])
    reads = [store.read("u1", [name], as_of, shelf_key=int(key)) for name, key in zip(names, shelf, strict=True)]
    aggregates = np.concatenate([read.aggregates for read in reads])
    item = ItemColumns(*(np.concatenate(column) for column in zip(*(read.item for read in reads), strict=True)))
    served = derive(aggregates, Context(zero + as_of, shelf, zero, zero, item))
    assert served.dtype == np.float32
    assert np.stack([trained[name].to_numpy() for name in FEATURES], axis=1).tobytes() == served.tobytes()
    held = dict(zip(HISTORY_COLUMNS, reads[0].history.row(0), strict=False))
    assert all(trained[name].to_pylist() == [column.tolist()] * 3 for name, column in held.items())
