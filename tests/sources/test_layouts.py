"""Where the files of a table lie, and in which form: all that belongs to it is read, and what is not read is named."""

import gzip
import json
import os

import polars as pl
import pytest
import zstandard

from recsys.settings import SettingsError, from_environment
from recsys.sources.files import Files
from recsys.sources.source import SourceError

AT = 1793527200000
ROWS = [{"kind": "click", "user_id": n, "item_id": 7 + n % 2, "occurred_at": AT + n, "device": "web"} for n in range(4)]


def written(form, rows):
    frame = pl.DataFrame(rows)
    if form == "json":
        return json.dumps(rows, indent=1).encode()
    if form == "jsonl":
        return "\n".join(map(json.dumps, rows)).encode()
    if form == "parquet":
        import io

        sink = io.BytesIO()
        frame.write_parquet(sink)
        return sink.getvalue()
    separator = {"csv": ",", "csv;": ";", "tsv": "\t", "csv\t": "\t"}[form.removesuffix("-bom")]
    return (b"\xef\xbb\xbf" if form.endswith("-bom") else b"") + frame.write_csv(separator=separator).encode()


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def folder(tmp_path):
    put(tmp_path / "items.csv", "item_id,title\n7,a\n8,b\n")
    return tmp_path


def users_of(folder):
    return sorted(Files(folder).events()["user_id"].to_list())


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
@pytest.mark.parametrize("form", ["parquet", "csv", "csv-bom", "csv;", "csv\t", "tsv", "json", "jsonl"])
def test_every_form_says_the_same(folder, form, packed):
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[packed]
    put(folder / f"events.{form.rstrip(';').strip().removesuffix('-bom')}{packed}", pack(written(form, ROWS)))
    rows = Files(folder).events().select("kind", "user_id", "item_id", "occurred_at", "device").rows()
    assert rows == [(r["kind"], str(r["user_id"]), str(r["item_id"]), r["occurred_at"], "web") for r in ROWS]


@pytest.mark.parametrize("packed", [".gz", ".zst", ".zstd"])
def test_a_packed_tsv_is_parted_by_tabs_whatever_its_header_says(folder, packed):
    content = b"user_id\nu\n \ttorn\n"
    put(folder / "events.csv", written("csv", ROWS))
    put(folder / f"users.tsv{packed}", gzip.compress(content) if packed == ".gz" else zstandard.compress(content))
    source = Files(folder)
    assert source.users()["user_id"].to_pylist() == ["u"]
    assert [row["reason"] for row in source.refused("users").to_pylist()] == ["2 fields where 1 are due"]


def test_nothing_beside_another_is_left_unread(folder):
    put(folder / "events.csv", written("csv", ROWS[:1]))
    put(folder / "events" / "a.csv.gz", gzip.compress(written("csv", ROWS[1:2])))
    put(folder / "events" / "b.json", written("json", ROWS[2:3]))
    put(folder / "events" / "2026" / "11" / "part-0.snappy.parquet", written("parquet", ROWS[3:]))
    assert users_of(folder) == ["0", "1", "2", "3"]
    assert Files(folder).files()["events"] == [
        "events.csv",
        "events/2026/11/part-0.snappy.parquet",
        "events/a.csv.gz",
        "events/b.json",
    ]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "csv.gz"])
def test_a_part_of_no_byte_holds_no_row(folder, ending):
    """Spark writes one for each partition without rows, and of CSV no header either."""
    put(folder / "events" / "part-0.csv", written("csv", ROWS))
    put(folder / "events" / f"part-1.{ending}", gzip.compress(b"") if ending.endswith("gz") else b"")
    put(folder / "items" / f"part-1.{ending}", b"")
    put(folder / "users" / f"part-1.{ending}", b"")
    assert users_of(folder) == ["0", "1", "2", "3"]


def test_what_is_not_read_is_named_and_hidden_files_are_not(folder):
    put(folder / "events.csv", written("csv", [r | {"mood": "good"} for r in ROWS]))
    for name in ("events.old.csv", "events/notes.txt", "more/a.csv", "events.csv.bak", "events/_SUCCESS", ".x.csv"):
        put(folder / name, "hidden or not")
    assert users_of(folder) == ["0", "1", "2", "3"]
    files, columns = Files(folder).ignored()
    assert all(name in files for name in ("events.old.csv", "events/notes.txt", "more/", "events.csv.bak"))
    assert "SUCCESS" not in files and ".x.csv" not in files and columns.startswith("events: the columns mood")


