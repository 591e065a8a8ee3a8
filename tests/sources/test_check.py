"""`make check`: what a newcomer reads about a folder before anything is computed from it."""

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from recsys.settings import from_environment
from recsys.sources.check import lacks, sparkline
from recsys.sources.opening import open_source
from recsys_assets import check
from tests.conftest import ROOT

EXAMPLE = Path(__file__).parents[2] / "docs" / "example_logs"
AT = 1793527200000
DAY = 86_400_000


@pytest.fixture
def says(monkeypatch, capsys, tmp_path):
    """Runs the command on a folder; its status, and what it says in one line."""

    def run(folder, **settings):
        for name, value in {"HOME": tmp_path / "home", "DATA": folder, **settings}.items():
            if value:
                monkeypatch.setenv(f"RECSYS_{name}", str(value))
        status = check.main()
        return status, " ".join(capsys.readouterr().out.split())

    return run


def write(folder, events, items="item_id\nmovie-7\nmovie-8\n", header="kind,user_id,item_id,occurred_at"):
    (folder / "events.csv").write_text("\n".join([header, *events]) + "\n")
    (folder / "items.csv").write_text(items)


def test_the_example_can_be_run(says):
    status, words = says(EXAMPLE)
    assert status == 0 and "events: events.csv items: items.csv" in words
    assert "2026-11-02 to 2026-11-11, 10 with rows" in words and "344 impression, 108 click, 108 play" in words
    assert "16 items 30, of which 30 are in events" in words and "100.0% of the events name an item" in words
    assert "clicks, long views, watch times" in words and "test: 2026-11-09 to 2026-11-11" in words


def test_what_is_said_of_items_is_counted_and_what_cannot_be_read_of_it_named(says, tmp_path):
    items = "item_id;description;embedding\nmovie-7;A whale;1,2\nmovie-8;;0,0\nmovie-9;;3,4\n"
    write(tmp_path, [f"click,u{n},movie-7,{AT + n * DAY}" for n in range(8)], items)
    status, words = says(tmp_path)
    assert status == 0 and "rows that say description: 1; embedding of 2 numbers: 2" in words
    assert "1: embedding is all zero" in words and "(first: items.csv:3)" in words


def test_the_simulator_can_be_checked_too(says, monkeypatch):
    status, words = says("", SOURCE="simulator", DAYS=7, USERS=20)
    assert status == 0 and "2026-01-05 to 2026-01-11, 7 with rows" in words


def test_ids_that_do_not_match_are_to_mend_with_a_hint(says, tmp_path):
    write(tmp_path, [f"click,u{n},7,{AT + n * DAY}" for n in range(8)])
    status, words = says(tmp_path)
    assert status == 2 and "0.0% of the events name an item of the catalogue" in words
    assert "the events say '7', the catalogue 'movie-7'" in words and "write item_id alike" in words


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ("movie-7,no,\nmovie-8,f,", "no item is available"),
        ("movie-7,,\nmovie-8,0,", "one item alone is available"),
        ("movie-7,,2035-01-01\nmovie-8,,2612-01-19", "no item is published by the end of the log"),
    ],
)
def test_without_items_to_draw_no_run_can_end(says, tmp_path, items, words):
    header = "item_id,is_available,published_at"
    write(tmp_path, [f"click,u{n},movie-7,{AT + n * DAY}" for n in range(8)], f"{header}\n{items}\n")
    status, said = says(tmp_path)
    assert status == 2 and words in said


def test_a_user_who_is_nobody_and_items_published_after_their_events_are_told(says, tmp_path):
    rows = [f"click,{['-1', f'u{n}'][n % 2]},movie-{7 + n % 3 % 2},{AT + n * DAY // 4}" for n in range(40)]
    write(tmp_path, rows, "item_id,published_at\nmovie-7,2026-01-01\nmovie-8,2026-11-20\n")
    status, words = says(tmp_path)
    assert status == 0 and "the user '-1' has 50.0% of the events, 20 times as many as the next one" in words
    assert "32.5% of the events come before their item's published_at" in words
    write(tmp_path, [row.replace(",-1,", ",undefined,") for row in rows])
    assert "times as many" not in says(tmp_path)[1], "a word for nobody is nobody"


