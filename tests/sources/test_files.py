"""A user's own logs: what is accepted, what is set aside with its reason, what is refused in one line."""

import json

import polars as pl
import pytest

from recsys.events import EVENT_SCHEMA, ITEM_SCHEMA, VALID_ITEM_SCHEMA
from recsys.settings import Settings
from recsys.sources.files import FILE_COLUMNS, Files, schema_as_markdown
from recsys.sources.opening import open_source
from recsys.sources.source import SourceError

EVENTS = "kind,user_id,item_id,occurred_at\nimpression,1,10,1767607200000\nclick,1,10,2026-01-05T10:00:05Z\n"
ITEMS = "item_id,category\n10,news\n11,\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "events.csv").write_text(EVENTS)
    (tmp_path / "items.csv").write_text(ITEMS)
    return tmp_path


def rows_of(source):
    day = source.read_day(source.first_day())
    return day, day.events.to_pylist()


def use(folder):
    source = Files(folder)
    source.first_day()
    source.items()


def test_the_least_columns_suffice(folder):
    source = Files(folder)
    day, rows = rows_of(source)
    assert day.events.schema == EVENT_SCHEMA
    assert (day.rows_read, day.rows_kept, source.first_day()) == (2, 2, "2026-01-05")
    assert [r["occurred_at"] for r in rows] == [1767607200000, 1767607205000]
    assert all(r["received_at"] == r["occurred_at"] and r["consent"] and r["date"] == "2026-01-05" for r in rows)
    assert source.items().schema == ITEM_SCHEMA
    assert source.items()["category"].to_pylist() == ["news", None]
    assert source.users()["user_id"].to_pylist() == ["1"]


def test_the_same_row_has_the_same_id_and_another_has_another(folder):
    (folder / "events.csv").write_text(EVENTS + EVENTS.splitlines()[1] + "\n")
    _, rows = rows_of(Files(folder))
    assert rows[0]["event_id"] == rows[2]["event_id"] != rows[1]["event_id"]


def test_csv_json_lines_and_parquet_say_the_same(tmp_path):
    columns = {
        "kind": ["impression", "play"],
        "user_id": ["a", "b"],
        "item_id": ["x", "y"],
        "occurred_at": [1767607200000, 1767607205000],
        "slot": [0, None],
        "watch_ms": [None, 900],
        "consent": [True, False],
    }
    frame = pl.DataFrame(columns)
    read = []
    for suffix in ("csv", "parquet", "jsonl"):
        folder = tmp_path / suffix
        folder.mkdir()
        frame.write_csv(folder / "events.csv") if suffix == "csv" else None
        frame.write_parquet(folder / "events.parquet") if suffix == "parquet" else None
        frame.write_ndjson(folder / "events.jsonl") if suffix == "jsonl" else None
        (folder / "items.csv").write_text(ITEMS)
        read.append(rows_of(Files(folder))[1])
    assert read[0] == read[1] == read[2]
    assert read[0][1]["watch_ms"] == 900 and read[0][1]["consent"] is False and read[0][0]["slot"] == 0


@pytest.mark.parametrize(
    "spelling", ["userId;itemId;Occurred At;KIND;Watch-Ms", "User ID;ITEM_ID;occurredAt;kind;watchms"]
)
def test_columns_are_known_in_any_spelling(folder, spelling):
    (folder / "events.csv").write_text(f"{spelling}\n7;10;2026-01-05;play;900\n")
    (folder / "users.csv").write_text("UserID,registeredAt,favouriteColour\n7,2026-01-01,red\n")
    source = Files(folder)
    row = rows_of(source)[1][0]
    assert (row["user_id"], row["item_id"], row["kind"], row["watch_ms"]) == ("7", "10", "play", 900)
    assert source.users()["registered_at"].to_pylist() == [1767225600000]
    assert source.attributes()["attributes"].to_pylist() == [["favouritecolour=red"]] and not source.ignored()


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2026-01-05T12:00:00+02:00", 1767607200000),
        ("2026-01-05 10:00:00", 1767607200000),
        ("2026-01-05T10:00:00.250Z", 1767607200250),
        ("2026-01-05", 1767571200000),
    ],
)
def test_instants_may_be_written_in_iso_8601(folder, written, instant):
    (folder / "events.csv").write_text(f"kind,user_id,item_id,occurred_at\nclick,1,10,{written}\n")
    assert rows_of(Files(folder))[1][0]["occurred_at"] == instant