def test_the_names_of_folders_are_columns(folder):
    rows = [{k: v for k, v in r.items() if k not in ("device", "kind", "item_id")} for r in ROWS]
    for n, row in enumerate(rows[:3]):
        device = ["web", "smart%20tv", "__HIVE_DEFAULT_PARTITION__"][n]
        place = folder / f"events/date=2026-11-0{n + 1}/kind=click/itemId=7/device={device}/x=1"
        put(place / "a.parquet", written("parquet", [row]))
    source = Files(folder)
    assert source.events().select("user_id", "kind", "item_id", "date", "device").rows() == [
        ("0", "click", "7", "2026-11-01", "web"),
        ("1", "click", "7", "2026-11-02", "smart tv"),
        ("2", "click", "7", "2026-11-03", None),
    ]
    assert source.ignored() == ["events: the columns x, which nobody knows"]


def test_the_later_of_two_deliveries_is_that_of_the_greater_number(folder):
    put(folder / "events.jsonl", written("jsonl", ROWS))
    for n in (2, 9, 10):
        put(folder / f"items/v{n}/part.csv", f"item_id,title\n7,title of {n}\n")
    (folder / "items.csv").unlink()
    source = Files(folder)
    assert source.files()["items"] == [f"items/v{n}/part.csv" for n in (2, 9, 10)]
    assert source.items()["title"].to_pylist() == ["title of 10"]


def test_a_folder_that_is_a_link_is_followed_once(folder):
    put(folder / "elsewhere" / "a.csv", written("csv", ROWS))
    (folder / "events").mkdir()
    (folder / "events" / "there").symlink_to(folder / "elsewhere")
    (folder / "elsewhere" / "round").symlink_to(folder / "events")
    assert users_of(folder) == ["0", "1", "2", "3"]


def test_a_quote_that_is_not_closed_swallows_no_rows(folder):
    lines = written("csv", ROWS).decode().splitlines()
    lines[2] = lines[2].replace("click", '"click')
    lines[4] = lines[4].replace("web", '"web')
    put(folder / "events.csv", "\n".join(lines) + "\n")
    source = Files(folder)
    assert users_of(folder) == ["0", "2"]
    refused = source.read_day(source.first_day()).rejected.to_pylist()
    assert [(r["origin"], r["reason"]) for r in refused] == [
        ("events.csv:3", "a quote is not closed in its line"),
        ("events.csv:5", "a quote is not closed in its line"),
    ]


def test_the_header_once_more_is_no_row(folder):
    """Of two catalogues that were joined into one file, an item of the name item_id could be recommended."""
    put(folder / "events.csv", written("csv", ROWS) + written("csv-bom", ROWS[:1]))
    put(folder / "items.csv", "item_id,title\n7,a\nitem_id,title\n8,b\nitem_id,so called\n")
    put(folder / "users.csv", "user_id;plan\n1;a\nuser_id;plan\n")
    source = Files(folder)
    assert source.items()["item_id"].to_pylist() == ["7", "8", "item_id"] and users_of(folder) == [
        "0",
        "0",
        "1",
        "2",
        "3",
    ]
    assert source.users()["user_id"].to_pylist() == ["1"]
    refused = [source.read_day(source.first_day()).rejected, source.refused("items"), source.refused("users")]
    assert [(row["origin"], row["reason"], row["text"]) for table in refused for row in table.to_pylist()] == [
        ("events.csv:6", "is the header once more", "kind,user_id,item_id,occurred_at,device"),
        ("items.csv:3", "is the header once more", "item_id,title"),
        ("users.csv:3", "is the header once more", "user_id,plan"),
    ]