def test_what_cleaning_would_put_into_quarantine_is_counted_and_no_run_begins_with_nothing_else(says, tmp_path):
    header = "kind,user_id,item_id,occurred_at,received_at,watch_ms,consent"
    good = [f"play,u{n},movie-{7 + n % 2},{AT + n * DAY},,60000," for n in range(8)]
    bad = [f"click,,movie-7,{AT},,,", f"click,u,movie-7,{AT},,-1,", f"click,u,movie-7,{AT},{AT - DAY},,"]
    write(tmp_path, [*good, *bad, f"click,u,movie-7,{AT},,,no", bad[0]], header=header)
    status, words = says(tmp_path)
    assert status == 0 and "13: 8 play users 8 items" in words
    assert all(f"1: {why}" in words for why in ("negative_watch", "too_far_ahead", "no_consent"))
    assert "quarantine 2: missing_user_id" in words
    told = lacks(check.survey_of(open_source(from_environment())))
    assert any(line.startswith("events: 5 rows to quarantine: 2 missing_user_id, 1 ") for line in told)
    write(tmp_path, [row.replace(",60000,", ",-60000,") for row in good], header=header)
    status, words = says(tmp_path)
    assert status == 2 and "no event can be used: all go to quarantine (8 negative_watch)" in words


def test_a_file_delivered_twice_under_other_ids_and_seconds_for_milliseconds_are_told(says, tmp_path):
    def play(n, watched, device=""):
        return f"play,u{n},movie-{7 + n % 2},{AT + n * DAY},{watched},{device}"

    header = "kind,user_id,item_id,occurred_at,watch_ms,device"
    once = [play(n, 60_000) for n in range(8)]
    write(tmp_path, once + once, header=header)
    assert not any(words in says(tmp_path)[1] for words in ("delivered twice", "in seconds"))
    items = "item_id,duration_ms\nmovie-7,90\nmovie-8,120\n"
    write(tmp_path, [play(n, 60) for n in range(8)] + [play(n, 60, "tv") for n in range(8)], items, header)
    status, words = says(tmp_path)
    assert status == 0 and "100.0% of the events have kind, user, item and instant of another one" in words
    assert "watch_ms of plays is mostly below 10,000" in words and "duration_ms of items is mostly below" in words


def test_what_is_said_on_rows_where_nobody_reads_it_is_told(says, tmp_path):
    """Watch times of clicks, and places of clicks: check said that both would be learned."""
    header = "kind,user_id,item_id,occurred_at,watch_ms,slot,device"
    shown = [f"impression,u{n},movie-{7 + n % 2},{AT + n * DAY},,," for n in range(16)]
    clicked = [f"click,u{n},movie-{7 + n % 2},{AT + n * DAY + 9},60000,3,tv" for n in range(8)]
    write(tmp_path, shown + clicked, header=header)
    status, words = says(tmp_path)
    assert status == 0 and "watch_ms stands on rows of kind click: it is read of plays alone" in words
    assert "learned clicks lacks" in words and all(f"no {what}" in words for what in ("slots", "devices", "plays with"))
    write(tmp_path, [row.replace(",,,", ",,3,tv") for row in shown] + clicked, header=header)
    words = says(tmp_path)[1]
    assert "no slots" not in words and "no devices" not in words
    assert "slots begin at 3: the first place of a slate is 0" in words
    write(tmp_path, [row.replace(",,,", f",,{n % 3},tv") for n, row in enumerate(shown)] + clicked, header=header)
    assert "slots begin" not in says(tmp_path)[1]


def test_clicks_of_another_clock_and_users_of_other_ids_are_told(says, tmp_path):
    """Every label was lost, or every attribute, and check said that all is well."""
    shown = [f"impression,u{n},movie-{7 + n % 2},{AT + n * DAY}" for n in range(16)]
    (tmp_path / "users.csv").write_text("user_id,country\n" + "".join(f"U{n},ch\n" for n in range(16)))
    write(tmp_path, shown + [f"click,u{n},movie-{7 + n % 2},{AT + n * DAY - 7_200_000}" for n in range(1, 9)])
    words = says(tmp_path)[1]
    assert "100.0% of the clicks follow no impression of their user and item" in words
    assert "nobody of whom users say something is in the events (the events say 'u0', users 'U0')" in words
    (tmp_path / "users.csv").write_text("user_id,country\nu1,ch\nU2,ch\n")
    write(tmp_path, shown + [f"click,u{n},movie-{7 + n % 2},{AT + n * DAY + 1000}" for n in range(8)])
    words = says(tmp_path)[1]
    assert "follow no impression" not in words and "nobody of whom" not in words


