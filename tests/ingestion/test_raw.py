"""Raw tables as Dagster materializes them: from the source, from the service's log, and when the source is broken."""

import json
import time

import dagster as dg
import pyarrow as pa
import pytest

from recsys.events import COUNTED_AS, EVENT_SCHEMA, ITEM_SCHEMA, RAW_EVENT_SCHEMA, whole_items, with_event_keys
from recsys.features.log import empty
from recsys.lake import Lake
from recsys.settings import from_environment
from recsys.sources.simulator import Simulator
from recsys.sources.source import REJECTED_SCHEMA, SourceError
from recsys.store.opening import open_store
from recsys_assets.checks.nothing import has_failed


@pytest.fixture
def lake(tmp_path, monkeypatch):
    for name, value in {"HOME": tmp_path, "SOURCE": "simulator", "DAYS": 3, "USERS": 60}.items():
        monkeypatch.setenv(f"RECSYS_{name}", str(value))
    monkeypatch.delenv("RECSYS_DATA", raising=False)
    return Lake(tmp_path)


def materialize(*names, first="2026-01-05", last="2026-01-07"):
    from recsys_assets.defs.ingestion import raw
    from recsys_assets.resources import Workspace

    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    definitions = dg.Definitions(assets=[getattr(raw, name) for name in names], resources={"workspace": Workspace()})
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def checks(result):
    return {c.check_name: c for c in result.get_asset_check_evaluations()}


def why(result):
    error = next(e for e in result.all_events if e.event_type_value == "STEP_FAILURE").step_failure_data.error
    while error.cause is not None:
        error = error.cause
    return error


def test_every_day_holds_what_the_source_says(lake):
    result = materialize("raw_events", "raw_items", "raw_users")
    assert result.success and not any(map(has_failed, checks(result).values()))
    world = Simulator(days=3, users=60)
    assert lake.days("raw", "events") == lake.days("raw", "rejected") == ["2026-01-05", "2026-01-06", "2026-01-07"]
    for day in lake.days("raw", "events"):
        raw = lake.read(lake.day(day, "raw", "events"))
        assert raw.select(EVENT_SCHEMA.names).equals(with_event_keys(world.read_day(day).events))
        assert raw.schema == RAW_EVENT_SCHEMA and all(raw[name].null_count == raw.num_rows for name in COUNTED_AS)
        assert lake.read(lake.day(day, "raw", "rejected")).schema == REJECTED_SCHEMA
    assert lake.read(lake.table("raw", "items")).equals(whole_items(world.items()))
    assert lake.read(lake.table("raw", "users")).num_rows == 60


def test_a_day_twice_has_the_same_bytes(lake):
    day = lake.day("2026-01-06", "raw", "events")
    materialize("raw_events")
    before = day.read_bytes()
    assert materialize("raw_events", first="2026-01-06", last="2026-01-06").success
    assert day.read_bytes() == before


def test_what_the_service_was_told_joins_the_day_it_was_received(lake):
    store = open_store(from_environment(), create=True)
    store.put_items(Simulator(days=3, users=60).items())
    told = {"event_id": "e1", "kind": "click", "user_id": "u000001", "item_id": "i000001", "occurred_at": 1767700000000}
    assert store.append([told], received_at=1767700000500).accepted == 1
    store.close()
    assert materialize("raw_events").success
    tables = {day: lake.read(lake.day(day, "raw", "events")) for day in lake.days("raw", "events")}
    assert all(table.schema == RAW_EVENT_SCHEMA for table in tables.values())
    live = {day: [r for r in t.to_pylist() if r["position"] is not None] for day, t in tables.items()}
    assert {day: len(rows) for day, rows in live.items()} == {"2026-01-05": 0, "2026-01-06": 1, "2026-01-07": 0}
    (row,) = live["2026-01-06"]
    assert (row["event_id"], row["received_at"]) == ("e1", 1767700000500) and row["position"] > 20459 << 32


