"""The official files: what an impression unfolds into, what is set aside, what is refused."""

import polars as pl
import pytest

from recsys.events import EVENT_SCHEMA, MINUTE_MS
from recsys.sources.kuairand import LOG_COLUMNS, KuaiRand
from recsys.sources.source import SourceError, day_name, day_number

BASE = 1650900000000  # 2022-04-25 23:20 local
VIDEO = """\
video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,server_height,\
music_id,music_type,tag
7,90,NORMAL,2022-04-10,Web,0.0,,720.0,1280.0,1,9.0,
8,91,AD,2022-04-11,Web,0.0,9000.0,1,1,,,"3,5"
"""


def line(**values):
    row = (
        dict.fromkeys(LOG_COLUMNS, 0)
        | {"user_id": 1, "video_id": 7, "date": 20220425, "time_ms": BASE, "tab": 1}
        | values
    )
    return ",".join(str(row[c]) for c in LOG_COLUMNS)


def write(folder, *lines, name="log_standard_4_25_to_5_05_pure.csv"):
    (folder / name).write_text("\n".join([",".join(LOG_COLUMNS), *lines]) + "\n")
    (folder / "video_features_basic_pure.csv").write_text(VIDEO)
    return KuaiRand(folder)


def events_of(source):
    first, last = (day_number(d) for d in (source.first_day(), source.last_day()))
    tables = [source.read_day(day_name(n)).events for n in range(first, last + 1)]
    assert all(t.schema == EVENT_SCHEMA for t in tables)
    return pl.concat([pl.DataFrame(pl.from_arrow(t)) for t in tables])


def test_outcomes_are_known_only_when_the_watch_is_over(tmp_path):
    source = write(tmp_path, line(is_click=1, long_view=1, is_like=1, is_forward=1, play_time_ms=61_000))
    events = events_of(source)
    assert events["kind"].to_list() == ["impression", "click", "play", "long_view", "like", "share"]
    assert events["received_at"].to_list() == [BASE] + [BASE + 61_000] * 5
    assert events["impression_id"].to_list() == [None] + [f"1:7:{BASE}:i"] * 5
    assert events.filter(kind="play")["watch_ms"].item() == 61_000
    assert set(events["date"]) == {"2022-04-25"} and set(events["shelf"]) == {"tab1"}
    assert set(events["request_id"]) == {f"1:{BASE}"}


def test_a_watch_over_midnight_lands_on_the_next_day(tmp_path):
    late = BASE + 39 * MINUTE_MS
    source = write(tmp_path, line(time_ms=late, is_click=1, play_time_ms=2 * MINUTE_MS))
    assert (source.first_day(), source.last_day()) == ("2022-04-25", "2022-04-26")
    assert source.read_day("2022-04-25").events["kind"].to_pylist() == ["impression"]
    assert source.read_day("2022-04-26").events["kind"].to_pylist() == ["click", "play"]


@pytest.mark.parametrize(
    ("row", "kinds"),
    [
        ({"play_time_ms": 2_999}, ["impression", "play", "skip"]),
        ({"play_time_ms": 3_000}, ["impression", "play"]),
        ({"play_time_ms": 0}, ["impression"]),  # the cover was never opened
        ({"play_time_ms": 1}, ["impression", "play", "skip"]),
        ({"play_time_ms": 2_000, "is_click": 1}, ["impression", "click", "play"]),
        ({"play_time_ms": 2_000, "long_view": 1}, ["impression", "play", "long_view"]),
        ({"play_time_ms": 5_000, "is_hate": 1, "is_follow": 1}, ["impression", "play", "dislike", "follow"]),
    ],
)
def test_what_a_row_unfolds_into(tmp_path, row, kinds):
    assert events_of(write(tmp_path, line(**row)))["kind"].to_list() == kinds


def test_the_random_log_is_a_shelf_of_its_own(tmp_path):
    write(tmp_path, line())
    source = write(tmp_path, line(is_rand=1, user_id=2), name="log_random_4_22_to_5_08_pure.csv")
    assert sorted(events_of(source).filter(kind="impression")["shelf"]) == ["random", "tab1"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (line(user_id="x"), "user_id is not an integer"),
        (line(video_id=""), "video_id is not an integer"),
        (line(is_click=2), "is_click is neither 0 nor 1"),
        (line(time_ms=1650900000), "time_ms is no instant in milliseconds"),
        (line(play_time_ms=-1), "play_time_ms is not within a day"),
        (line(date=20221350), "date is not a day as YYYYMMDD"),
        ("1,7,20220425", "3 fields where 19 are due"),
        (line() + ",5", "20 fields where 19 are due"),
    ],
)
def test_a_row_that_cannot_be_read_is_set_aside_with_its_reason(tmp_path, row, reason):
    source = write(tmp_path, line(), row)
    day = source.read_day(source.first_day())
    assert (day.rows_read, day.rows_kept) == (2, 1)
    (refused,) = day.rejected.to_pylist()
    assert refused["reason"] == reason and refused["origin"] == "log_standard_4_25_to_5_05_pure.csv:3"


