"""What a planted bug has to get past: short runs of every part of the engine against the oracle.

`judge(folder)` raises AssertionError, or whatever the bug raises, when the engine is wrong. It imports the engine
when it is called, so that test_mutations.py can put a mutated copy in the way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def judge(folder: Path) -> None:
    """Every check; `folder` is empty and writable."""
    import numpy as np

    from tests.features.streams import random_log, random_rows

    log, items, table = random_log(11, 160, users=5, items=4, backwards=0.1, late=0.3)
    rows = random_rows(11, 60, log, users=6, items=5)
    log = log._replace(watch_ms=log.watch_ms * 1_009 + 7)  # sums that float32 cannot hold
    aggregates(log, items, rows)
    reading_positions(log)
    defaults()
    store(folder / "a", log, table, np.int64(0))


def aggregates(log: Any, items: Any, rows: Any) -> None:
    import numpy as np

    from recsys.features import sweep
    from recsys.features.impressions import replayed
    from tests.features.oracle import by_hand, history_by_hand

    truth = by_hand(log, items, *rows)
    assert np.array_equal(replayed(log, items, rows), truth), "replay"
    for threads in (1, 3):
        assert np.array_equal(sweep.point_in_time(log, items, rows, threads=threads), truth), "sweep"
    histories = sweep.histories(log, rows[0], rows[2], rows[3])
    for r in range(len(rows[0])):
        got = list(zip(*histories.row(r), strict=True))
        assert got == history_by_hand(log, int(rows[0][r]), int(rows[2][r])), "history"


def reading_positions(log: Any) -> None:
    import numpy as np

    from recsys.features.sweep import read_positions

    for instant, position in zip(log.received_at, read_positions(log, log.received_at), strict=True):
        received = np.maximum.accumulate(log.received_at)
        before = log.position[received < instant]
        assert position == (before[-1] if len(before) else 0), "strictly before"


def defaults() -> None:
    import numpy as np

    from recsys.events import DAY_MS, HOUR_MS
    from recsys.features.catalog import AGGREGATES, DEFAULTS, FEATURES
    from recsys.features.derive import Context, derive
    from recsys.features.log import ItemColumns

    zero = np.zeros(2, np.int64)
    as_of = np.array([10 * DAY_MS + 5 * HOUR_MS, 11 * DAY_MS + 23 * HOUR_MS])  # a Sunday and a Monday, 1970
    nothing = Context(as_of, zero, zero, zero - 1, ItemColumns(zero, zero, zero, zero, zero))
    rows = derive(np.zeros((2, len(AGGREGATES)), np.int64), nothing)
    assert rows.dtype == np.float32
    expected = dict(DEFAULTS)
    for r, (hour, day) in enumerate(((5, 6), (23, 0))):
        expected |= {"hour_of_day": hour, "day_of_week": day}
        assert rows[r].tolist() == [np.float32(expected[name]) for name in FEATURES], "defaults"


def store(folder: Path, log: Any, table: Any, zero: Any) -> None:
    import numpy as np
    import pyarrow as pa

    import recsys.store.online as module
    from recsys.events import DAY_MS, HOUR_MS, event_key, first_position, key64
    from recsys.store.lmdb_journal import LmdbJournal
    from tests.features.oracle import by_hand, history_by_hand

    now = int(log.received_at.max()) // DAY_MS * DAY_MS + 3 * DAY_MS - HOUR_MS  # the next local day in UTC+8
    names = ["i0", "i1", "i3"]

    def event(number: int, **changes: Any) -> dict[str, Any]:
        kind = ("impression", "click", "play", "like", "click", "long_view")[number % 6]
        item = f"i{number % 4}"
        return {"event_id": f"e{number}", "kind": kind, "user_id": "u0", "item_id": item, "occurred_at": now} | changes

    def check(held: Any, as_of: int) -> Any:
        read = held.read("u0", names, as_of)
        whole, items = held.export()
        rows = np.repeat(key64(["u0"]), 3), key64(names), np.full(3, read.position), np.full(3, as_of)
        assert np.array_equal(read.aggregates, by_hand(whole, items, *rows)), "store"
        recent = list(zip(*read.history.row(0), strict=True))
        assert recent == history_by_hand(whole, int(rows[0][0]), read.position), "store's history"
        return read

    held = module.OnlineStore(LmdbJournal(folder, create=True), create=True)
    old = event_key("old", "u0", "click", "i0", now - DAY_MS)
    held.bootstrap(log, table, log.head, event_keys=[old], utc_offset_ms=8 * HOUR_MS)
    check(held, now)
    batch = [event(i) for i in range(160)] + [
        event(161, occurred_at=now + 60_000),
        event(3),
        event(162, event_id="old", kind="click", item_id="i0", occurred_at=now - DAY_MS),
    ]
    taken = held.append(batch, now)
    assert taken[:2] == (161, 2), "idempotent within a batch"
    assert taken.position >> 32 == first_position((now + 8 * HOUR_MS) // DAY_MS) >> 32, "local day"
    assert held.append(batch, now)[:2] == (0, 163), "idempotent"
    assert max(held.export()[0].occurred_at) == now, "clamped"
    before = check(held, now)
    check(held, now + HOUR_MS)
    check(held, now - 20 * DAY_MS)
    held.put_items(pa.Table.from_pylist([table.to_pylist()[0] | {"duration_ms": 1}], schema=table.schema), now)
    later = check(held, now)
    for read in (before, later):
        again = held.read("u0", names, now, position=read.position)
        assert np.array_equal(again.item.duration_ms, read.item.duration_ms), "items at a position"
        assert np.array_equal(again.aggregates, read.aggregates), "a past position"
    live = len(held.export()[0].position)
    held.close()
    held = module.OnlineStore(LmdbJournal(folder))
    assert len(held.export()[0].position) == live, "after a restart"
    assert np.array_equal(check(held, now).aggregates, later.aggregates), "after a restart"
    held.append([event(170)], now)
    check(held, now)
    held.bootstrap(log, table, log.head, event_keys=[old], utc_offset_ms=8 * HOUR_MS)
    assert len(held.export()[0].position) == live + 1, "after another bootstrap"
    check(held, now)
    held.close()
    module.FINGERPRINT = "another"
    try:
        module.OnlineStore(LmdbJournal(folder))
    except module.StoreMissing:
        return
    raise AssertionError("a store of another fingerprint was opened")