def test_items_that_the_service_was_told_of_are_in_the_next_days_catalogue(lake):
    assert materialize("raw_items").success
    given = lake.read(lake.table("raw", "items"))
    store = open_store(from_environment(), create=True)
    store.bootstrap(empty(), given, 0)
    gone = given.to_pylist()[3] | {"is_available": False}
    new = given.to_pylist()[5] | {"item_id": "told", "tags": ["a"]}
    store.put_items(pa.Table.from_pylist([gone, new | {"title": "first"}], given.schema), 1767700000000)
    store.put_items(pa.Table.from_pylist([new], given.schema), 1767700001000)
    store.close()
    for _ in range(2):  # the second after its own word came back as the catalogue
        assert materialize("raw_items").success
        items = lake.read(lake.table("raw", "items"))
        rows = {row["item_id"]: row for row in items.to_pylist()}
        assert items.num_rows == len(rows) == given.num_rows + 1
        assert rows["told"] == new and rows[gone["item_id"]] == gone
        assert [row for row in given.to_pylist() if row["item_id"] != gone["item_id"]] == [
            row for item_id, row in rows.items() if item_id not in ("told", gone["item_id"])
        ]
        store = open_store(from_environment())
        before = store.head()
        store.bootstrap(empty(), items, 0)
        assert store.head() == before  # nothing changed: no record
        store.close()


def test_a_takedown_in_the_catalogue_after_a_correction_that_was_told_is_not_lost(lake, tmp_path, monkeypatch):
    """And the catalogue of before it does not undo what was told; in a lake that begins anew, too."""
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setenv("RECSYS_SOURCE", "files")
    monkeypatch.setenv("RECSYS_DATA", str(data))
    (data / "events.csv").write_text("kind,user_id,item_id,occurred_at\nclick,1,x,1767607200000\n")

    def catalogue(**changes):
        rows = [{"item_id": i, "title": "old", "is_available": True} | changes for i in ("x", "y")]
        (data / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        with dg.DagsterInstance.ephemeral() as instance:  # no day is named, as when it is run by hand
            assert dg.materialize([raw_items], instance=instance, resources={"workspace": Workspace()}).success
        items = lake.read(lake.table("raw", "items")).to_pylist()
        return {row["item_id"]: (row["title"], row["is_available"]) for row in items}

    from recsys_assets.defs.ingestion.raw import raw_items
    from recsys_assets.resources import Workspace

    catalogue()
    store = open_store(from_environment(), create=True)
    store.bootstrap(empty(), lake.read(lake.table("raw", "items")), 0)
    word = store.known_items(["x"])["x"] | {"title": "corrected"}
    store.put_items(pa.Table.from_pylist([word], ITEM_SCHEMA), int(time.time() * 1000))
    store.close()
    for _ in range(2):
        assert catalogue() == {"x": ("corrected", True), "y": ("old", True)}
    versions = lake.table("raw", "item_versions")
    assert catalogue(is_available=False) == {"x": ("corrected", False), "y": ("old", False)}
    versions.unlink()
    assert catalogue(is_available=False) == {"x": ("old", False), "y": ("old", False)}
    assert catalogue(title="new") == {"x": ("new", True), "y": ("new", True)}


def test_rows_that_cannot_be_read_are_kept_counted_and_warned_of(lake, tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    good = "impression,1,10,1767607200000"
    (data / "events.csv").write_text(f"kind,user_id,item_id,occurred_at\n{good}\nclick,1,10,soon\n")
    (data / "items.csv").write_text("item_id\n10\n")
    monkeypatch.setenv("RECSYS_SOURCE", "files")
    monkeypatch.setenv("RECSYS_DATA", str(data))
    result = materialize("raw_events", last="2026-01-06")
    assert result.success
    accounted, readable = (checks(result)[n] for n in ("every_source_row_is_accounted_for", "source_rows_are_readable"))
    assert accounted.passed and accounted.description == "2 source rows = 1 kept + 1 rejected"
    assert not readable.passed and readable.severity == dg.AssetCheckSeverity.WARN
    assert "events.csv:3: occurred_at is neither milliseconds nor ISO 8601" in readable.description
    assert lake.read(lake.day("2026-01-06", "raw", "events")).num_rows == 0  # an empty day is an empty table
    (rejected,) = lake.read(lake.day("2026-01-05", "raw", "rejected")).to_pylist()
    assert rejected["text"] == "click,1,10,soon"


def test_a_broken_source_ends_in_one_line_and_keeps_what_was_there(lake, tmp_path, monkeypatch):
    assert materialize("raw_events").success
    before = {p: p.read_bytes() for p in lake.home.rglob("*.parquet")}
    monkeypatch.setenv("RECSYS_SOURCE", "kuairand")
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "nowhere"))
    result = materialize("raw_events")
    assert not result.success
    error = why(result)
    assert error.cls_name == SourceError.__name__ and "is not a folder" in error.message
    assert {p: p.read_bytes() for p in lake.home.rglob("*.parquet")} == before


