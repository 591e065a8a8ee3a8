"""`forget` over a whole RECSYS_HOME: nothing of the user is left, the others and the items do not notice."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.events import NOBODY, key64
from recsys.features.catalog import AGGREGATES, FEATURES, FINGERPRINT
from recsys.features.parity import audit_served, replay
from recsys.privacy.border import Border, Forgotten, PrivacyError
from recsys.serving import served_log
from recsys.serving.forget import forget, traces
from recsys.serving.served_log import Served, ServedLog
from recsys.store.lmdb_journal import LmdbJournal
from recsys.store.online import OnlineStore
from tests.features.test_privacy import KEY, SECRET, TRACES, assert_no_byte_left, lived
from tests.features.test_store import NOW

USERS = [SECRET, "u1", SECRET, "u2"]
SEARCHED = {"user_searched_at_latest_all", "user_searched_last_all"}
IDS = [f"{user}:{i}" for i, user in enumerate(USERS)]


def answer(user: str, number: int, store: OnlineStore) -> Served:
    """One served row, with the features that a replay gives."""
    asked = {"user_id": [user], "item_id": ["i1"], "position": [store.head()], "as_of": [NOW + 90_000]}
    none = pa.nulls(1, pa.string())
    features = replay(
        store.export()[0], store.items_at, pa.table({**asked, "log_shelf": none, "device": none, "said": none})
    )
    return Served(
        request_id=f"{number:032x}", served_at=NOW, user_id=user, shelf="feed", log_shelf="", device=None, bundle="b",
        rung="full", position=store.head(), as_of=NOW + 90_000, fingerprint=FINGERPRINT, item_id=["i1"], slot=[0],
        source=["s"], score=[1.0], p_click=[0.5], watch_seconds=[1.0], features=features,
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Everything that a home holds, in small, with the user in all of it."""
    store = lived(LmdbJournal(tmp_path / "store", create=True))
    keys = key64(USERS)
    tables: dict[str, dict[str, Any]] = {
        "lake/raw/events/d.parquet": {"event_id": IDS, "kind": ["impression"] * 4, "user_id": USERS},
        "lake/raw/rejected/d.parquet": {"origin": ["f:1"], "reason": ["torn"], "text": [f"click,{SECRET},i1"]},
        "lake/raw/users.parquet": {"user_id": ["u1", SECRET, "u2"]},
        "lake/raw/user_attributes.parquet": {
            "user_id": ["u1", SECRET], "attributes": [["plan=free"], [f"nick={SECRET}"]], "known_from": [0, 0],
        },
        "lake/cleaned/events/d.parquet": {
            "event_id": IDS, "kind": ["impression"] * 4, "user_id": USERS, "user_key": keys, "item_id": ["i1"] * 4,
            "impression_id": IDS, "request_id": IDS, "session_id": IDS,
        },
        "lake/cleaned/searches/d.parquet": {
            "event_id": IDS, "user_id": USERS, "user_key": keys, "query": [f"who is {u}" for u in USERS],
        },
        "lake/cleaned/quarantine/d.parquet": {
            "event_id": [IDS[0]], "kind": ["what"], "user_id": pa.nulls(1, pa.string()), "reason": ["unknown_kind"],
        },
        "lake/cleaned/impressions/d.parquet": {"impression_id": IDS, "user_id": USERS, "user_key": keys},
        "lake/features/impressions/d.parquet": {"impression_id": IDS, "x": [1.0, 2.0, 3.0, 4.0]},
        "lake/retrieval/candidates.parquet": {"user_key": keys, "source": ["s"] * 4},
        "reports/predictions.parquet": {"user_id": USERS, "score": [1.0, 2.0, 3.0, 4.0]},
        "lake/cleaned/items.parquet": {"item_id": ["i1"], "title": [f"{SECRET} live"]},
    }  # fmt: skip
    for name, columns in tables.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)
    # An item's title is not the user's, even if it says the same: keep it out of the way of the byte scan.
    pq.write_table(pa.table({"item_id": ["i1"], "title": ["live"]}), tmp_path / "lake/cleaned/items.parquet")
    log = ServedLog(tmp_path / "served_log")
    for number, user in enumerate(USERS):
        log.append(answer(user, number, store))
    log.close()
    with next((tmp_path / "served_log").glob("*/*.served")).open("ab") as segment:
        segment.write(b"\xff\x00\x00\x00torn" + SECRET.encode())  # by a worker that was killed
    (tmp_path / "run.log").write_text(f"one line\nuser {SECRET} failed\n")
    (tmp_path / "dbt").mkdir()
    (tmp_path / "dbt" / "scratch.duckdb").write_bytes(SECRET.encode())
    (tmp_path / "lake" / "raw" / ".events.parquet.7.tmp").write_bytes(SECRET.encode())
    manifest = tmp_path / "registry" / "bundles" / "b" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"bundle_id": "b", "lineage": {"example_users": ["u1", SECRET]}}))
    manifest.chmod(0o444)
    (tmp_path / "dagster").mkdir()
    with sqlite3.connect(tmp_path / "dagster" / "events.db") as database:
        database.execute("create table events (id integer, said text)")
        database.executemany("insert into events values (?, ?)", [(1, f"unexpected ({SECRET})"), (2, "fine")])
    store.close()
    return tmp_path


