"""Who a user is inside: pseudonyms, nobody's events, and a store in which no byte of a forgotten user is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.events import EVENT_SCHEMA, NOBODY, key64, query_key, with_event_keys
from recsys.features.catalog import AGGREGATES
from recsys.privacy.border import Border, Forgotten, PrivacyError
from recsys.settings import Settings, SettingsError, from_environment
from recsys.store.blocked import Blocked
from recsys.store.lmdb_journal import LmdbJournal
from recsys.store.online import OnlineStore
from recsys.store.redis_journal import RedisJournal
from tests.features.crowd import opened
from tests.features.redis_server import RedisServer
from tests.features.streams import random_log
from tests.features.test_store import NOW, as_bytes, event

SECRET = "a-user-with-a-name-to-look-for"
KEY = int(key64([SECRET])[0])
TRACES = (SECRET.encode(), KEY.to_bytes(8, "little", signed=True), KEY.to_bytes(8, "big", signed=True), b"%d" % KEY)


def assert_no_byte_left(folder: Path) -> None:
    """No file below holds the id, or its key in either byte order, packed or as digits."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        data = path.read_bytes()
        assert not [trace for trace in TRACES if trace in data], path


def lived(journal: Any) -> OnlineStore:
    store = OnlineStore(journal, create=True)
    log, _, table = random_log(1, 300)
    archived = np.where(np.arange(300) % 7 == 0, KEY, log.user_key)
    store.bootstrap(log._replace(user_key=archived), table, log.head)
    store.append([event(i, user_id=SECRET, request_id=f"{SECRET}:1") for i in range(40)], NOW + 30_000)
    store.append([event(i) for i in range(50, 70)], NOW + 70_000)
    search = {"event_id": f"{SECRET}:q", "kind": "search", "user_id": SECRET, "query": f"{SECRET} and whales"}
    others = {"event_id": "s", "kind": "search", "user_id": "u1", "query": f"the films of {SECRET}"}
    assert (
        store.append([others, search, search | {"event_id": f"{SECRET}:r", "query": "squid"}], NOW + 70_001).accepted
        == 3
    )
    nothing = Blocked.of([], [])
    for user in (SECRET, "u1"):
        store.block(user, Blocked.of(["i1", "i2"], ["c1"]), nothing)
        assert [len(keys) for keys in store.block(user, nothing, Blocked.of(["i2"], []))] == [1, 1]
    return store


def test_of_a_long_journal_a_user_leaves_alone(place: str, tmp_path: Path) -> None:
    journal = opened(place, create=True)
    store = OnlineStore(journal, create=True)
    log, _, table = random_log(1, 300)
    store.bootstrap(log, table, log.head)
    rows = [event(n, occurred_at=NOW, user_id=SECRET if n % 500 == 7 else f"u{n % 3}") for n in range(2_600)]
    assert store.append(rows, NOW).accepted == len(rows)
    before = journal.raw(0)
    assert store.forget(SECRET, Border(Forgotten(tmp_path / "home")).nobodys_json) == 6
    for number, (was, now) in enumerate(zip(before, journal.raw(0), strict=True)):
        assert (was[:2], was != now) == (now[:2], number % 500 == 7) and SECRET.encode() not in now[2]
    users = journal.records(0, store.head()).fields[:, 1]
    assert np.flatnonzero(users == 0).tolist() == list(range(7, 2_600, 500)) and KEY not in users
    store.close()