def test_an_unknown_day_is_empty(tmp_path):
    day = write(tmp_path, line()).read_day("2030-01-01")
    assert day.events.num_rows == 0 and day.events.schema == EVENT_SCHEMA and day.rows_read == 0


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "log_standard_4_25_to_5_05_pure.csv").unlink(), "holds no log_standard"),
        (lambda f: (f / "video_features_basic_pure.csv").unlink(), "video_features_basic_pure.csv is missing"),
        (
            lambda f: (f / "log_standard_4_25_to_5_05_pure.csv").write_text("user_id,foo\n1,2\n"),
            "lacks the column video_id",
        ),
        (
            lambda f: (f / "log_standard_4_25_to_5_05_pure.csv").write_text(",".join([*LOG_COLUMNS, "mood"]) + "\n"),
            "unknown column mood",
        ),
        (lambda f: (f / "log_standard_4_25_to_5_05_pure.csv").write_bytes(b"\xff\xfe\x00"), "UTF-16: save it as UTF-8"),
        (
            lambda f: (f / "log_standard_4_25_to_5_05_pure.csv").write_text(",".join(LOG_COLUMNS) + "\n"),
            "no readable log row",
        ),
        (lambda f: (f / "user_history_before_20220425.parquet").write_text("no"), "not readable Parquet"),
        (
            lambda f: (f / "video_features_basic_pure.csv").write_text(VIDEO.replace("\n7,", "\nseven,")),
            "not an integer",
        ),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_in_one_line(tmp_path, damage, message):
    write(tmp_path, line())
    damage(tmp_path)
    with pytest.raises(SourceError) as error:
        use(tmp_path)
    assert message in str(error.value) and "\n" not in str(error.value)


def use(folder):
    source = KuaiRand(folder)
    source.first_day()
    source.read_day("2022-04-25")
    source.items()


def test_items_survive_what_is_missing(tmp_path):
    items = write(tmp_path, line()).items().to_pylist()
    assert [(i["item_id"], i["creator_id"], i["category"], i["tags"], i["duration_ms"]) for i in items] == [
        ("7", "90", None, [], 0),
        ("8", "91", "3", ["3", "5"], 9000),
    ]
    assert items[0]["published_at"] == 1649520000000  # 2022-04-10 00:00 in UTC+8


def test_history_lies_before_the_log_in_order(tmp_path):
    write(tmp_path, line())
    pl.DataFrame(
        {
            "user_id": [1, 2],
            "history_len": [4, 1],
            "last_time_ms": [BASE - 3_600_000, BASE + 5],
            "watch_seq": [[5, 6, 5, 8], [9]],
            "like_seq": [[6], []],
            "long_watch_seq": [[99, 5, 8], []],
        }
    ).write_parquet(tmp_path / "user_history_before_20220425.parquet")
    source = KuaiRand(tmp_path)
    history = events_of(source).filter(shelf="history").sort("received_at", "kind")
    ones = history.filter(user_id="1")
    assert ones.filter(kind="exposure")["item_id"].to_list() == ["5", "6", "5", "8"]
    # 99 lies before the watched sequence; the 5 that was watched long is the later one
    assert ones.filter(kind="exposure_long_view")["event_id"].to_list() == [
        "1:5:h2:exposure_long_view",
        "1:8:h3:exposure_long_view",
    ]
    assert ones.filter(kind="like")["item_id"].to_list() == ["6"]
    assert ones.filter(kind="exposure")["received_at"].to_list() == [BASE - k * MINUTE_MS for k in (4, 3, 2, 1)]
    assert ones["occurred_at"].max() == BASE - 3_600_000
    assert (history["occurred_at"] <= history["received_at"]).all() and history["received_at"].max() < BASE
    assert source.users()["user_id"].to_pylist() == ["1", "2"]


@pytest.mark.kuairand
def test_every_row_of_the_real_slice_is_accounted_for(kuairand):
    source = KuaiRand(kuairand)
    first, last = (day_number(d) for d in (source.first_day(), source.last_day()))
    days = [source.read_day(day_name(n)) for n in range(first, last + 1)]
    assert (source.first_day(), source.last_day()) == ("2022-04-24", "2022-05-05")
    assert sum(d.rows_read for d in days) == sum(d.rows_kept for d in days) == 185_061
    events = pl.concat([pl.DataFrame(pl.from_arrow(d.events)) for d in days])
    assert events.height == sum(d.events.num_rows for d in days)
    assert events.filter(kind="impression")["event_id"].n_unique() == 185_061 - 5_039
    skipped, played = (events.filter(kind=kind)["impression_id"] for kind in ("skip", "play"))
    assert len(skipped) == 74_490 - 17_705 and skipped.is_in(played.implode()).all()