def test_a_title_may_have_lines_quotes_and_delimiters(folder):
    put(folder / "events.csv", written("csv", ROWS))
    put(folder / "items.csv", 'item_id,title\n7,"two\nlines"\n8,"say ""hi"", twice"\n')
    assert Files(folder).items()["title"].to_pylist() == ["two\nlines", 'say "hi", twice']


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("events.csv.gz", gzip.compress(written("csv", ROWS * 50))[:-30], "events.csv.gz cannot be read"),
        ("events.csv.zst", b"nothing packed", "events.csv.zst cannot be read"),
        ("events.json", b'[{"kind": "click"', "events.json is no JSON array"),
        ("events.csv", "kind,user_id,item_id,occurred_at\nclick,1,7,2026\n".encode("utf-16"), "save it as UTF-8"),
        ("events.csv", b"kind,user_id,item_id,occurred_at\nclick,\xe9,7,2026-11-01\n", "save it as UTF-8"),
        ("events.jsonl", written("jsonl", ROWS).decode().encode("utf-16"), "events.jsonl is UTF-16: save it as UTF-8"),
        ("events.csv", b"kind,user_id,item_id,occurred_at\rclick,1,7,2026-11-01\r", "CR alone: save it with LF"),
        ("events/_delta_log/0.json", b"{}", "is a Delta table"),
        ("events/.hoodie/hoodie.properties", b"", "is a Hudi table"),
        ("events/metadata/v1.metadata.json", b"{}", "is an Iceberg table"),
        ("events.csv", b"", "holds no readable event"),
        ("events/a.parquet", b"", "a.parquet"),
        ("events/a.xlsx", b"PK", "holds no events (it has events/a.xlsx)"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(folder, name, content, words):
    put(folder / name, content)
    with pytest.raises(SourceError) as error:
        Files(folder).days()
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_broken_catalogue_is_told_before_the_events_are_read(folder):
    put(folder / "events.csv", "nothing that could be read")
    put(folder / "items.csv", "title\na\n")
    with pytest.raises(SourceError, match=r"items\.csv lacks the column item_id"):
        Files(folder).days()


def test_data_alone_names_the_source(folder):
    assert from_environment({"RECSYS_DATA": str(folder)}).source == "files"
    put(folder / "log_standard_4_pure.csv", "")
    assert from_environment({"RECSYS_DATA": str(folder)}).source == "kuairand"
    assert from_environment({"RECSYS_DATA": str(folder), "RECSYS_SOURCE": "simulator"}).source == "simulator"


def test_kinds_are_pairs_of_an_own_word_and_a_known_one():
    assert from_environment({"RECSYS_KINDS": "View=impression, stars=rating"}).kinds == (
        ("view", "impression"),
        ("stars", "rating"),
    )
    for wrong in ("view", "view=look", "=click", "a=b=click"):
        with pytest.raises(SettingsError, match="RECSYS_KINDS"):
            from_environment({"RECSYS_KINDS": wrong})


PARAGRAPH = 'One, two\nthree, four, five\n\nsay ""hi"", twice'


@pytest.mark.parametrize("column", ["description", "notes"])
def test_no_line_of_a_paragraph_is_taken_for_a_row(folder, column):
    put(folder / "events.csv", written("csv", ROWS))
    torn = f'9,c,"{PARAGRAPH}",more\n10,"c",open "quote\n'
    put(folder / "items.csv", f'item_id,title,{column}\n7,a,"{PARAGRAPH}"\n{torn}"8\n",d,\n8,b,"{PARAGRAPH}"\n')
    source = Files(folder)
    assert source.items()["item_id"].to_pylist() == ["7", "8"]
    if column == "description":
        assert source.items()["description"].to_pylist() == [PARAGRAPH.replace('""', '"')] * 2
    assert [(row["origin"], row["reason"]) for row in source.refused("items").to_pylist()] == [
        ("items.csv:6", "4 fields where 3 are due"),
        ("items.csv:10", "a quote is not closed in its line"),
        ("items.csv:11", "item_id has several lines: is a quote not closed?"),
    ]


def test_a_name_that_is_not_utf_8_is_refused_where_it_is_read_and_told_where_not(folder):
    strange = os.fsdecode(b"caf\xe9.")
    put(folder / "events.csv", written("csv", ROWS))
    put(folder / f"{strange}txt", "nobody reads this")
    assert Files(folder).ignored() == ["caf\ufffd.txt: 1 below the folder that are no events, items, users"]
    put(folder / "events" / f"{strange}csv", written("csv", ROWS))
    with pytest.raises(SourceError, match="caf\ufffd\\.csv is not UTF-8: rename it"):
        Files(folder)


def test_half_a_surrogate_pair_is_a_question_mark_wherever_it_stands(folder):
    put(folder / "events.jsonl", json.dumps(ROWS[0] | {"device": "\ud800", "mood\ud800": 1}))
    (folder / "items.csv").unlink()
    put(folder / "items.json", json.dumps([{"item_id": 7, "title": "a\udfff", "tags": ["\ud800", "b"]}]))
    put(folder / "users.jsonl", json.dumps({"user_id": 0, "taste\ud800": ["\ud83d\ude00", "\ud800"]}))
    source = Files(folder)
    assert source.events()["device"].to_list() == ["?"]
    assert source.items().select(["title", "tags"]).to_pylist() == [{"title": "a?", "tags": ["?", "b"]}]
    assert source.attributes()["attributes"].to_pylist() == [["taste?=?", "taste?=\U0001f600"]]
    assert source.ignored() == ["events: the columns mood?, which nobody knows"]


@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_a_row_with_a_key_twice_is_set_aside_for_nobody_knows_which_value_is_meant(folder, form):
    texts = [json.dumps({**ROWS[0], "user_id": n, "more": 0}) for n in range(3)]
    texts[1] = texts[1].replace('"more": 0', '"item_id": 8')
    texts[2] = texts[2].replace('"more": 0', '"more": {"a": 1, "a": 2}')
    put(folder / f"events.{form}", "\n".join(texts) if form == "jsonl" else f"[{','.join(texts)}]")
    assert users_of(folder) == ["0", "2"]
    source = Files(folder)
    (refused,) = source.read_day(source.first_day()).rejected.to_pylist()
    assert (refused["origin"], refused["reason"]) == (
        f"events.{form}:2",
        "not a JSON object: a key stands in it twice",
    )