@pytest.mark.parametrize("kind", ["lmdb", pytest.param("redis", marks=pytest.mark.redis)])
def test_a_forgotten_user_leaves_no_byte_in_the_store_and_the_items_keep_their_counts(
    kind: str, tmp_path: Path
) -> None:
    border = Border(Forgotten(tmp_path / "home"))
    folder = tmp_path / "store"
    folder.mkdir()
    with RedisServer(folder) if kind == "redis" else _nothing() as server:

        def open_journal() -> Any:
            return RedisJournal(server.url) if server is not None else LmdbJournal(folder, create=True)

        store = lived(open_journal())
        other = OnlineStore(open_journal())  # another process holds it meanwhile
        names = ["i0", "i1", "i2", "i3"]
        mine, theirs = (other.read(user, names, NOW + 90_000) for user in (SECRET, "u1"))
        assert mine.aggregates[:, 0].any() and len(mine.history_kinds) and SECRET in str(store.tail(0).to_pylist())
        assert theirs.judged.searched[-1] == query_key(f"the films of {SECRET}")
        assert store.forget(SECRET, border.nobodys_json) == 42 + 43
        for held in (other, store, OnlineStore(open_journal())):
            now = held.read(SECRET, names, NOW + 90_000)
            of_user = [i for i, name in enumerate(AGGREGATES) if name.startswith("user")]
            of_items = [i for i in range(len(AGGREGATES)) if i not in of_user]
            assert not now.aggregates[:, of_user].any() and not len(now.history_kinds)
            assert now.aggregates[:, of_items].tobytes() == mine.aggregates[:, of_items].tobytes()
            others = held.read("u1", names, NOW + 90_000)
            of_search = [AGGREGATES.index(f"user_searched{name}_all") for name in ("_at_latest", "_last")]
            assert (others.aggregates[:, of_search] != theirs.aggregates[:, of_search]).all()  # it named somebody
            others.aggregates[:, of_search] = theirs.aggregates[:, of_search]
            assert as_bytes(others)[:-1] == as_bytes(theirs)[:-1]
            assert theirs.judged.searched[-1] not in held.judged("u1").searched
            assert [len(held.blocked(user).items) for user in (SECRET, "u1")] == [0, 1]
            tail = held.tail(0).to_pylist()  # what a later day's raw events read: they still count for the items
            assert [row["user_id"] for row in tail].count(NOBODY) == 43 and len(tail) == 63
            assert SECRET not in str(tail) and len({row["event_id"] for row in tail}) == 63
        assert other.append([event(80)], NOW + 99_000).accepted == 1  # and goes on
        assert store.read("u1", names, NOW + 99_000).position == other.head()
        if server is not None:
            for key in server.client().scan_iter("*"):
                kept = server.client().dump(key) + key
                assert not [trace for trace in TRACES if trace in kept], key
        assert_no_byte_left(folder)  # with Redis: its append-only files
        before = other.read("u1", names, NOW + 99_000)
        assert theirs.judged.searched[-1] == query_key(f"the films of {SECRET}")
        assert store.forget(SECRET, border.nobodys_json) == 0
        assert as_bytes(other.read("u1", names, NOW + 99_000)) == as_bytes(before)
        for held in (store, other):
            held.close()


def test_many_forgotten_rows_leave_nothing_in_the_gaps_of_pages(tmp_path: Path) -> None:
    store = OnlineStore(LmdbJournal(tmp_path / "store", create=True), create=True)
    log, _, table = random_log(1, 300)
    store.bootstrap(log, table, log.head)
    for batch in range(20):
        users = [SECRET if i % 3 else f"u{i}" for i in range(300)]
        events = [event(batch * 300 + i, user_id=user, occurred_at=NOW) for i, user in enumerate(users)]
        store.append([{**e, "request_id": f"{e['user_id']}:{i}"} for i, e in enumerate(events)], NOW)
    assert store.forget(SECRET, Border(Forgotten(tmp_path / "home")).nobodys_json) == 20 * 200
    assert_no_byte_left(tmp_path / "store")
    store.close()


def delivered() -> pa.Table:
    rows = [
        {"event_id": f"{user}:i1:{n}", "user_id": user, "item_id": "i1", "kind": "click", "device": "phone",
         "request_id": "0" * 32, "impression_id": f"{user}:i1:0", "occurred_at": n, "received_at": n}
        for n, user in enumerate(["ann", "bob", "ann", None])
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=EVENT_SCHEMA)


def test_pseudonyms_are_stable_keyed_and_the_same_at_both_borders(tmp_path: Path) -> None:
    events = delivered()
    one, other = (Border(Forgotten(tmp_path), key).events(events) for key in (b"one", b"other"))
    users = one["user_id"].to_pylist()
    assert users[0] == users[2] != users[1] and users[3] is None and users[0] != other["user_id"][0].as_py()
    assert "ann" not in str(one.to_pylist()) and one.schema == EVENT_SCHEMA
    assert one["request_id"].to_pylist() == ["0" * 32] * 4  # an id of our own tells nothing, and stays linked
    assert one["event_id"][0].as_py() == one["impression_id"][2].as_py()  # the outcome still finds its impression
    border = Border(Forgotten(tmp_path), b"one")
    said = [border.event(row) | {"event_key": None} for row in events.to_pylist()[:3]]  # the store gives the key then
    assert said == [row | {"event_key": None} for row in one.to_pylist()[:3]]  # the service's border
    assert border.user("ann") == users[0] and border.users(events.select(["user_id"]).slice(0, 2)).num_rows == 2
    assert Border(Forgotten(tmp_path)).events(events).equals(with_event_keys(events))


