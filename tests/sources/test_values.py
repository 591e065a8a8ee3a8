"""Values as people's tools write them, from files on disk to raw tables: one rule each, or counted with its reason."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.sources.files import Files
from recsys.sources.rows import Words

AT = 1793527200000
AT_UTC = datetime(2026, 11, 1, 10, tzinfo=UTC)
AT_NAIVE = AT_UTC.replace(tzinfo=None)
EVENT = {"kind": ["impression"], "user_id": [1], "item_id": [7], "occurred_at": [AT]}


def events_of(source):
    return source.events().to_dicts()


def reasons_of(source):
    return [row["reason"] for row in source.read_day(source.first_day()).rejected.to_pylist()]


def folder_of(tmp_path, *items):
    for place, columns in enumerate(items or ({"item_id": [7]},)):
        (tmp_path / "items").mkdir(exist_ok=True)
        table = columns if isinstance(columns, pa.Table) else pl.DataFrame(columns).to_arrow()
        pq.write_table(table, tmp_path / "items" / f"{place}.parquet")
    pl.DataFrame(EVENT).write_parquet(tmp_path / "events.parquet")
    return Files(tmp_path)


@pytest.mark.parametrize(
    ("written", "instant"),
    {
        "2026-10-25T02:30:00+02:00": "2026-10-25T00:30:00",
        "2026-10-25T02:30:00+01:00": "2026-10-25T01:30:00",
        "2026-10-25T10:00:00+05:45": "2026-10-25T04:15:00",
        "2026-10-25 10:00:00+01": "2026-10-25T09:00:00",
        "2026-10-25 10:00:00.123456-03": "2026-10-25T13:00:00.123",
        "2026-10-25T10:00:00-0330": "2026-10-25T13:30:00",
        "2026-10-25 10:00:00 UTC": "2026-10-25T10:00:00",
        "1792922400000.0": "2026-10-25T10:00:00",
        "1.7929224e12": "2026-10-25T10:00:00",
        "20261025T100000Z": "2026-10-25T10:00:00",
        "20261025": "2026-10-25T00:00:00",
        "2026-10-25T10:00:00z": "2026-10-25T10:00:00",
        "2026-10-25T10:00:00.5Z": "2026-10-25T10:00:00.500",
        "2026-10-25T10:00:00.123456789Z": "2026-10-25T10:00:00.123",
        "2026-12-31T23:59:60Z": "2027-01-01T00:00:00",
        "2026-12-31T24:00:00Z": "2027-01-01T00:00:00",
        "2026-10-25T10Z": "2026-10-25T10:00:00",
        "2026-10-25T10:00Z": "2026-10-25T10:00:00",
        " 2026-10-25T10:00:00Z ": "2026-10-25T10:00:00",
        "1975-03-01T00:00:00Z": "1975-03-01T00:00:00",
        "1792922400": "occurred_at is in seconds: write UTC milliseconds",
        "1792922400000000": "occurred_at is in microseconds: write UTC milliseconds",
        "20261025100000": "occurred_at is a date in digits: write ISO 8601, as 2026-10-25T10:00:00Z",
        "202610251000": "occurred_at is a date in digits: write ISO 8601, as 2026-10-25T10:00:00Z",
        "202613251000": "1976-06-03T01:27:31",
        "1.792922400000e+12": "2026-10-25T10:00:00",
        "1.79292E+12": "occurred_at is a floating number whose last digits are lost: write an integer or text",
        "10/25/2026 10:00": "occurred_at does not say whether day or month comes first: write ISO 8601, as 2026-10-25T"
        "10:00:00Z",
        "2026-02-30": "occurred_at is neither milliseconds nor ISO 8601",
        "2026-10-25T25:00Z": "occurred_at is neither milliseconds nor ISO 8601",
        "2026-10-25T10:00:61Z": "occurred_at is neither milliseconds nor ISO 8601",
        "1970-01-05": "occurred_at is before 26 April 1970",
    }.items(),
)
def test_an_instant_is_read_in_every_form_or_refused_in_words(tmp_path, written, instant):
    (tmp_path / "items.csv").write_text("item_id\n1\n")
    (tmp_path / "events.csv").write_text(
        f"kind,user_id,item_id,occurred_at\nclick,a,1,2026-01-01\nclick,b,1,{written}\n"
    )
    source = Files(tmp_path)
    instants = [row["occurred_at"] for row in events_of(source) if row["user_id"] == "b"]
    if " " in instant:
        assert instants == [] and reasons_of(source) == [instant]
    else:
        assert instants == [int(datetime.fromisoformat(f"{instant}+00:00").timestamp() * 1000)]


def test_ids_that_a_missing_value_made_floats_are_the_catalogues(tmp_path):
    """pandas makes floats of integers as soon as one is missing."""
    columns = {**EVENT, "user_id": [901.0, 902.0, None], "item_id": [7.0, None, 7.0]}
    columns |= {"kind": ["click"] * 3, "occurred_at": [AT] * 3}
    source = folder_of(tmp_path, {"item_id": [7, 8]})
    pl.DataFrame(columns).write_parquet(tmp_path / "events.parquet")
    assert [(r["user_id"], r["item_id"]) for r in events_of(source)] == [("901", "7"), ("902", None), (None, "7")]
    (tmp_path / "events.parquet").unlink()
    (tmp_path / "events.csv").write_text(pl.DataFrame(columns).write_csv())
    assert [(r["user_id"], r["item_id"]) for r in events_of(Files(tmp_path))] == [
        ("901", "7"),
        ("902", None),
        (None, "7"),
    ]


def test_one_id_is_one_item_however_each_file_types_it(tmp_path):
    (tmp_path / "events").mkdir()
    (tmp_path / "items.csv").write_text("item_id\n7\n")
    for name, ids, at in (("a", [7], [AT]), ("b", ["7"], [str(AT)]), ("c", [7.0], [AT_NAIVE])):
        columns = {**EVENT, "item_id": ids, "user_id": ids, "occurred_at": at}
        pl.DataFrame(columns).write_parquet(tmp_path / "events" / f"{name}.parquet")
    rows = events_of(Files(tmp_path))
    assert {(r["user_id"], r["item_id"], r["occurred_at"]) for r in rows} == {("7", "7", AT)} and len(rows) == 3


@pytest.mark.parametrize(
    ("column", "given", "read"),
    [
        ("is_available", ([False], ["false"]), [False, False]),
        ("is_available", ([False], [0]), [False, False]),
        ("is_available", (["NO"], ["t"]), [False, True]),
        ("is_available", ([0.0], [None]), [False, True]),
        ("published_at", ([AT_NAIVE], [AT]), [AT, AT]),
        ("published_at", ([AT_UTC], [AT_NAIVE]), [AT, AT]),
        ("published_at", ([AT_NAIVE], ["2026-11-01T10:00:00"]), [AT, AT]),
        ("published_at", ([AT], ["1940-01-01"]), [AT, 1]),
        ("published_at", ([AT], pa.array([AT_NAIVE], pa.timestamp("us", "+05:30"))), [AT, AT]),
        ("title", (["a"], ["b "]), ["a", "b"]),
        ("tags", ([["a", "b"]], ["a, b"]), [["a", "b"], ["a", "b"]]),
        ("duration_ms", ([1000], ["1000.4"]), [1000, 1000]),
    ],
)
def test_types_that_differ_between_files_are_unified_by_file(tmp_path, column, given, read):
    source = folder_of(tmp_path, *(pa.table({"item_id": [7 + n], column: one}) for n, one in enumerate(given)))
    assert source.items()[column].to_pylist() == read
    assert source.refused("items").num_rows == 0


@pytest.mark.parametrize(
    ("array", "item_id"),
    [
        (pa.array([Decimal(7)], pa.decimal128(38, 0)), "7"),
        (pa.array([Decimal("7.00")], pa.decimal128(20, 2)), "7"),
        (pa.array([b"7"], pa.binary()), "7"),
        (pa.array(["7"]).dictionary_encode(), "7"),
        (pa.array([7], pa.uint64()), "7"),
        (pa.array([Decimal(7)], pa.decimal256(50, 0)), "7"),
        (pa.array([bytes(range(16))], pa.uuid()), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
        (pa.array(["7"], pa.json_()), "7"),
        (pa.array(["7"], pa.string_view()), "7"),
        (pa.array(["007"]), "007"),
        (pa.array(["901234567890123456"]), "901234567890123456"),
        (pa.array([901234567890123456.0]), "item_id is a floating number whose last digits are lost"),
        (pa.array([16777217.0], pa.float32()), "item_id is a floating number whose last digits are lost"),
        (pa.array([7.5]), "item_id is a number with a fraction"),
        (pa.array([b"\xff"], pa.binary()), "item_id is neither text nor an integer"),
        (pa.array([True]), "item_id is neither text nor an integer"),
        (pa.array(["x" * 257]), "item_id is longer than 256 bytes"),
        (pa.array(["é" * 128]), "é" * 128),
        (pa.array(["  "]), "item_id is missing"),
        (pa.array([None], pa.int64()), "item_id is missing"),
    ],
)
def test_an_id_of_any_type_is_its_text_or_left_out_with_a_reason(tmp_path, array, item_id):
    good = pa.table({"item_id": pa.array(["known"])})
    source = folder_of(tmp_path, good, pa.table({"item_id": array}))
    ids = source.items()["item_id"].to_pylist()
    if item_id.startswith("item_id "):
        (refused,) = source.refused("items").to_pylist()
        assert ids == ["known"] and item_id in refused["reason"] and refused["origin"] == "items/1.parquet:1"
    else:
        assert ids == ["known", item_id] and source.refused("items").num_rows == 0


def test_what_an_item_says_wrongly_is_counted_and_the_item_stays(tmp_path):
    (tmp_path / "events.csv").write_text(pl.DataFrame(EVENT).write_csv())
    (tmp_path / "items.csv").write_text(
        "item_id,item_type,duration_ms,published_at,is_available\n"
        "1,film,-5,soon,perhaps\n2,VIDEO,1:30,1995,\n3,podcast,1000,,no\n,video,,,\n4,video\n"
    )
    source = Files(tmp_path)
    rows = source.items().select(["item_id", "item_type", "duration_ms", "published_at", "is_available"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("1", "video", 0, 0, False),
        ("2", "video", 0, 0, True),
        ("3", "podcast", 1000, 0, False),
    ]
    assert sorted((r["origin"], r["reason"]) for r in source.refused("items").to_pylist()) == [
        ("items.csv:2", "duration_ms is negative: read as unknown"),
        ("items.csv:2", "is_available is neither true nor false: read as false"),
        ("items.csv:2", "item_type is none of video, podcast, playlist, album: read as video"),
        ("items.csv:2", "published_at is neither milliseconds nor ISO 8601: read as unknown"),
        ("items.csv:3", "duration_ms is no number of milliseconds: read as unknown"),
        ("items.csv:3", "published_at is in seconds: write UTC milliseconds: read as unknown"),
        ("items.csv:5", "item_id is missing"),
        ("items.csv:6", "2 fields where 5 are due"),
    ]


def test_embeddings_are_of_one_length_and_say_something_however_they_are_written(tmp_path):
    good = [0.5, -1.0, 2.0]
    folder_of(
        tmp_path,
        {"item_id": [1, 2], "embedding": [good, [1e39, 0.0, 0.0]]},
        {"item_id": [3, 4, 5], "embedding": [[0.0] * 3, [1.0, None, 2.0], None]},
        {"item_id": [6], "embedding": [good]},
        {"item_id": [7], "embedding": ["a sound"]},
        {"item_id": [8], "embedding": [7.5]},
    )
    (tmp_path / "items" / "text.csv").write_text(
        'item_id;embedding;description;creator_name;language\n10;0.5,-1,2;"Two\nlines";Ana;de\n11;[0.5 -1. 2.];;;\n'
        f"12;0.5|-1;{'x' * 8193};;\n13;nan;;;\n"
    )
    rows = [
        {"item_id": 14, "embedding": good},
        {"item_id": 15, "embedding": [1, 2, "x"]},
        {"item_id": 16, "embedding": {}},
    ]
    (tmp_path / "items" / "typed.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = Files(tmp_path)
    items = {row["item_id"]: row for row in source.items().to_pylist()}
    assert {key for key, row in items.items() if row["embedding"] == good} == {"1", "6", "10", "11", "14"}
    assert sum(row["embedding"] is not None for row in items.values()) == 5 and len(items) == 15
    assert [items["10"][name] for name in ("description", "creator_name", "language")] == ["Two\nlines", "Ana", "de"]
    no_list = "embedding is no list of numbers: left out"
    assert sorted((r["origin"].removeprefix("items/"), r["reason"]) for r in source.refused("items").to_pylist()) == [
        ("0.parquet:2", "embedding holds what is no finite number of 32 bits: left out"),
        ("1.parquet:1", "embedding is all zero: leave it out where nothing is known: left out"),
        ("1.parquet:2", no_list),
        ("3.parquet:1", no_list),
        ("4.parquet:1", no_list),
        ("text.csv:4", "description is longer than 8,192 bytes: left out"),
        ("text.csv:4", "embedding has 2 numbers where the catalogue's have 3: left out"),
        ("typed.jsonl:2", no_list),
        ("typed.jsonl:3", no_list),
    ]


def test_own_words_for_kinds_are_mapped_and_unknown_ones_refused_row_by_row(tmp_path):
    (tmp_path / "items.csv").write_text("item_id\n7\n")
    kinds = ["view", "Watch", "LIKE", "hover", "stars", "stars", ""]
    (tmp_path / "events.csv").write_text(
        "kind,user_id,item_id,occurred_at,rating\n"
        + "".join(f"{k},{n},7,{AT},{4.5 if n == 4 else ''}\n" for n, k in enumerate(kinds))
    )
    source = Files(tmp_path, Words({"view": "impression", "watch": "play", "stars": "rating"}))
    assert [(r["user_id"], r["kind"]) for r in events_of(source)] == [
        ("0", "impression"),
        ("1", "play"),
        ("2", "like"),
        ("4", "like"),
    ]
    unknown, unrated, missing = reasons_of(source)
    assert unknown.startswith("kind 'hover' is unknown") and "RECSYS_KINDS" in unknown
    assert (unrated, missing) == ("rating is missing", "kind is missing")


def test_ratings_are_likes_dislikes_and_clicks(tmp_path):
    (tmp_path / "items.csv").write_text("item_id\n7\n")
    (tmp_path / "events.csv").write_text(
        "user_id,item_id,rating,occurred_at\n" + "".join(f"{n},7,{r},{AT}\n" for n, r in enumerate("12345x"))
    )
    source = Files(tmp_path)
    assert [r["kind"] for r in events_of(source)] == ["dislike", "dislike", "click", "like", "like"]
    assert reasons_of(source) == ["rating is no number"]
    assert [r["kind"] for r in events_of(Files(tmp_path, Words(like=5, dislike=0)))] == ["click"] * 4 + ["like"]


@pytest.mark.parametrize(
    ("name", "content", "integers"),
    [
        ("items.csv", "item_id\n7\n007\n901234567890123456\npromo-a\n", [True, False, False, False]),
        ("items.csv", "item_id\n7.0\npromo-a\n", [True, False]),
        ("items.jsonl", '{"item_id": 7}\n{"item_id": "8"}\n{"item_id": 9.0}\n', [True, False, True]),
        ("items.json", '[{"item_id": 7}, {"item_id": "a"}, {"item_id": 901234567890123456}]', [True, False, False]),
        ("items.json", '[{"item_id": "7", "title": "a"}, {"item_id": 7, "title": "b"}]', [False]),
    ],
)
def test_an_id_keeps_the_type_in_which_it_first_came(tmp_path, name, content, integers):
    (tmp_path / name).write_text(content)
    (tmp_path / "events.csv").write_text(pl.DataFrame(EVENT).write_csv())
    assert Files(tmp_path).items()["id_is_integer"].to_pylist() == integers


def test_a_small_float_that_is_two_integers_is_no_id(tmp_path):
    half = pa.table({"item_id": pa.array(np.array([7, 2047, 2049], np.float16))})
    source = folder_of(tmp_path, half)
    assert source.items()["item_id"].to_pylist() == ["7", "2047"]
    lost = "item_id is a floating number whose last digits are lost: write an integer or text"
    assert [row["reason"] for row in source.refused("items").to_pylist()] == [lost]


def test_an_instant_in_a_small_float_is_off_by_minutes_and_no_instant(tmp_path):
    folder_of(tmp_path)
    at = pa.array(np.array([AT, 1793527200, np.nan], np.float32), from_pandas=True)
    one = {"kind": ["click"] * 3, "user_id": [1] * 3, "item_id": [7] * 3}
    (tmp_path / "events").mkdir()
    (tmp_path / "events.parquet").rename(tmp_path / "events" / "before.parquet")
    pq.write_table(pa.table({**one, "occurred_at": at}), tmp_path / "events" / "small.parquet")
    lost = "occurred_at is a floating number whose last digits are lost: write an integer or text"
    seconds, missing = "occurred_at is in seconds: write UTC milliseconds", "occurred_at is missing"
    source = Files(tmp_path)
    assert reasons_of(source) == [lost, seconds, missing] and len(events_of(source)) == 1


def test_a_date_before_the_event_would_put_it_among_what_is_learned_earlier(tmp_path):
    """A tenth of a log bore the default 1970-01-01: those rows of the test days were learned from."""
    folder_of(tmp_path)
    days = ["2026-10-31", "2026-10-30", "2026-11-09", "1970-01-01", None]
    columns = {"kind": ["click"] * 5, "user_id": range(5), "item_id": [7] * 5, "occurred_at": [AT] * 5, "date": days}
    pl.DataFrame(columns).write_parquet(tmp_path / "events.parquet")
    source = Files(tmp_path)
    assert [row["date"] for row in events_of(source)] == ["2026-10-31", "2026-11-09", "2026-11-01"]
    early = "date is over a day before occurred_at: what is split by it would be learned too soon"
    assert reasons_of(source) == [early, early]


def test_tags_of_several_parts_each_are_left_out_whatever_the_format(tmp_path):
    """An object a tag, as APIs answer them: its braces are no word."""
    nested = [[{"id": 1, "name": "crime"}], [["crime"]], ["crime", 7], {"name": "crime"}]
    rows = [{"item_id": n, "tags": tags} for n, tags in enumerate(nested)]
    source = folder_of(tmp_path, {"item_id": [10], "tags": [nested[0]]})
    (tmp_path / "items" / "nested.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = Files(tmp_path)
    tags = {row["item_id"]: row["tags"] for row in source.items().to_pylist()}
    assert tags == {"10": None, "0": None, "1": None, "2": ["crime", "7"], "3": None}
    assert {row["reason"] for row in source.refused("items").to_pylist()} == {"tags is no list of texts: left out"}


@pytest.mark.parametrize(("unit", "ticks"), {"ms": 2000, "us": 1_999_600, "ns": 1_999_600_000}.items())
def test_a_duration_is_rounded_to_milliseconds_whatever_its_unit(tmp_path, unit, ticks):
    duration = pa.array([ticks, None, -ticks], pa.duration(unit))
    source = folder_of(tmp_path, pa.table({"item_id": [7, 8, 9], "duration_ms": duration}))
    assert source.items()["duration_ms"].to_pylist() == [2000, 0, 0]


def test_an_instant_of_96_bits_is_of_its_own_year(tmp_path):
    """As Spark and Hive write them, who say with a far year that there is no end: it was read as 1816."""
    far = pa.array([datetime(2026, 10, 25), datetime(9999, 12, 31), datetime(1, 1, 1)])  # noqa: DTZ001
    items = pa.table({"item_id": [1, 2, 3], "published_at": far})
    pq.write_table(items, tmp_path / "items.parquet", use_deprecated_int96_timestamps=True)
    (tmp_path / "events.csv").write_text("kind,user_id,item_id,occurred_at\nclick,a,1,2026-01-01\n")
    source = Files(tmp_path)
    assert source.items()["published_at"].to_pylist() == [1792886400000, 0, 1]
    assert source.refused("items")["reason"].to_pylist() == ["published_at is after the year 5138: read as unknown"]


@pytest.mark.parametrize("width", [pa.int8(), pa.uint16(), pa.int32(), pa.uint32()])
def test_an_instant_in_a_narrow_integer_is_in_seconds_and_said_to_be(tmp_path, width):
    """Such a column ended the whole reading in an error of the library."""
    seconds = AT // 1000 if width.bit_width == 32 else 100
    item = pa.table({"item_id": [7], "published_at": pa.array([seconds], width), "valid_from": pa.array([0], width)})
    (tmp_path / "items").mkdir()
    pq.write_table(item, tmp_path / "items" / "0.parquet")
    log = {"kind": ["click"] * 2, "user_id": [1, 2], "item_id": [7, 7]}
    (tmp_path / "events").mkdir()
    pq.write_table(pa.table({**log, "occurred_at": [AT, AT]}), tmp_path / "events" / "0.parquet")
    narrow = pa.table({**log, "occurred_at": pa.array([seconds, 0], width)})
    pq.write_table(narrow, tmp_path / "events" / "1.parquet")
    source = Files(tmp_path)
    assert [row["occurred_at"] for row in events_of(source)] == [AT, AT]
    assert reasons_of(source) == [
        "occurred_at is in seconds: write UTC milliseconds",
        "occurred_at is before 26 April 1970",
    ]
    (unread,) = source.refused("items")["reason"].to_pylist()
    assert unread == "published_at is in seconds: write UTC milliseconds: read as unknown"


@pytest.mark.parametrize(
    ("written", "tags"),
    [
        ("rock;jazz blues", ["rock", "jazz blues"]),
        ('{rock,"jazz blues"}', ["rock", "jazz blues"]),
        ("a;b|c", ["a;b", "c"]),
    ],
)
def test_tags_are_parted_as_stores_and_databases_write_them(tmp_path, written, tags):
    pl.DataFrame({"item_id": [7], "tags": [written]}).write_csv(tmp_path / "items.csv")
    (tmp_path / "events.csv").write_text("kind,user_id,item_id,occurred_at\nclick,a,7,2026-01-01\n")
    assert Files(tmp_path).items()["tags"].to_pylist() == [tags]


def test_columns_of_types_that_no_field_takes_are_left_out_and_end_nothing(tmp_path):
    """Lists of bytes, instants of no calendar, dictionaries of bytes and durations of people each ended the reading."""
    far = pa.array([2**62, -(2**62), AT * 1000], pa.timestamp("us", "UTC"))
    items = {
        "item_id": [7, 8, 9],
        "tags": pa.array([[b"rock"], [b"\xff"], None]),
        "title": pa.array([b"one", b"\xff", None]).dictionary_encode(),
        "published_at": far,
        "embedding": pa.array([[1.0], [2.0], [3.0]], pa.list_(pa.float32(), 1)),
        "category": pa.array([{"name": "x"}, None, None]),
        "description": pa.array([[AT], None, None], pa.list_(pa.timestamp("ms", "+05:30"))),
    }
    source = folder_of(tmp_path, pa.table(items))
    read = source.items().select(["tags", "title", "published_at", "category", "description"]).to_pylist()
    assert [list(row.values()) for row in read] == [
        [["rock"], "one", 0, "rock", None],
        [None, None, 1, None, None],
        [None, None, AT, None, None],
    ]
    assert source.items()["embedding"].to_pylist() == [[1], [2], [3]]
    refused = sorted(row["reason"] for row in source.refused("items").to_pylist())
    assert refused == [
        "category is neither text nor an integer: read as unknown",
        "description is no text: left out",
        "published_at is after the year 5138: read as unknown",
        "tags is no list of texts: left out",
        "title is no text: left out",
    ]


def test_what_is_said_of_people_may_be_of_any_type(tmp_path):
    users = {
        "user_id": [1, 2],
        "tenure": pa.array([90_000, None], pa.duration("s")),
        "born": pa.array([2**30, 0], pa.int32()).cast(pa.date32()),
        "tastes": pa.array([[b"rock"], [b"\xff"]]),
        "profile": pa.array([{"at": AT}, None], pa.struct([("at", pa.timestamp("ms", "+05:30"))])),
    }
    pq.write_table(pa.table(users), tmp_path / "users.parquet")
    source = folder_of(tmp_path)
    said = {row["user_id"]: set(row["attributes"]) for row in source.attributes().to_pylist()}
    assert said == {
        "1": {"tenure=90000000", "tenure~27", "born=9999-12-31", "tastes=rock"},
        "2": {"born=1970-01-01"},
    }
    refused = {row["reason"] for row in source.refused("users").to_pylist()}
    assert refused == {"tastes is no list of texts: left out", "profile is no list of texts: left out"}


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_numbers_in_lists_are_the_same_words_in_every_format(tmp_path, form):
    items = {"item_id": [7, 8], "tags": [[1.0, 2.5], [float("nan"), 1e3]]}
    if form == "parquet":
        pl.DataFrame(items).write_parquet(tmp_path / "items.parquet")
    else:
        rows = ({"item_id": n, "tags": tags} for n, tags in zip(*items.values(), strict=True))
        (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "events.csv").write_text("kind,user_id,item_id,occurred_at\nclick,a,7,2026-01-01\n")
    assert Files(tmp_path).items()["tags"].to_pylist() == [["1", "2.5"], ["1000"]]