@pytest.mark.parametrize("kind", ["click", "play"])
def test_outcomes_that_name_what_is_no_impression_of_their_pair_or_have_another_clock_are_told(says, tmp_path, kind):
    """Every label was lost, and check said that all is well."""
    header = "event_id,kind,user_id,item_id,occurred_at,impression_id"
    shown = [f"s{n},impression,u{n},movie-{7 + n % 2},{AT + n * DAY}," for n in range(16)]

    def told(names, later):
        rows = [f"o{n},{kind},u{n},movie-{7 + n % 2},{AT + n * DAY + later},{names(n)}" for n in range(8)]
        write(tmp_path, shown + rows, header=header)
        return says(tmp_path)[1]

    wrong = f"100.0% of the {kind}s have an impression_id that is the event_id of no impression of their user and item"
    assert wrong in told(lambda n: f"page-{n}", 1000) and wrong in told(lambda n: f"s{n + 1}", 1000)
    assert f"100.0% of the {kind}s follow no impression" in told(lambda n: "", -7_200_000)
    for fine in (told(lambda n: f"s{n}", -7_200_000), told(lambda n: "", 1000)):
        assert "impression_id" not in fine and "follow no impression" not in fine


def test_when_a_batch_was_loaded_is_told_to_be_no_received_at(says, tmp_path):
    """Nobody's history was known to any row that was learned from."""
    header = "kind,user_id,item_id,occurred_at,received_at"
    write(tmp_path, [f"click,u{n % 2},movie-7,{AT + n * DAY},{AT + 9 * DAY}" for n in range(8)], header=header)
    assert "100.0% of the events were received over an hour after they occurred" in says(tmp_path)[1]
    write(tmp_path, [f"click,u{n % 2},movie-7,{AT + n * DAY},{AT + n * DAY + 60_000}" for n in range(8)], header=header)
    assert "received over an hour" not in says(tmp_path)[1]


def test_a_request_that_goes_on_for_days_is_told_to_be_no_slate(says, tmp_path):
    header = "kind,user_id,item_id,occurred_at,request_id"

    def told(request):
        rows = [f"impression,u,movie-{7 + n % 2},{AT + n * DAY},{request(n)}" for n in range(8)]
        write(tmp_path, [*rows, f"click,u,movie-7,{AT},"], header=header)
        return says(tmp_path)[1]

    assert "100.0% of the impressions have a request_id that goes on for over a day" in told(lambda n: "home")
    assert "goes on for over a day" not in told(lambda n: n)


@pytest.mark.parametrize("device", ["", "ios"])
def test_watch_times_in_two_units_are_told(says, tmp_path, device):
    """Of two apps, or from a release on: one of them said that nobody watched anything."""
    header = "kind,user_id,item_id,occurred_at,watch_ms,device"

    def told(second):
        first = [f"play,u{n},movie-7,{AT + n % 8 * DAY + n},{20_000 + n},web" for n in range(160)]
        later = 0 if device else 8
        rows = [f"play,v{n},movie-8,{AT + (n % 8 + later) * DAY + n},{second(n)},{device}" for n in range(160)]
        write(tmp_path, first + rows, header=header)
        return says(tmp_path)[1]

    first, second = ("plays on ios", "on web") if device else ("plays of 2026-11-09", "of 2026-11-08")
    words = told(lambda n: 20 + n / 1000)
    assert f"in the median of the {first}" in words and f"of those {second}: is it in one unit?" in words
    assert "in one unit" not in told(lambda n: 10_000 + n)


def test_a_date_that_is_when_a_batch_was_loaded_is_told(says, tmp_path):
    """Old rows stood in the days of the test."""
    header = "kind,user_id,item_id,occurred_at,date"

    def told(date):
        rows = [f"click,u{n},movie-{7 + n % 2},{AT + n * DAY},{date(n)}" for n in range(8)]
        write(tmp_path, rows, header=header)
        return says(tmp_path)[1]

    assert "62.5% of the events have a date over two days after" in told(lambda n: f"2026-11-{max(8, n + 1):02}")
    assert "over two days after" not in told(lambda n: f"2026-11-{n + 2:02}")
    old = [f"exposure,u{n},movie-7,{AT - 9 * DAY},2026-11-01" for n in range(8)]
    write(tmp_path, [*old, *(f"click,u{n},movie-7,{AT + n * DAY}," for n in range(8))], header=header)
    assert "over two days after" not in says(tmp_path)[1], "exposures are a history that is imported as a whole"


