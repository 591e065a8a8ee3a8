"""Logs as pandas, exports and several hands leave them, from files on disk to cleaned tables as Dagster makes them."""

import json
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pytest

from recsys.lake import Lake
from tests.cleaned.test_assets import run

AT = int(datetime(2026, 11, 2, 10, tzinfo=UTC).timestamp() * 1000)
HOUR = 3_600_000


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """Ids of three types in one log, one text id among integers, a row in seconds; items of two hands."""
    data, home = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("home")
    (data / "events").mkdir()
    (data / "items").mkdir()
    floats = {
        "kind": ["impression", "click", "click"],
        "user_id": [901.0, 901.0, 902.0],
        "item_id": [5001.0, 5001.0, None],
    }
    more = {"kind": ["impression"] * 20, "user_id": [903.0] * 20, "item_id": [5001.0] * 20}
    columns = {name: values + more[name] for name, values in floats.items()}
    pl.DataFrame(columns | {"occurred_at": [AT + n for n in range(23)]}).write_parquet(data / "events" / "a.parquet")
    rows = [
        {"kind": "impression", "user_id": 901, "item_id": "promo-a", "occurred_at": "2026-11-02T12:00+01"},
        {"kind": "impression", "user_id": "guest", "item_id": 5002, "occurred_at": AT + HOUR},
        {"kind": "like", "user_id": "901", "item_id": "5002", "occurred_at": AT + HOUR},
    ]
    (data / "events" / "b.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (data / "events" / "c.csv").write_text(
        f"kind;user_id;item_id;occurred_at\nclick;902;5001;{AT // 1000}\nclick;902;5001;{AT}\nhover;902;5001;{AT}\n"
    )
    published = datetime(2026, 11, 1, 10)  # noqa: DTZ001 as Parquet without a zone has it
    pl.DataFrame({"item_id": [5001, 5002], "category": ["x", "y"], "published_at": [published] * 2}).write_parquet(
        data / "items" / "a.parquet"
    )
    (data / "items" / "b.json").write_text(
        json.dumps([{"item_id": "promo-a", "category": "x", "published_at": 1793527200000, "is_available": "f"}])
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_HOME", str(home))
        patch.setenv("RECSYS_DATA", str(data))
        patch.delenv("RECSYS_SOURCE", raising=False)
        result = run(first="2026-11-02", last="2026-11-02")
        assert result.success
        yield Lake(home)


def read(lake, *place):
    return pl.DataFrame(lake.read(lake.day("2026-11-02", *place)))


def test_every_event_knows_its_item(lake):
    events = read(lake, "cleaned", "events").filter(pl.col("user_id") != "903")
    assert sorted(events.select("user_id", "kind", "item_id").rows()) == [
        ("901", "click", "5001"),
        ("901", "impression", "5001"),
        ("901", "impression", "promo-a"),
        ("901", "like", "5002"),
        ("902", "click", "5001"),
        ("guest", "impression", "5002"),
    ]
    assert (events["category_key"] != 0).all()
    assert read(lake, "cleaned", "quarantine").select("user_id", "reason").rows() == [("902", "missing_item_id")]


def test_what_no_row_could_be_read_from_is_counted_with_its_reason(lake):
    first, second = sorted(read(lake, "raw", "rejected").select("origin", "reason").rows())
    assert first == ("events/c.csv:2", "occurred_at is in seconds: write UTC milliseconds")
    assert second[0] == "events/c.csv:4" and second[1].startswith("kind 'hover' is unknown")


def test_items_of_two_hands_are_one_catalogue(lake):
    items = pl.DataFrame(lake.read(lake.table("raw", "items"))).sort("item_id")
    assert items.select("item_id", "published_at", "is_available", "id_is_integer").rows() == [
        ("5001", 1793527200000, True, True),
        ("5002", 1793527200000, True, True),
        ("promo-a", 1793527200000, False, False),
    ]
    refused = lake.read(lake.table("raw", "rejected_items"))
    assert isinstance(refused, pa.Table) and refused.num_rows == 0
