"""The cleaned tables of a small lake: four days with every kind of dirt, one of them empty, one mostly broken."""

import resource
import signal

import duckdb
import pytest
import yaml

from recsys import events, vocabulary
from recsys.cleaned.keyed import CLEANED_EVENT_SCHEMA, IMPRESSION_SCHEMA, QUARANTINE_SCHEMA
from recsys.cleaned.log import read_keys, read_log
from recsys.cleaned.publish import TABLES, CleaningError, publish, scratch
from recsys.events import DAY_MS, EVENT_SCHEMA, HOUR_MS, first_position, key64, query_key
from recsys.features.judged import Judgements
from recsys.lake import Lake, LakeError
from recsys_assets.defs.borders.checks import _fates
from recsys_assets.defs.cleaned.project import PROJECT
from tests.cleaned.build import MIDNIGHT, build, dbt, event, write_day, write_items

DAYS = ["2026-01-05", "2026-01-06", "2026-01-07", "2026-01-08"]
LIVE = first_position(20459) + 2**31 + 5


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    lake = Lake(tmp_path_factory.mktemp("home"))
    write_items(lake, "i", "k")
    evening = DAY_MS - HOUR_MS
    write_day(
        lake,
        DAYS[0],
        [
            event("s1", "impression", 1000, slot=0, shelf="feed", date="2026-01-05"),
            event("s1", "impression", 1000, received=5000, slot=0, shelf="feed", date="2026-01-05"),
            event("s2", "impression", evening, item_id="k"),
            event("c1", "click", 3000, impression_id="s1"),
            event("bad", "hover", 3000),
            event("private", "click", 3000, user_id="v", consent=False),
            event("stray", "click", -9000 * DAY_MS),  # the clock of 2001, in the file of the nearest day
        ],
    )
    write_day(
        lake,
        DAYS[1],
        [
            event("c1", "click", 3000, received=DAY_MS + 5, impression_id="s1"),  # delivered again a day later
            event("c2", "click", evening + 10, received=DAY_MS + HOUR_MS, item_id="k", impression_id="s2"),  # late
            event("p2", "play", evening + 900, received=DAY_MS + HOUR_MS, item_id="k", watch_ms=700),
            event("ahead", "like", DAY_MS + HOUR_MS + 60_000, received=DAY_MS + HOUR_MS, item_id="k"),
            event("live", "click", DAY_MS + 7, user_id="w", item_id="new", position=LIVE, shelf="search"),
        ],
    )
    write_day(lake, DAYS[2], [])
    write_day(lake, DAYS[3], [event("s9", "impression", 3 * DAY_MS + 5, item_id="k")])
    assert build(lake, *DAYS) == {
        "cleaned_events": 8,
        "impressions": 5,  # and the live click on a day without any implies one, with another item beside it
        "sessions": 6,
        "quarantine": 3,
        "duplicates": 2,
        "searches": 0,
    }
    return lake


def rows(lake, day, table):
    return lake.read(lake.day(day, "cleaned", table)).to_pylist()


def test_the_first_delivery_of_an_event_is_kept_across_days(lake):
    assert [e["event_id"] for e in rows(lake, DAYS[0], "events")] == ["s1", "c1", "s2"]
    assert [e["event_id"] for e in rows(lake, DAYS[1], "events")] == ["ahead", "c2", "p2", "live"]
    assert [d["event_id"] for d in rows(lake, DAYS[1], "duplicates")] == ["c1"]


def test_positions_follow_the_day_and_a_live_event_keeps_its_own(lake):
    assert [e["position"] for e in rows(lake, DAYS[0], "events")] == [first_position(20458) + n for n in range(3)]
    second = [e["position"] for e in rows(lake, DAYS[1], "events")]
    assert second == [*(first_position(20459) + n for n in range(3)), LIVE]


def test_broken_rows_are_kept_with_their_reason(lake):
    assert {q["event_id"]: q["reason"] for q in rows(lake, DAYS[0], "quarantine")} == {
        "bad": "unknown_kind",
        "private": "no_consent",
        "stray": "stray_day",
    }
    assert lake.read(lake.day(DAYS[0], "cleaned", "quarantine")).schema == QUARANTINE_SCHEMA