@pytest.mark.parametrize(("duration", "told"), [(30, "6.7e+02"), (30_000, ""), (12_000_000, "0.0017")])
def test_plays_and_durations_in_two_units_are_told(says, tmp_path, duration, told):
    header = "kind,user_id,item_id,occurred_at,watch_ms"
    rows = [f"play,u{n},movie-{7 + n % 2},{AT + n * DAY},20000" for n in range(8)]
    write(tmp_path, rows, f"item_id,duration_ms\nmovie-7,{duration}\nmovie-8,{duration}\n", header)
    words = says(tmp_path)[1]
    assert (f"a play is {told} times as long as its item in the median" in words) == bool(told)
    assert ("in one unit?" in words) == bool(told)


def test_rows_of_one_item_or_user_that_say_different_things_are_told(says, tmp_path):
    """A row a tag: of each item the last tag alone was read."""
    rows = [f"click,u{n},movie-{7 + n % 2},{AT + n * DAY}" for n in range(8)]
    write(tmp_path, rows, "item_id,tags\nmovie-7,sea\nmovie-7,whales\nmovie-8,sky\nmovie-8,sky\n")
    (tmp_path / "users.csv").write_text("user_id,taste\nu1,sea\nu2,sky\nu1,sky\nu2,sea\n")
    words = says(tmp_path)[1]
    assert all(f"{who} have several rows that say different things" in words for who in ("1 items", "2 users"))
    write(tmp_path, rows, "item_id,tags,valid_from\nmovie-7,sea,2026-01-01\nmovie-7,whales,2026-10-01\nmovie-8,sky,\n")
    (tmp_path / "users.csv").write_text("user_id,taste\nu1,sea\nu2,sky\nu1,sea\n")
    assert "several rows" not in says(tmp_path)[1]


def test_many_columns_that_nobody_knows_are_a_line(says, tmp_path):
    header = "kind,user_id,item_id,occurred_at," + ",".join(f"c{n}" for n in range(50))
    write(tmp_path, [f"click,u{n},movie-7,{AT + n * DAY}{',' * 50}" for n in range(8)], header=header)
    words = says(tmp_path)[1]
    assert "c19, ..., which nobody knows" in words and "c20" not in words


def test_episodes_without_a_show_are_told(says, tmp_path):
    items = "item_id,item_type,creator_id\nmovie-7,podcast,whales\nmovie-8,podcast,\n"
    write(tmp_path, [f"click,u{n},movie-7,{AT + n * DAY}" for n in range(8)], items)
    assert "1 podcasts have no creator_id, which is their show: each is a show by itself" in says(tmp_path)[1]


def test_exposures_alone_are_no_days_to_judge_on(says, tmp_path):
    kinds = ("exposure", "exposure_long_view")
    write(tmp_path, [f"{kinds[n % 2]},u{n},movie-7,{AT + n * DAY}" for n in range(8)])
    status, words = says(tmp_path)
    assert status == 2 and "exposures alone are a history" in words


def test_one_item_shown_again_and_clicked_now_and_then_can_be_learned(says, tmp_path):
    shown = [f"impression,u,movie-7,{AT + n * DAY}" for n in range(8)]
    write(tmp_path, [*shown, f"click,u,movie-7,{AT + 1000}"])
    assert says(tmp_path)[0] == 0


@pytest.mark.parametrize(("clicked", "status"), [(8, 2), (7, 0), (0, 2)])
def test_impressions_that_were_all_clicked_or_none_teach_nothing_and_no_run_begins(says, tmp_path, clicked, status):
    """The run went on for 87 s before the network said so."""
    shown = [f"impression,u{n},movie-7,{AT + n * DAY}" for n in range(8)]
    write(
        tmp_path,
        shown + [f"click,u{n},movie-7,{AT + n * DAY + 1000}" for n in range(clicked)] + [f"click,v,movie-8,{AT}"],
    )
    code, words = says(tmp_path)
    assert code == status and ("every impression has a click of its user and item, or none has" in words) == (
        status == 2
    )
    if status:
        command = [sys.executable, "-m", "recsys_assets.run"]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert ended.returncode == 2 and "leave impressions out" in ended.stdout


