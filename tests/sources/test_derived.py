"""What a log implies by rule: long views of plays, clicks of what was engaged with, one play a view of heartbeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.events import DAY_MS, MINUTE_MS
from recsys.sources.derived import Heartbeats, Rules, implied_by
from recsys.sources.files import Files
from tests.e2e.poor_worlds import START, write

ITEMS = pl.DataFrame({"item_id": ["short", "long", "unknown"], "duration_ms": [9_000, 600_000, None]})


def plays(*rows: tuple[str, int, int | None]) -> pl.DataFrame:
    """item, minute, watch_ms; all of one user."""
    return pl.DataFrame(
        {
            "kind": "play",
            "event_id": [f"e{i}" for i in range(len(rows))],
            "user_id": "u",
            "item_id": [row[0] for row in rows],
            "occurred_at": [START + row[1] * MINUTE_MS for row in rows],
            "watch_ms": pl.Series([row[2] for row in rows], dtype=pl.Int64),
        }
    )


def read(folder: Path, events: pl.DataFrame, **given: Any) -> tuple[Files, list[dict[str, Any]]]:
    source = Files(write(folder, events, ITEMS), **given)
    day = source.read_day(source.first_day())
    assert day.rows_read == day.rows_kept == events.height and not day.rejected.num_rows
    return source, day.events.to_pylist()


def test_plays_to_the_end_or_of_18_seconds_are_long_views(tmp_path: Path) -> None:
    watched = [("short", 9_000), ("short", 8_999), ("long", 18_000), ("long", 17_999), ("unknown", 18_000)]
    events = plays(*((item, minute, ms) for minute, (item, ms) in enumerate(watched)))
    source, rows = read(tmp_path, events)
    assert [row["event_id"] for row in rows if row["kind"] == "long_view"] == [
        "e0#long_view", "e2#long_view", "e4#long_view",
    ]  # fmt: skip
    assert [row["event_id"] for row in rows if row["kind"] == "click"] == [f"e{i}#click" for i in range(5)]
    assert all(row["watch_ms"] is None for row in rows if row["kind"] != "play")
    assert len(source.derives.describe()) == 2


def test_what_goes_to_quarantine_implies_nothing(tmp_path: Path) -> None:
    _, rows = read(tmp_path, plays(("long", 0, -5), ("long", 2, DAY_MS + 1), ("long", 4, DAY_MS)))
    assert [row["event_id"] for row in rows] == ["e0", "e1", "e2", "e2#long_view", "e2#click"]
    events = plays(("long", 0, 5), ("long", 2, 5), (None, 4, 5), ("long", 6, 5))
    events = events.with_columns(consent=pl.Series([True, False, True, True]))
    events = events.with_columns(user_id=pl.when(pl.col("event_id") != "e3").then("user_id"))
    _, rows = read(tmp_path / "unnamed", events)
    assert [row["event_id"] for row in rows if "#" in row["event_id"]] == ["e0#click"]


def test_a_live_event_implies_what_the_same_event_in_a_file_does(tmp_path: Path) -> None:
    source, rows = read(tmp_path, plays(("short", 0, 9_000), ("long", 2, 5), ("unknown", 4, None)))
    durations = {"short": 9_000, "long": 600_000, "unknown": 0}
    told = [row for row in rows if "#" not in row["event_id"]]
    implied = [made for row in told for made in implied_by(row, durations[row["item_id"]], source.derives)]
    by_id = {row["event_id"]: row for row in rows}
    assert {made["event_id"] for made in implied} == {name for name in by_id if "#" in name}
    assert all(made == by_id[made["event_id"]] for made in implied)


@pytest.mark.parametrize(
    ("kinds", "rules"),
    [
        (("impression", "click", "long_view", "play"), Rules()),
        (("impression", "click"), Rules()),
        (("impression", "play"), Rules(True, "play")),
        (("like", "follow"), Rules(False, "like")),
        (("long_view",), Rules(False, "long_view")),
        (("click", "play"), Rules(True, None)),
        (("exposure", "exposure_long_view"), Rules()),
    ],
)
def test_only_what_a_log_lacks_is_derived(kinds: tuple[str, ...], rules: Rules) -> None:
    assert Rules.of(kinds) == rules


@pytest.mark.parametrize(
    ("heartbeats", "views"),
    [
        ("none", None),
        ("increments", [("long", 3, 24_000), ("long", 50, 4_000), ("short", 2, 3_000)]),
        ("totals", [("long", 3, 12_000), ("long", 50, 4_000), ("short", 2, 3_000)]),
    ],
)
def test_heartbeats_of_one_view_are_one_play(
    heartbeats: Heartbeats, views: list[tuple[str, int, int]] | None, tmp_path: Path
) -> None:
    beats = [("long", 1, 5_000), ("long", 2, 7_000), ("long", 3, 12_000), ("long", 50, 4_000), ("short", 2, 3_000)]
    events = plays(*sorted(beats, key=lambda beat: beat[1]))
    _, rows = read(tmp_path, events, heartbeats=heartbeats)
    played = [
        (row["item_id"], (row["occurred_at"] - START) // MINUTE_MS, row["watch_ms"])
        for row in rows
        if row["kind"] == "play"
    ]
    assert sorted(played) == sorted(beats if views is None else views)
    long = {row["event_id"] for row in rows if row["kind"] == "long_view"}
    assert long == ({"e0#long_view"} if heartbeats == "increments" else set())  # 24 s, watched in three parts


def test_a_repeated_heartbeat_adds_nothing_and_one_without_sense_is_by_itself(tmp_path: Path) -> None:
    """Three of 10 s each, delivered twice and once more, came to 70 s; a negative one took from the others unseen."""
    beats = plays(("long", 1, 10_000), ("long", 2, 10_000), ("long", 3, 10_000), ("long", 3, -5_000))
    late = beats[1:2].with_columns(received_at=pl.col("occurred_at") + 7 * MINUTE_MS)
    given = beats.with_columns(received_at="occurred_at")
    _, rows = read(tmp_path, pl.concat([late, given, given[:3]]), heartbeats="increments")
    played = sorted((row["watch_ms"], row["received_at"]) for row in rows if row["kind"] == "play")
    assert played == [(-5_000, START + 3 * MINUTE_MS), (30_000, START + 3 * MINUTE_MS)]


def test_a_total_that_falls_begins_another_view(tmp_path: Path) -> None:
    _, rows = read(tmp_path, plays(("long", 1, 5_000), ("long", 2, 9_000), ("long", 3, 2_000)), heartbeats="totals")
    assert sorted(row["watch_ms"] for row in rows if row["kind"] == "play") == [2_000, 9_000]