def opened(home: Path) -> OnlineStore:
    return OnlineStore(LmdbJournal(home / "store"))


def test_nothing_of_the_user_is_left_and_what_they_did_still_counts(home: Path) -> None:
    assert len(traces([SECRET], home)) > 10
    store = opened(home)
    items = [store.read(user, ["i0", "i1"], NOW + 90_000) for user in ("u1", "a stranger")]
    gone = forget(SECRET, home, Border(Forgotten(home)), store, NOW)
    assert_no_byte_left(home)
    for path in home.rglob("*.parquet"):  # compressed: look at the values themselves
        table = pq.read_table(path)
        text = json.dumps([table[n].to_pylist() for n in table.column_names], default=str)
        assert SECRET not in text and str(KEY) not in text, path
    assert (gone.store_events, gone.served_rows, gone.rows_removed, gone.rows_made_nobodys) == (85, 2, 10, 7)
    cleaned = pq.read_table(home / "lake/cleaned/events/d.parquet")
    assert cleaned["item_id"].to_pylist() == ["i1"] * 4  # the item's events are all there
    assert cleaned["user_id"].to_pylist() == [NOBODY, "u1", NOBODY, "u2"] and cleaned["user_key"][0].as_py() == 0
    assert cleaned["session_id"].to_pylist() == [None, IDS[1], None, IDS[3]]
    raw = pq.read_table(home / "lake/raw/events/d.parquet")
    assert raw["event_id"].equals(cleaned["event_id"]) and len(set(raw["event_id"].to_pylist())) == 4
    assert pq.read_table(home / "lake/features/impressions/d.parquet")["x"].to_pylist() == [2.0, 4.0]
    for user, before in zip(("u1", "a stranger"), items, strict=True):
        differ = (store.read(user, ["i0", "i1"], NOW + 90_000).aggregates != before.aggregates).any(axis=0)
        # u1's last search named who is forgotten
        assert {AGGREGATES[i] for i in np.flatnonzero(differ)} == (SEARCHED if user == "u1" else set())
    served = served_log.read(served_log.segments(home / "served_log"))
    assert served["user_id"].to_pylist() == ["u1", "u2"]
    parity = audit_served(store.export()[0], store.items_at, served)
    assert parity.values == 2 * len(FEATURES)  # the others' rows still replay, but for that search
    assert all("search" in name for name in parity.worst)
    assert json.loads((home / "registry/bundles/b/manifest.json").read_text())["lineage"] == {"example_users": ["u1"]}
    assert (home / "run.log").read_text() == f"one line\nuser {NOBODY} failed\n"
    begun, done = map(json.loads, (home / "audit/forgotten.jsonl").read_text().splitlines())
    assert begun["state"] == "begun" and done["state"] == "done" and done["at"] == NOW and done["store_events"] == 85
    assert done["who"] == [Forgotten(home).digest(SECRET)]
    again = forget(SECRET, home, Border(Forgotten(home)), store, NOW)
    assert (again.store_events, again.served_rows, again.rows_removed, again.rows_made_nobodys) == (0, 0, 0, 0)
    store.close()


def test_a_pseudonym_and_the_id_from_before_it_are_both_forgotten(home: Path) -> None:
    border = Border(Forgotten(home), b"the key of the border")
    inside = border.user(SECRET)
    pq.write_table(pa.table({"user_id": [inside, "u1"]}), home / "lake" / "later.parquet")
    store = opened(home)
    forget(SECRET, home, border, store, NOW)
    store.close()
    assert_no_byte_left(home)
    assert traces([inside, SECRET], home) == []
    assert pq.read_table(home / "lake" / "later.parquet")["user_id"].to_pylist() == ["u1"]


