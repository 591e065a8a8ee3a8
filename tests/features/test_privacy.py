"""A forgotten user leaves no byte behind, the items keep their counts, and nobody else notices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.events import EVENT_SCHEMA, key64
from recsys.features.catalog import AGGREGATES
from recsys.features.privacy import forget, pseudonym, pseudonymise
from recsys.features.store import OnlineStore
from recsys.features.store_lmdb import LmdbJournal
from recsys.features.store_redis import RedisJournal
from tests.features.redis_server import RedisServer
from tests.features.streams import random_log
from tests.features.test_store import NOW, as_bytes, event

SECRET = "a-user-with-a-name-to-look-for"
KEY = int(key64([SECRET])[0])


def assert_no_byte_left(home: Path) -> None:
    """No file below `home` holds the id, or its key in either byte order, packed or as digits."""
    traces = (SECRET.encode(), KEY.to_bytes(8, "little", signed=True), KEY.to_bytes(8, "big", signed=True))
    files = [path for path in home.rglob("*") if path.is_file()]
    assert files
    for path in files:
        data = path.read_bytes()
        for trace in (*traces, str(KEY).encode()):
            assert trace not in data, path
        if path.suffix == ".parquet":
            table = pq.read_table(path)  # compressed: look at the values themselves
            text = json.dumps([table[n].to_pylist() for n in table.column_names], default=str)
            assert SECRET not in text and str(KEY) not in text, path


def lived(journal: Any) -> OnlineStore:
    store = OnlineStore(journal, create=True)
    log, _, table = random_log(1, 300)
    archived = np.where(np.arange(300) % 7 == 0, KEY, log.user_key)
    store.bootstrap(log._replace(user_key=archived), table, log.head)
    store.append([event(i, user_id=SECRET, request_id=f"{SECRET}:1") for i in range(40)], NOW + 30_000)
    store.append([event(i) for i in range(50, 70)], NOW + 70_000)
    return store


@pytest.mark.parametrize("kind", ["lmdb", pytest.param("redis", marks=pytest.mark.redis)])
def test_a_forgotten_user_leaves_no_byte_in_the_store_and_the_items_keep_their_counts(
    kind: str, tmp_path: Path
) -> None:
    with RedisServer(tmp_path) if kind == "redis" else _nothing() as server:
        folder = tmp_path / "store"

        def open_journal() -> Any:
            return RedisJournal(server.url) if server is not None else LmdbJournal(folder, create=True)

        store = lived(open_journal())
        other = OnlineStore(open_journal())  # another process holds it meanwhile
        names = ["i0", "i1", "i2", "i3"]
        mine, theirs = (other.read(user, names, NOW + 90_000) for user in (SECRET, "u1"))
        assert mine.aggregates[:, 0].any() and len(mine.history_kinds) and SECRET in str(store.tail(0).to_pylist())
        assert store.forget(SECRET) == 40 + 43
        for held in (other, store, OnlineStore(open_journal())):
            now = held.read(SECRET, names, NOW + 90_000)
            of_user = [i for i, name in enumerate(AGGREGATES) if name.startswith("user")]
            of_items = [i for i in range(len(AGGREGATES)) if i not in of_user]
            assert not now.aggregates[:, of_user].any() and not len(now.history_kinds)
            assert now.aggregates[:, of_items].tobytes() == mine.aggregates[:, of_items].tobytes()
            assert as_bytes(held.read("u1", names, NOW + 90_000)) == as_bytes(theirs)
            assert SECRET not in str(held.tail(0).to_pylist()) and held.tail(0).num_rows == 20
        assert other.append([event(80)], NOW + 99_000).accepted == 1  # and goes on
        assert store.read("u1", names, NOW + 99_000).position == other.head()
        if server is not None:
            while server.client().info("persistence")["aof_rewrite_in_progress"]:
                pass
        assert_no_byte_left(tmp_path if server is not None else folder)
        for held in (store, other):
            held.close()


def test_forget_covers_every_table_below_home_and_leaves_an_audit_record(tmp_path: Path) -> None:
    store = lived(LmdbJournal(tmp_path / "store", create=True))
    users = [SECRET, "u1", SECRET, "u2"]
    ids = [f"{user}:{i}" for i, user in enumerate(users)]
    keys = key64(users)
    tables = {
        "lake/raw/events/d.parquet": {"event_id": ids, "kind": ["click"] * 4, "user_id": users},
        "lake/cleaned/events/d.parquet": {
            "event_id": ids, "kind": ["click"] * 4, "user_id": users, "user_key": keys, "item_id": ["i1"] * 4,
            "impression_id": ids, "request_id": ids, "session_id": ids,
        },
        "lake/cleaned/impressions/d.parquet": {"impression_id": ids, "user_id": users, "user_key": keys},
        "lake/features/impressions/d.parquet": {"impression_id": ids, "x": [1.0, 2.0, 3.0, 4.0]},
        "reports/predictions.parquet": {"user_id": users, "score": [1.0, 2.0, 3.0, 4.0]},
        "lake/cleaned/items.parquet": {"item_id": ["i1"]},
    }  # fmt: skip
    for name, columns in tables.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)
    record = forget(SECRET, tmp_path, store, secret=b"key of the border", at=NOW)
    assert_no_byte_left(tmp_path)
    cleaned = pq.read_table(tmp_path / "lake/cleaned/events/d.parquet")
    assert cleaned["item_id"].to_pylist() == ["i1"] * 4  # the item's events are all there
    assert cleaned["user_key"].to_pylist() == [0, keys[1], 0, keys[3]]
    assert len(set(cleaned["event_id"].to_pylist())) == 4
    assert pq.read_table(tmp_path / "lake/features/impressions/d.parquet")["x"].to_pylist() == [2.0, 4.0]
    assert (record.store_events, record.tables, record.rows_removed, record.rows_made_nobodys) == (83, 5, 8, 2)
    written = json.loads((tmp_path / "audit" / "forgotten.jsonl").read_text())
    assert written["pseudonym"] == pseudonym(SECRET, b"key of the border") and written["at"] == NOW
    again = forget(SECRET, tmp_path, store, secret=b"key of the border", at=NOW)
    assert (again.store_events, again.tables) == (0, 0)
    store.close()


def test_pseudonyms_are_stable_keyed_and_do_not_tell() -> None:
    events = pa.Table.from_pylist([{"user_id": "ann"}, {"user_id": None}, {"user_id": "ann"}], schema=EVENT_SCHEMA)
    one, other = (pseudonymise(events, secret)["user_id"].to_pylist() for secret in (b"one", b"other"))
    assert one[0] == one[2] == pseudonym("ann", b"one") != other[0] and one[1] is None
    assert "ann" not in str(one)
    assert pseudonymise(events, b"one").schema == EVENT_SCHEMA


class _nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None: ...