def test_a_clock_ahead_is_set_to_ours(lake):
    ahead = next(e for e in rows(lake, DAYS[1], "events") if e["event_id"] == "ahead")
    assert ahead["occurred_at"] == ahead["received_at"] == MIDNIGHT + DAY_MS + HOUR_MS
    assert ahead["date"] == "2026-01-06"


def test_labels_reach_over_midnight(lake):
    first, second = rows(lake, DAYS[0], "impressions")
    keys = {e["event_key"]: e["event_id"] for e in rows(lake, DAYS[0], "events")}
    assert (keys[first["impression_id"]], first["click"], first["click_received_at"]) == ("s1", 1, MIDNIGHT + 3000)
    assert (keys[second["impression_id"]], second["click"], second["like"], second["watch_ms"]) == ("s2", 1, 1, 700)
    assert second["outcome_received_at"] == MIDNIGHT + DAY_MS + HOUR_MS


def test_keys_are_those_of_the_ids_and_zero_where_unknown(lake):
    table = lake.read(lake.day(DAYS[1], "cleaned", "events"))
    assert table.schema == CLEANED_EVENT_SCHEMA
    assert lake.read(lake.day(DAYS[1], "cleaned", "impressions")).schema == IMPRESSION_SCHEMA
    late, live = table.to_pylist()[1], table.to_pylist()[3]
    assert [late["user_key"], late["item_key"]] == key64(["u", "k"]).tolist()
    assert [late["category_key"], late["creator_key"]] == key64(["news", "c1"]).tolist()
    assert live["item_key"] == key64(["new"])[0] and live["category_key"] == live["creator_key"] == 0
    assert (live["shelf"], live["shelf_key"]) == ("search", key64(["search"])[0])  # as it was said
    assert (late["kind_code"], live["kind_code"]) == (2, 2)


def test_an_empty_day_has_empty_tables(lake):
    for folder, schema, _ in TABLES.values():
        table = lake.read(lake.day(DAYS[2], "cleaned", folder))
        assert table.num_rows == 0 and table.schema == schema


def test_every_raw_row_is_accounted_for(lake):
    assert [_fates(lake, day) for day in DAYS] == [[7, 3, 3, 1, 0], [5, 4, 0, 1, 0], [0] * 5, [1, 1, 0, 0, 0]]


def test_a_day_again_has_the_same_bytes_and_touches_no_other(lake):
    def content():
        return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (lake.home / "lake" / "cleaned").rglob("*.parquet")}

    before = content()
    build(lake, DAYS[1])
    after = content()
    assert {p: b for p, (b, _) in before.items()} == {p: b for p, (b, _) in after.items()}
    written = {p.stem for p in after if after[p][1] != before[p][1]}
    assert written == {DAYS[1], "items"}


def test_a_full_disk_keeps_what_was_there(lake):
    path = lake.day(DAYS[0], "cleaned", "events")
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(CleaningError, match="free space below"):
            publish(lake, DAYS[:2])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert not list(lake.home.rglob("*.tmp"))


def test_a_day_of_broken_rows_is_refused_and_nothing_is_replaced(lake):
    path, raw = lake.day(DAYS[3], "cleaned", "events"), lake.day(DAYS[3], "raw", "events")
    before, raw_before = path.read_bytes(), raw.read_bytes()
    write_day(lake, DAYS[3], [event("x", "hover", 3 * DAY_MS), event("y", "play", 3 * DAY_MS, watch_ms=-4)])
    try:
        with pytest.raises(CleaningError) as error:
            build(lake, DAYS[3])
    finally:
        raw.write_bytes(raw_before)
    assert "2026-01-08: 2 of 2 raw events are broken (negative_watch 1, unknown_kind 1)" in str(error.value)
    assert path.read_bytes() == before


def test_without_items_the_message_says_what_to_materialize(lake):
    items = lake.table("cleaned", "items")
    kept = items.read_bytes()
    items.unlink()
    with pytest.raises(LakeError, match="cleaned/items"):
        publish(lake, DAYS[:1])
    items.write_bytes(kept)


def test_the_sql_is_right_on_the_rows_of_its_unit_tests(lake):
    assert "PASS=5 WARN=0 ERROR=0" in dbt(lake, "test", "--select", "test_type:unit")