def _forget_and_die(home: Path, at: int) -> None:
    """In a child: the `at`-th change of a name in the file system is the last thing it does."""
    calls = 0
    real = os.replace

    def replace(*arguments: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            os._exit(9)
        real(*arguments, **options)

    os.replace = replace
    store = opened(home)
    forget(SECRET, home, Border(Forgotten(home)), store, NOW)
    os._exit(0)


def test_killed_at_any_step_and_repeated_it_is_complete(home: Path) -> None:
    context = multiprocessing.get_context("fork")
    killed = 0
    for step in range(1, 40):
        child = context.Process(target=_forget_and_die, args=(home, step))
        child.start()
        child.join(120)
        if child.exitcode == 0:
            break
        assert child.exitcode == 9
        killed += 1
        store = opened(home)  # a service goes on meanwhile
        assert store.read("u1", ["i1"], NOW + 90_000).aggregates.any()
        store.close()
        assert SECRET in Forgotten(home)
    assert killed > 4  # each run ends at least the step at which the one before it died
    assert_no_byte_left(home)
    assert pq.read_table(home / "lake/features/impressions/d.parquet")["x"].to_pylist() == [2.0, 4.0]
    assert Forgotten(home).lines()[-1]["state"] == "done"


def test_a_worker_that_writes_meanwhile_loses_no_row(tmp_path: Path) -> None:
    store = lived(LmdbJournal(tmp_path / "store", create=True))
    log = ServedLog(tmp_path / "served_log")
    for number, user in enumerate([SECRET, "u1"]):
        log.append(answer(user, number, store))
    assert served_log.forget(tmp_path / "served_log", [SECRET]) == (1, 1)
    for number in range(2, 5):
        log.append(answer("u2", number, store))  # its segment was replaced under it: it begins another
    log.close()
    segments = served_log.segments(tmp_path / "served_log")
    assert len(segments) == 2
    assert served_log.read(segments)["user_id"].to_pylist() == ["u1", "u2", "u2", "u2"]
    store.close()


def test_what_cannot_be_rewritten_is_named_and_the_user_stays_noted(home: Path) -> None:
    (home / "notes.bin").write_bytes(b"\x00" + SECRET.encode())
    store = opened(home)
    with pytest.raises(PrivacyError, match=r"notes\.bin"):
        forget(SECRET, home, Border(Forgotten(home)), store, NOW)
    store.close()
    assert SECRET in Forgotten(home) and Forgotten(home).lines()[-1]["state"] == "begun"


def test_a_short_id_is_a_value_and_no_part_of_another(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user_id": ["7", "77", "17"], "n": [7, 77, 17]}), tmp_path / "t.parquet")
    pq.write_table(pa.table({"user_id": [7, 77]}), tmp_path / "numbers.parquet")
    (tmp_path / "run.log").write_text("7 rows, 77 columns")
    forget("7", tmp_path, Border(Forgotten(tmp_path)), None, NOW)
    assert pq.read_table(tmp_path / "t.parquet")["user_id"].to_pylist() == ["77", "17"]
    assert pq.read_table(tmp_path / "numbers.parquet")["user_id"].to_pylist() == [77]
    assert (tmp_path / "run.log").read_text() == "7 rows, 77 columns"


def test_a_user_who_is_numbered_like_an_item_or_a_creator_can_be_forgotten(home: Path) -> None:
    """Models and bundles hold the keys of items for good: they are no trace of the user of that number."""
    catalogue = {"item_id": [SECRET, "i1"], "creator_id": ["u1", "c"], "category": ["x", None], "tags": [["x"], []]}
    pq.write_table(pa.table(catalogue), home / "lake/cleaned/items.parquet")
    (home / "models").mkdir()
    (home / "models" / "towers.npz").write_bytes(key64([SECRET, "u1"]).tobytes())
    store = opened(home)
    for user in (SECRET, "u1"):
        forget(user, home, Border(Forgotten(home)), store, NOW)
        assert user not in store.tail(0)["user_id"].to_pylist()
    store.close()
    tables = {path: pq.read_table(path) for path in home.rglob("*.parquet")}
    users = {u for table in tables.values() if "user_id" in table.column_names for u in table["user_id"].to_pylist()}
    assert users <= {NOBODY, "u2", None}
    assert tables[home / "lake/cleaned/items.parquet"]["item_id"].to_pylist() == [SECRET, "i1"]


def test_every_kind_of_trace_is_seen(tmp_path: Path) -> None:
    for number, trace in enumerate(TRACES):
        (tmp_path / f"{number}.bin").write_bytes(b"\x01 " + trace + b" \x02")
    assert traces([SECRET], tmp_path) == [f"{n}.bin" for n in range(len(TRACES))]
    assert np.array([KEY]).tobytes() in TRACES