@pytest.mark.parametrize("user", [SECRET, "0123456789abcdef" * 2])
def test_an_id_of_a_caller_that_looks_hidden_tells_nobody_either(tmp_path: Path, user: str) -> None:
    """Left as it was, its user could not be forgotten: their id would be found in it."""
    border = Border(Forgotten(tmp_path))
    row = {"event_id": f"nobody:{user}", "event_key": "k", "user_id": user, "item_id": "i1", "kind": "click"}
    once = border.nobodys_json(json.dumps(row).encode())
    assert user.encode() not in once and border.nobodys_json(once) == once
    table = pa.Table.from_pylist([row], schema=EVENT_SCHEMA)
    (hidden,) = border.nobodys(table, pa.array([True])).to_pylist()
    assert hidden["event_id"] == json.loads(once)["event_id"] and user not in str(hidden)


def test_the_forgotten_are_known_again_by_a_hash_and_become_nobody(tmp_path: Path) -> None:
    events, border = delivered(), Border(Forgotten(tmp_path))
    running = Border(Forgotten(tmp_path))  # a service that runs meanwhile
    assert running.event(events.to_pylist()[0]) is not None
    border.forgotten.note({"who": [border.forgotten.digest("ann")], "at": 1, "state": "begun"})
    assert running.user("ann") == NOBODY and running.user("bob") == "bob"
    assert running.event(events.to_pylist()[0]) is None
    masked = running.events(events)
    assert "ann" not in str(masked.to_pylist())
    assert masked["user_id"].to_pylist() == [NOBODY, "bob", NOBODY, None]
    assert masked["impression_id"].to_pylist() == [None, "bob:i1:0", None, "None:i1:0"]
    assert masked["event_id"][0].as_py() != masked["event_id"][2].as_py()
    assert masked.equals(border.events(events))  # the same bytes whenever the source is read
    assert masked.select(["item_id", "kind", "occurred_at"]).equals(events.select(["item_id", "kind", "occurred_at"]))
    keyed = Border(Forgotten(tmp_path), b"a key that came later")
    assert keyed.user("ann") == NOBODY
    assert "ann" not in (tmp_path / "audit" / "forgotten.jsonl").read_text()
    assert (tmp_path / "audit" / "key").stat().st_mode & 0o777 == 0o600
    rejected = pa.table({"origin": ["f:1"], "reason": ["torn"], "text": ["ann,click"]})
    assert border.rejected(rejected)["text"].to_pylist() == [""]


def test_a_line_that_was_torn_by_a_crash_hides_no_one(tmp_path: Path) -> None:
    forgotten = Forgotten(tmp_path)
    forgotten.note({"who": [forgotten.digest("ann")], "at": 1, "state": "begun"})
    with (tmp_path / "audit" / "forgotten.jsonl").open("a") as file:
        file.write('{"who": ["12')
    forgotten.note({"who": [forgotten.digest("bob")], "at": 2, "state": "begun"})
    assert "ann" in Forgotten(tmp_path) and "bob" in Forgotten(tmp_path) and "cy" not in Forgotten(tmp_path)


def test_without_its_key_the_audit_refuses_to_go_on(tmp_path: Path) -> None:
    forgotten = Forgotten(tmp_path)
    forgotten.note({"who": [forgotten.digest("ann")], "at": 1, "state": "done"})
    (tmp_path / "audit" / "key").unlink()
    with pytest.raises(PrivacyError, match="restore it"):
        Border(Forgotten(tmp_path)).user("ann")


def test_a_short_key_is_refused_and_never_shown(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="RECSYS_PSEUDONYM_KEY"):
        from_environment({"RECSYS_PSEUDONYM_KEY": "short"})
    settings = Settings.model_validate({"pseudonym_key": "a-key-of-the-border", "home": tmp_path})
    assert "a-key-of" not in repr(settings) and "a-key-of" not in repr(Border.of(settings))
    assert json.dumps(Border.of(settings).names("ann"))


class _nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None: ...