def test_dbt_and_the_vocabulary_agree():
    variables = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["vars"]
    assert variables["kinds"] == list(events.KINDS)
    assert variables["label_window_ms"] == events.LABEL_WINDOW_MS
    assert variables["session_gap_ms"] == events.SESSION_GAP_MS
    assert variables["nobody"] == events.NOBODY
    assert vocabulary.MACRO.read_text() == vocabulary.macro(), "python -m recsys.vocabulary"
    staged = (PROJECT / "models" / "staging" / "stg_events.sql").read_text()
    assert all(f"        {name},\n" in staged for name in EVENT_SCHEMA.names)
    outcomes = (PROJECT / "models" / "cleaned" / "impressions.sql").read_text()
    assert f"kind in ({', '.join(repr(k) for k in events.OUTCOMES)})" in outcomes


@pytest.mark.parametrize(("position", "is_told"), [("< 2147483648", True), (">= 2147483648", False)])
def test_the_order_of_instants_is_looked_at_on_days_with_live_events_too(tmp_path, position, is_told):
    """One live click once left its whole day unlooked at."""
    lake = Lake(tmp_path)
    write_items(lake, "i")
    imported = [event(f"e{n}", "click", 1000 * n) for n in range(1, 4)]
    write_day(lake, DAYS[0], [*imported, event("live", "click", 9000, position=LIVE - (1 << 32))])
    build(lake, DAYS[0])
    with duckdb.connect(str(scratch(lake) / "scratch.duckdb")) as database:  # a fault of the model, planted
        first = f"select min(position) from cleaned_events where position & 4294967295 {position}"
        database.execute(f"update cleaned_events set received_at = received_at + 60000 where position = ({first})")
    command = ["test", "--select", "instants_are_ordered"]
    if is_told:
        with pytest.raises(AssertionError, match="Got 1 result, configured to fail"):
            dbt(lake, *command)
    else:
        dbt(lake, *command)  # in the order in which the log took them, whatever the clocks say


def test_a_search_has_its_place_in_the_log_and_is_no_event_of_the_cleaned_ones(tmp_path):
    lake, asked = Lake(tmp_path), "Whales, at NIGHT"
    write_items(lake, "i")
    write_day(
        lake,
        DAYS[0],
        [
            event("s1", "impression", 1000, slot=0, shelf="feed"),
            event("q1", "search", 2000, item_id=None, query=asked),
            event("q2", "search", 2500, item_id=None, query="whales at night", position=first_position(20458) + 2**31),
            event("c1", "click", 3000, impression_id="s1"),
        ],
    )
    assert build(lake, DAYS[0]) | {"duplicates": 0} == {
        "cleaned_events": 2, "impressions": 1, "sessions": 1, "quarantine": 0, "duplicates": 0, "searches": 2,
    }  # fmt: skip
    first = first_position(20458)
    assert [row["position"] for row in rows(lake, DAYS[0], "events")] == [first, first + 2]
    log = read_log(lake)
    assert log.position.tolist() == [first, first + 1, first + 2, first + 2**31]
    searched = log.take(log.kind == events.KINDS["search"])
    assert searched.item_key.tolist() == [query_key("whales at night")] * 2 and searched.user_key.all()
    assert Judgements.of_log(log).of(int(key64(["u"])[0])).searched.tolist() == searched.item_key.tolist()
    assert len(read_keys(lake)) == 4


def test_of_old_days_the_live_events_that_may_have_said_no_instant_are_known_by_id(tmp_path):
    lake, live = Lake(tmp_path), first_position(20458) + 2**31
    write_items(lake, "i")
    write_day(
        lake,
        DAYS[0],
        [
            event("c1", "click", 1000),
            event("c2", "click", 2000, position=live),  # received when it happened: nobody may have said when
            event("c3", "click", 3000, received=9000, position=live + 1),
        ],
    )
    write_day(lake, DAYS[1], [event("c4", "click", DAY_MS + 1000)])
    build(lake, *DAYS[:2])
    keys = {row["position"]: row["event_key"] for row in rows(lake, DAYS[0], "events")}
    assert read_keys(lake, "2099-01-01") == [keys[live]]