def test_what_keeps_a_folder_from_being_read_is_named(says, tmp_path):
    write(tmp_path, [f",click,u,movie-7,{AT}"], header=",kind,user_id,item_id,occurred_at")  # as pandas writes an index
    assert "events: the columns (without a name), which nobody knows" in says(tmp_path)[1]
    (tmp_path / "events.csv").write_text(f"kind,user_id,item_id,occurred_at\nclick,u,{'x' * 30_000_000},{AT}\n")
    status, words = says(tmp_path)
    assert status == 2 and "events.csv has a row of several MB" in words
    (tmp_path / "users.csv").symlink_to(tmp_path / "gone.csv")
    status, words = says(tmp_path)
    assert status == 2 and "users.csv cannot be read: No such file" in words


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([f"click,u,movie-7,{AT},"], "1 days (2026-11-01 to 2026-11-01)"),
        ([f"click,u{n},movie-7,{AT + n * DAY},2027-01-01" for n in range(8)], "1 days (2027-01-01 to 2027-01-01)"),
        ([f"{['exposure', 'click'][n > 5]},u{n},movie-7,{AT + n * DAY}," for n in range(8)], "2 days (2026-11-07 to"),
    ],
)
def test_too_few_days_are_to_mend_and_no_run_begins(says, tmp_path, rows, words):
    """What `date` says decides, and only what was shown is split: a run went on for minutes before it said so."""
    write(tmp_path, rows, header="kind,user_id,item_id,occurred_at,date")
    status, said = says(tmp_path)
    assert status == 2 and f"the data has {words}" in said
    command = [sys.executable, "-m", "recsys_assets.run"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and f"the data has {words}" in ended.stdout


def test_the_split_goes_by_the_dates_of_the_log(says, tmp_path):
    rows = [f"click,u{n},movie-7,{AT + n * DAY},2026-12-{n + 1:02}" for n in range(8)]
    write(tmp_path, rows, header="kind,user_id,item_id,occurred_at,date")
    status, words = says(tmp_path)
    assert status == 0 and "test: 2026-12-06 to 2026-12-08" in words


def test_what_is_set_aside_and_lacking_is_said_with_its_cost(says, tmp_path):
    rows = [f"{kind},u{n},movie-{7 + n % 2},{AT + n * DAY}" for n in range(9) for kind in ("like", "hover")]
    write(tmp_path, [*rows, f"like,u,movie-7,{AT // 1000}", f"like,u,a film,{AT}"])
    (tmp_path / "notes.txt").write_text("mine")
    status, words = says(tmp_path)
    assert "name an item of the catalogue ('a film' is in no row of items)" in words
    assert status == 0 and "9: kind 'hover' is unknown" in words and "(first: events.csv:3)" in words
    assert "1: occurred_at is in seconds" in words and "notes.txt" in words
    assert (
        "no impressions" in words
        and "each like stands for one" in words
        and "no plays with watch_ms" in words
        and "no titles" in words
    )
    assert "no devices" in words and "no slots" in words
    told = lacks(check.survey_of(open_source(from_environment())))
    assert any(line.startswith("events: 10 rows set aside (first: events.csv:3: kind 'hover'") for line in told)
    assert any("notes.txt" in line for line in told) and any(line.startswith("no titles") for line in told)


def test_a_stray_day_is_no_day_of_the_split(says, tmp_path):
    rows = [f"click,u{n % 50},movie-7,{AT + n * DAY // 300}" for n in range(2400)]
    write(tmp_path, [*rows, "click,u1,movie-7,2001-01-01"])
    status, words = says(tmp_path)
    assert status == 0 and "stray days 2001-01-01: 1 rows" in words and "days 2026-11-01" in words


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"KINDS": "view=look"}, "RECSYS_KINDS"),
        ({"TEST_DAYS": "none"}, "RECSYS_TEST_DAYS"),
        ({"DATA": "/no/where"}, "is not a"),
    ],
)
def test_wrong_settings_are_told_in_one_line(says, settings, words):
    status, said = says(EXAMPLE, **settings)
    assert status == 2 and words in said


def test_bars_are_as_high_as_days_are_large():
    assert sparkline([0, 4, 8]) == "▁▅█" and sparkline([]) == ""
    assert len(sparkline(list(range(1000)))) <= 48