def test_a_folder_of_files_is_one_table(folder):
    (folder / "events").mkdir()
    (folder / "events.csv").rename(folder / "events" / "a.csv")
    (folder / "events" / "b.jsonl").write_text(
        json.dumps({"kind": "like", "user_id": 2, "item_id": 11, "occurred_at": 1767607300000, "shelf": "tv"}) + "\n"
    )
    _, rows = rows_of(Files(folder))
    assert [(r["kind"], r["user_id"], r["shelf"]) for r in rows] == [
        ("impression", "1", None),
        ("click", "1", None),
        ("like", "2", "tv"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("click,1,10,yesterday,0,,", "occurred_at is neither milliseconds nor ISO 8601"),
        ("click,1,10,,0,,", "occurred_at is missing"),
        ("click,1,10,1767607200,0,,", "occurred_at is in seconds: write UTC milliseconds"),
        ("click,1,10,1767607200000000,0,,", "occurred_at is in microseconds: write UTC milliseconds"),
        ("click,1,10,-5,0,,", "occurred_at is before 26 April 1970"),
        ("click,1,10,1767607200000,first,,", "slot is no integer"),
        ("play,1,10,1767607200000,0,1m,", "watch_ms is no number of milliseconds"),
        ("play,1,10,1767607200000,0,1500,maybe", "consent is neither true nor false"),
        ("click,1,10", "3 fields where 7 are due"),
    ],
)
def test_a_row_that_cannot_be_read_is_set_aside_with_its_reason(folder, line, reason):
    good = "impression,1,10,1767607200000,0,,true"
    (folder / "events.csv").write_text(f"kind,user_id,item_id,occurred_at,slot,watch_ms,consent\n{good}\n{line}\n")
    day, rows = rows_of(Files(folder))
    assert len(rows) == 1 and (day.rows_read, day.rows_kept) == (2, 1)
    (refused,) = day.rejected.to_pylist()
    assert refused["reason"] == reason and refused["origin"] == "events.csv:3" and refused["text"][:10] == line[:10]


def test_a_broken_json_line_is_set_aside(folder):
    (folder / "events.csv").unlink()
    good = json.dumps({"kind": "click", "user_id": "1", "item_id": "10", "occurred_at": 1767607200000})
    (folder / "events.jsonl").write_text(f"{good}\n{good[:20]}\n[1]\n")
    day, rows = rows_of(Files(folder))
    assert len(rows) == 1 and [r["origin"] for r in day.rejected.to_pylist()] == ["events.jsonl:2", "events.jsonl:3"]


def test_rows_without_a_user_are_for_the_cleaning_to_judge(folder):
    (folder / "events.csv").write_text(EVENTS + "like,,10,1767607200000\n")
    _, rows = rows_of(Files(folder))
    assert rows[2]["user_id"] is None and rows[2]["kind"] == "like"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("events.csv", None, "holds no events"),
        ("items.csv", None, "holds no items"),
        ("events.csv", "kind,user_id,item_id\nclick,1,10\n", "events.csv lacks the column occurred_at"),
        ("events.csv", "", "events.csv"),
        ("events.csv", "kind,user_id,item_id,occurred_at\nclick,1,10,never\n", "holds no readable event"),
        (
            "events.csv",
            "kind,user_id,item_id,occurred_at\nclick,1\nclick,1,10,1792922400\nclick,2,10,1792922401\n",
            "no readable event (2 of 3, first events.csv:3: occurred_at is in seconds: write UTC milliseconds)",
        ),
        ("events.csv", EVENTS.replace("kind", "item_id", 1), "events.csv has the column item_id twice"),
        ("items.csv", "item_id,item_type\n10,video,7\n", "3 fields where 2 are due"),
        ("events.parquet", "not parquet", "is not readable Parquet"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_in_one_line(folder, name, content, message):
    if name == "events.parquet":
        (folder / "events.csv").unlink()
    (folder / name).unlink(missing_ok=True)
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(SourceError) as error:
        use(folder)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceError, match="is not a folder"):
        open_source(Settings(source="files", data=tmp_path / "absent"))


def test_the_documented_schema_is_the_accepted_one(folder):
    header = [name for name in FILE_COLUMNS["events"] if name != "received_at"]
    assert set(FILE_COLUMNS["events"]) - {"rating"} | {"position", "event_key"} == set(EVENT_SCHEMA.names)
    assert set(FILE_COLUMNS["items"]) | {"id_is_integer"} == set(VALID_ITEM_SCHEMA.names)
    (folder / "events.csv").write_text(
        ",".join(header) + "\n" + ",".join(["click", "1", "2", "1767607200000"] + [""] * 11) + "\n"
    )
    assert len(rows_of(Files(folder))[1]) == 1
    assert all(f"| `{name}` |" in schema_as_markdown() for name in header)