def test_a_full_disk_ends_in_one_line_and_keeps_what_was_there(lake, monkeypatch):
    import resource
    import signal

    from recsys_assets.defs.ingestion.raw import _write

    path = lake.day("2026-01-05", "raw", "events")
    table = Simulator(days=3, users=60).read_day("2026-01-05").events
    _write(lake, table, path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(SourceError, match=r"cannot write 2026-01-05.parquet .* free space below"):
            _write(lake, table, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before and not list(lake.home.rglob("*.tmp"))


def test_attributes_of_users_are_kept_and_told_when_they_are_no_longer_said(lake, monkeypatch, tmp_path):
    result = materialize("raw_users")  # the default world says nothing of anybody
    assert result.success and not lake.table("raw", "user_attributes").exists()
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "events.csv").write_text("kind,user_id,item_id,occurred_at\nclick,0,0,1767600000000\n")
    (folder / "items.csv").write_text("item_id\n0\n")
    monkeypatch.setenv("RECSYS_SOURCE", "files")
    monkeypatch.setenv("RECSYS_DATA", str(folder))
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "files"))
    for table, passes in (("user_id,plan,age\n0,free,30\n1,paid,\n", True), ("user_id,plan\n0,paid\n1,paid\n", False)):
        (folder / "users.csv").write_text(table)
        result = materialize("raw_users")
        assert result.success and checks(result)["attributes_are_still_said"].passed == passes
    assert "age was said of 50% of the users, and now of 0%" in checks(result)["attributes_are_still_said"].description
    kept = Lake(tmp_path / "files").read(Lake(tmp_path / "files").table("raw", "user_attributes"))
    assert kept["attributes"].to_pylist() == [["age=30", "age~5", "plan=free"], ["plan=paid"], ["plan=paid"]]


def test_a_catalogue_that_was_cut_or_says_less_is_told(monkeypatch, tmp_path):
    """What was withdrawn was served again, or half of the items no more, and nobody was told."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "events.csv").write_text("kind,user_id,item_id,occurred_at\nclick,0,0,1767600000000\n")
    for name, value in {"SOURCE": "files", "DATA": folder, "HOME": tmp_path / "files"}.items():
        monkeypatch.setenv(f"RECSYS_{name}", str(value))
    rows = [f"{n},title {n},{n % 5 > 0}" for n in range(20)]
    told = []
    for header, kept in (
        ("item_id,title,is_available", rows),
        ("item_id,title,is_available", rows[1:]),
        ("item_id,name,available", rows[1:]),
        ("item_id,title,is_available", rows[1:10]),
    ):
        (folder / "items.csv").write_text("\n".join([header, *kept]) + "\n")
        result = materialize("raw_items")
        assert result.success
        told.append(checks(result)["items_are_still_said"])
    words = [check.description for check in told]
    assert [check.passed for check in told[1:]] == [True, False, False]
    assert words[0] == "there is no catalogue of before"
    assert words[1] == "1 of 20 items of before are in the catalogue no more"
    assert "title was said of 100% of the items, and now of 0%" in words[2]
    assert "is_available was said of 16% of the items, and now of 0%" in words[2] and "column renamed?" in words[2]
    assert words[3].startswith("10 of 19 items of before are in the catalogue no more")