def test_ratings_are_told_with_what_is_made_of_them_and_another_scale_is_named(says, tmp_path):
    """4 of 10 was a like, -1 for `not rated` a dislike, and nobody was told."""
    rows = [f"u{n},movie-{7 + n % 2},{AT + n * DAY},{n % 10 + 0.5}" for n in range(20)]
    write(tmp_path, rows, header="user_id,item_id,occurred_at,rating")
    status, words = says(tmp_path)
    assert status == 0 and "ratings from 0.5 to 9.5: likes from 4 on, dislikes up to 2, else clicks" in words
    assert "ratings end at 9.5, and a like begins at 4: set RECSYS_RATING_LIKE" in words
    assert "leave rating empty" not in words and "ratings end" not in says(tmp_path, RATING_LIKE=8, RATING_DISLIKE=4)[1]
    write(tmp_path, [*rows, f"u1,movie-7,{AT},-1"], header="user_id,item_id,occurred_at,rating")
    assert "ratings begin at -1, a dislike" in says(tmp_path, RATING_LIKE=8, RATING_DISLIKE=4)[1]
    header = "user_id,item_id,occurred_at,rating,kind"
    write(tmp_path, [f"{row},play" for row in rows], header=header)
    words = says(tmp_path, RATING_LIKE="", RATING_DISLIKE="")[1]
    assert "rating stands on rows of kind play: it is read of kind rating alone" in words and "ratings end" not in words


def test_users_whom_two_files_write_in_two_ways_are_told(says, tmp_path):
    """One person by two tools was two people with half a history each."""
    tools = (lambda n: f"{n:03}", str, lambda n: f"A{n}B", lambda n: f"a{n}b")
    rows = [f"click,{tool(n)},movie-{7 + n % 2},{AT + n * DAY}" for tool in tools for n in range(1, 13)]
    write(tmp_path, rows)
    status, words = says(tmp_path)
    assert status == 0 and "48 of 48 users differ from another one by case or leading zeros alone (as " in words
    write(tmp_path, [row for row in rows if ",0" not in row and ",a" not in row])
    assert "leading zeros" not in says(tmp_path)[1]


def test_days_without_a_time_are_told(says, tmp_path):
    rows = [f"click,u{n % 4},movie-{7 + n % 2},2026-11-{1 + n:02}" for n in range(9)]
    write(tmp_path, [*rows, f"click,u1,movie-7,{AT}"])
    assert "90.0% of the events are of midnight" in says(tmp_path)[1]
    write(tmp_path, [f"{row}T10:00" if n % 2 else row for n, row in enumerate(rows[1:])])
    assert "of midnight" not in says(tmp_path)[1]


def test_instants_without_a_zone_are_told(says, tmp_path):
    days = [f"2026-11-{1 + n:02}" for n in range(8)]
    told = [*(f"{day}T10:00:00" for day in days[:2]), *(f"{day} 10:00+01" for day in days[2:]), AT, days[0]]
    write(tmp_path, [f"click,u{n},movie-{7 + n % 2},{at}" for n, at in enumerate(told)])
    assert "20.0% of the instants name no zone: they are read as UTC" in says(tmp_path)[1]
    naive = [datetime(2026, 11, n, 10) for n in range(1, 9)]  # noqa: DTZ001
    rows = {"kind": ["click"] * 8, "user_id": [1] * 8, "item_id": ["movie-7", "movie-8"] * 4, "occurred_at": naive}
    (tmp_path / "events.csv").unlink()
    pl.DataFrame(rows).write_parquet(tmp_path / "events.parquet")
    assert "100.0% of the instants name no zone" in says(tmp_path)[1]
    utc = pl.col("occurred_at").dt.replace_time_zone("Europe/Zurich")
    pl.DataFrame(rows).with_columns(utc).write_parquet(tmp_path / "events.parquet")
    assert "name no zone" not in says(tmp_path)[1]


def test_plays_that_may_be_parts_of_one_view_are_told(says, tmp_path):
    """Each heartbeat was a view and a click of its own."""
    header = "kind,user_id,item_id,occurred_at,watch_ms"
    beats = [f"play,u{n},movie-{7 + n % 2},{AT + n * DAY + beat * 10_000},10000" for n in range(8) for beat in range(5)]
    write(tmp_path, beats, header=header)
    assert "80.0% of the plays follow one of their user and item within 30 minutes" in says(tmp_path)[1]
    assert "RECSYS_HEARTBEATS" not in says(tmp_path, HEARTBEATS="increments")[1]
    write(tmp_path, beats[::5] * 3 + beats[:2], header=header)
    assert "RECSYS_HEARTBEATS" not in says(tmp_path, HEARTBEATS="none")[1]
