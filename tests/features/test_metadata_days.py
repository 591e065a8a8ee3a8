"""Days taken in one by one while items change, by file and live: every check green, and no old row changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recsys.events import DAY_MS, HOUR_MS, ITEM_SCHEMA, MINUTE_MS, key64
from recsys.features.catalog import FEATURES, FINGERPRINT
from recsys.features.derive import Context, derive
from recsys.features.parity import audit_served
from recsys.lake import Lake
from recsys.settings import from_environment
from recsys.sources.source import day_number
from recsys.store import intake
from recsys.store.journal import ITEM_RECORD
from recsys.store.opening import open_store, told_events
from recsys.vocabulary import MAX_SLOT, TOO_LATE
from recsys_assets.checks.nothing import has_failed

DAYS = ("2026-11-02", "2026-11-03", "2026-11-04", "2026-11-05")
ITEMS, USERS = 12, 5
Rows = list[dict[str, Any]]


def at(day: str, more: int = 0) -> int:
    return day_number(day) * DAY_MS + more


def catalogue() -> Rows:
    return [
        {"item_id": f"i{i}", "category": f"topic{i % 3}", "creator_id": f"maker{i % 4}", "title": f"title {i}"}
        | {"duration_ms": 60_000 + i, "published_at": at(DAYS[0]) - DAY_MS, "is_available": True}
        for i in range(ITEMS)
    ]


def events(day: str, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    rows = []
    for n in range(60):
        shared = {"user_id": f"u{rng.integers(USERS)}", "item_id": f"i{rng.integers(ITEMS)}", "shelf": "feed"}
        shown = at(day, 8 * HOUR_MS + n * 10 * MINUTE_MS)
        rows.append({"event_id": f"{day}-{n}", "kind": "impression", "occurred_at": shown, **shared})
        kind = ("click", "long_view", "skip")[rng.integers(3)]
        rows.append({"event_id": f"{day}-{n}-{kind}", "kind": kind, "occurred_at": shown + MINUTE_MS, **shared})
    return rows


def write(folder: Path, table: str, rows: Rows) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{table}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    home = tmp_path / "home"
    for name, value in {"HOME": home, "SOURCE": "files", "DATA": tmp_path / "data", "JOURNAL_DAYS": 0}.items():
        monkeypatch.setenv(f"RECSYS_{name}", str(value))
    return Lake(home)


def take_in(first: str, last: str) -> None:
    """As the job `observe` does it, up to the online state; every check has to hold."""
    from dagster_pyspark import LazyPySparkResource

    from recsys_assets.defs.cleaned import tables
    from recsys_assets.defs.features import impression_features, online_state
    from recsys_assets.defs.ingestion import raw
    from recsys_assets.resources import Workspace

    modules = [raw, tables, impression_features, online_state]
    definitions = dg.Definitions(
        assets=dg.load_assets_from_modules(modules),
        asset_checks=dg.load_asset_checks_from_modules(modules),
        resources={"workspace": Workspace(), "spark": LazyPySparkResource(spark_config={})},
    )
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        done = job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
    checks = {check.check_name: check for check in done.get_asset_check_evaluations()}
    assert done.success and {name: c.description for name, c in checks.items() if has_failed(c)} == {}
    assert checks["parity"].metadata["values"].value > 1000


def served(store: Any, user: str, instant: int) -> Rows:
    """Rows of a served log: what is read now of a user and every item."""
    names = [f"i{i}" for i in range(ITEMS)]
    read = store.read(user, names, instant, shelf_key=int(key64(["feed"])[0]))
    zero = np.zeros(ITEMS, np.int64)
    features = derive(read.aggregates, Context(zero + instant, zero + key64(["feed"]), zero, zero, read.item))
    shared = {"user_id": user, "position": read.position, "as_of": instant, "log_shelf": "feed", "device": None}
    return [
        {**shared, "said": [], "item_id": name, "features": row, "fingerprint": FINGERPRINT}
        for name, row in zip(names, features, strict=True)
    ]


def live_day(day: str, changes: dict[int, dict[str, Any]], seed: int) -> Rows:
    """A day of service: events and reads in turn, and words about items at some of its events."""
    rows: Rows = []
    store = open_store(from_environment())
    for n, event in enumerate(events(day, seed)):
        received = event["occurred_at"] + 500
        assert store.append([event], received).accepted == 1
        if n in changes:
            item_id = changes[n]["item_id"]
            word = store.known_items([item_id])[item_id] | changes[n]
            assert store.put_items(pa.Table.from_pylist([word], ITEM_SCHEMA), received + 1) == 1
        if n % 10 == 0:
            rows += served(store, event["user_id"], received + 2)
    store.close()
    return rows


def of_before(event: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Rows:
    """An event that the service took before a rule came that refuses it, and what was read behind it."""
    store, received = open_store(from_environment()), event["occurred_at"] + 500
    with monkeypatch.context() as before:
        before.setattr(intake, "wrong", lambda row: None)
        assert store.append([event], received).accepted == 1
        assert store.append([event], received).duplicates == 1
    rows = served(store, event["user_id"], received + 2)
    store.close()
    return rows


def of_journal(day: str) -> int:
    """Events of a day that the store's journal has."""
    received = told_events(from_environment())["received_at"].to_pylist()
    return sum(instant // DAY_MS == day_number(day) for instant in received)


def audit(rows: Rows) -> None:
    schema = {"features": pa.list_(pa.float32()), "device": pa.string(), "said": pa.list_(pa.int64())}
    table = pa.table({name: pa.array([row[name] for row in rows], schema.get(name)) for name in rows[0]})
    store = open_store(from_environment())
    audited = audit_served(store.export()[0], store.items_at, table)
    store.close()
    assert audited.holds and audited.values == len(rows) * len(FEATURES), str(audited)


def features(lake: Lake, *days: str) -> dict[str, bytes]:
    return {day: lake.day(day, "features", "impressions").read_bytes() for day in days}


def categories(lake: Lake, day: str, item_id: str) -> list[int]:
    """What the events of an item counted for, in order."""
    table = pl.read_parquet(lake.day(day, "cleaned", "events")).filter(item_id=item_id).sort("position")
    return table["category_key"].unique(maintain_order=True).to_list()


def keys(*names: str) -> list[int]:
    return key64(names).tolist()


def test_items_change_daily_by_file_and_live_and_every_check_stays_green(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, items = tmp_path / "data", catalogue()
    dated = at(DAYS[1], 13 * HOUR_MS)  # between two events of that day
    first = [{**item, "valid_from": None} for item in items]
    first[4] |= {"valid_from": 0}
    write(data, "items", [*first, first[4] | {"category": "dated", "valid_from": dated}])
    write(data, "events", events(DAYS[0], 1) + events(DAYS[1], 2))
    take_in(DAYS[0], DAYS[1])
    assert categories(lake, DAYS[1], "i4") == keys("topic1", "dated")
    old = features(lake, *DAYS[:2])

    changes = {30: {"item_id": "i3", "category": "told"}, 50: {"item_id": "i1", "title": "told"}}
    changes |= {70: {"item_id": "i3", "duration_ms": 7}, 90: {"item_id": "i3", "tags": ["t"]}}
    rows = live_day(DAYS[2], changes, 3)
    aside = {"event_id": "aside", "kind": "click", "user_id": "u1", "item_id": "i5", "slot": MAX_SLOT + 1}
    rows += of_before(aside | {"occurred_at": at(DAYS[2], 22 * HOUR_MS)}, monkeypatch)
    items[1] |= {"is_available": False}  # after its title was told
    items[2] |= {"category": "retagged", "creator_id": "sold to", "duration_ms": 1}
    write(data, "items", items)
    take_in(DAYS[2], DAYS[2])
    audit(rows)
    assert features(lake, *DAYS[:2]) == old
    assert categories(lake, DAYS[2], "i3") == keys("topic0", "told")
    assert categories(lake, DAYS[2], "i2") == keys("topic2")  # as the service counted them, which knew of no other
    known = {row["item_id"]: row for row in lake.read(lake.table("raw", "items")).to_pylist()}
    assert (known["i1"]["title"], known["i1"]["is_available"]) == ("told", False)
    assert (known["i3"]["category"], known["i3"]["duration_ms"], known["i3"]["tags"]) == ("told", 7, ["t"])
    old |= features(lake, DAYS[2])

    rows += live_day(DAYS[3], {60: {"item_id": "i2", "category": "told"}}, 4)
    items[3] |= {"category": "retagged"}
    write(data, "items", items)
    raw = lake.day(DAYS[2], "raw", "events").read_bytes()
    for first in (DAYS[3], DAYS[2]):  # the second time it changes nothing, though that live day has left the journal
        take_in(first, DAYS[3])
        audit(rows)
        assert features(lake, *DAYS[:3]) == old
        assert of_journal(DAYS[2]) == 0 < of_journal(DAYS[3])
    assert lake.day(DAYS[2], "raw", "events").read_bytes() == raw
    assert categories(lake, DAYS[3], "i2") == keys("retagged", "told")
    store = open_store(from_environment())
    again = store.append([*events(DAYS[2], 3), *events(DAYS[3], 4)], at(DAYS[3], 23 * HOUR_MS))
    assert (again.accepted, again.duplicates) == (0, 240)
    told = [row["item_id"] for row in store.told_items().to_pylist() if row["position"]]
    assert told == ["i3", "i1", "i3", "i3", "i2"]
    words = [position >> 32 for position, *_ in store.journal.raw(0, only=ITEM_RECORD)]
    assert words and min(words) == day_number(DAYS[3])  # those before have left the journal
    old = aside | {"event_id": "old", "slot": 1, "occurred_at": at(DAYS[0]) - 106 * DAY_MS}
    again = store.append([old, old | {"occurred_at": at(DAYS[0]) - 90 * DAY_MS}], at(DAYS[3], 23 * HOUR_MS))
    assert again.accepted == 1 and [place for place, _ in again.rejected] == [0] and TOO_LATE in again.rejected[0][1]
    store.close()
    quarantine = pl.read_parquet(lake.day(DAYS[2], "cleaned", "quarantine"))
    assert quarantine["event_id"].to_list() == ["aside"]
    monkeypatch.setattr(intake, "wrong", lambda row: None)
    assert of_journal(DAYS[2]) == 0 and open_store(from_environment()).append(
        [aside | {"occurred_at": at(DAYS[2], 22 * HOUR_MS)}], at(DAYS[3], 23 * HOUR_MS)
    )[:2] == (0, 1)


def test_an_event_that_says_no_instant_is_known_for_good(lake: Lake, tmp_path: Path, monkeypatch: Any) -> None:
    """One that does is refused behind the horizon; of this one nobody could tell by its age that it is a repeat."""
    monkeypatch.setenv("RECSYS_DEDUPLICATION_DAYS", "1")
    write(tmp_path / "data", "items", catalogue())
    write(tmp_path / "data", "events", events(DAYS[0], 1))
    take_in(DAYS[0], DAYS[0])
    unsaid: Rows = [{"event_id": "like", "kind": "like", "user_id": "u1", "item_id": "i1"}]
    unsaid.append({"event_id": "search", "kind": "search", "user_id": "u1", "query": "whales"})
    store = open_store(from_environment())
    assert store.append(unsaid, at(DAYS[1], HOUR_MS)).accepted == len(unsaid)
    store.close()
    rows = [row for seed, day in enumerate(DAYS[1:]) for row in live_day(day, {}, seed)]
    for first in (DAYS[1], DAYS[3]):  # at first the journal keeps the ids back of whatever its own records may repeat
        take_in(first, DAYS[3])
    assert of_journal(DAYS[1]) == 0
    store = open_store(from_environment())
    again = store.append([*unsaid, *events(DAYS[1], 0)], at(DAYS[3], 23 * HOUR_MS))
    assert (again.accepted, again.duplicates, len(again.rejected)) == (0, len(unsaid), 120)
    assert TOO_LATE in again.rejected[0][1]
    store.close()
    audit(rows)
