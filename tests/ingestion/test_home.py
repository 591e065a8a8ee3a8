"""A home knows its source: its days, its strays, what the service was told, and that it is not another's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from recsys.events import DAY_MS
from recsys.lake import Lake
from recsys.settings import from_environment
from recsys.sources import manifest
from recsys.sources.files import Files
from recsys.store.opening import open_store
from tests.conftest import ROOT
from tests.ingestion.test_raw import materialize, why

START = int(datetime(2026, 11, 2, tzinfo=UTC).timestamp() * 1000)
DAYS = ["2026-11-02", "2026-11-03", "2026-11-05"]  # of the 4th there is no row


def write(folder: Path, *instants: int) -> Path:
    """A folder of clicks: 400 on each of DAYS, and one at each other instant."""
    regular = [START + d * DAY_MS + n * 60_000 for d in (0, 1, 3) for n in range(400)]
    rows = [
        {"event_id": f"e{n}", "kind": "click", "user_id": n % 20, "item_id": n % 7, "occurred_at": at}
        for n, at in enumerate([*regular, *instants])
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "items.jsonl").write_text("".join(json.dumps({"item_id": n}) + "\n" for n in range(7)))
    return folder


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    for name in [name for name in os.environ if name.startswith("RECSYS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RECSYS_SOURCE", "files")
    monkeypatch.setenv("RECSYS_DATA", str(write(tmp_path / "data")))
    return Lake(tmp_path / "home")


def taken_in(first: str = DAYS[0], last: str = DAYS[-1]) -> dg.ExecuteInProcessResult:
    return materialize("raw_events", first=first, last=last)


def stock() -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recsys_assets.stock"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def tell(lake: Lake, *instants: int) -> None:
    """What the service was told at those instants."""
    store = open_store(from_environment(), create=True)
    store.put_items(Files(Path(os.environ["RECSYS_DATA"])).items())
    for at in instants:
        event = {"event_id": f"live{at}", "kind": "click", "user_id": "1", "item_id": "1", "occurred_at": at}
        assert store.append([event], received_at=at).accepted == 1
    store.close()


def test_the_manifest_holds_days_with_rows_and_strays_go_with_the_nearest(lake: Lake, tmp_path: Path) -> None:
    write(tmp_path / "data", 978_307_200_000, 2_145_916_800_000)  # 2001-01-01, 2038-01-01
    assert taken_in().success
    kept = manifest.read(lake.home)
    assert kept is not None and kept.days == dict.fromkeys(DAYS, 400)
    assert kept.stray_days == {"2001-01-01": DAYS[0], "2038-01-01": DAYS[-1]}
    assert (kept.source, kept.folder, kept.utc_offset_ms) == ("files", str(tmp_path / "data"), 0)
    rows = {day: lake.read(lake.day(day, "raw", "events")).num_rows for day in DAYS}
    assert rows == {DAYS[0]: 401, DAYS[1]: 400, DAYS[2]: 401}


def test_another_source_folder_seed_or_size_is_refused_in_one_line(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert taken_in().success
    before = (lake.home / "source.json").read_bytes()
    monkeypatch.setenv("RECSYS_DATA", str(write(tmp_path / "other", START)))
    file = tmp_path / "other" / "events.jsonl"
    file.write_text(file.read_text().replace('"event_id": "e', '"event_id": "f'))  # other events
    ended = stock()
    assert ended.returncode == 2 and len(ended.stderr.strip().splitlines()) == 1
    assert "RECSYS_HOME" in ended.stderr and f"RECSYS_DATA={tmp_path / 'data'}" in ended.stderr
    failed = taken_in()
    assert not failed.success and "set RECSYS_HOME to another folder" in why(failed).message
    assert not materialize("raw_items").success and not materialize("raw_users").success
    monkeypatch.setenv("RECSYS_SOURCE", "simulator")
    assert stock().returncode == 2
    assert (lake.home / "source.json").read_bytes() == before


def test_files_are_read_in_one_way_and_new_words_may_be_explained(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_KINDS", "view=impression")
    assert taken_in().success
    for name, value in {"HEARTBEATS": "totals", "RATING_LIKE": "5", "KINDS": "view=play"}.items():
        with monkeypatch.context() as other:
            other.setenv(f"RECSYS_{name}", value)
            ended = stock()
            assert ended.returncode == 2 and f"was read with RECSYS_{name}=" in ended.stderr, ended.stderr
            assert len(ended.stderr.strip().splitlines()) == 1 and not taken_in().success
    monkeypatch.setenv("RECSYS_KINDS", "stream=play,view=impression")
    assert stock().returncode == 0 and taken_in().success


def test_rows_that_come_late_to_a_day_that_is_in_are_told_with_what_takes_them_in(lake: Lake, tmp_path: Path) -> None:
    """Without `received_at` they belong to the day of `occurred_at`, and no night would look there again."""

    def told(result: dg.ExecuteInProcessResult) -> tuple[bool, str]:
        (check,) = [c for c in result.get_asset_check_evaluations() if c.check_name == "no_day_changed_since"]
        return check.passed, check.description or ""

    assert told(taken_in()) == (True, "none of 4 days")
    write(tmp_path / "data", *(START + day * DAY_MS + 7 for day in (0, 0, 1, 4)))
    passed, words = told(taken_in("2026-11-06", "2026-11-06"))
    assert not passed and "2026-11-02 has 402 rows in the source, and had 400 when it was taken in" in words
    assert "2026-11-03 has 401" in words and "make backfill FROM=2026-11-02 TO=2026-11-06 AGAIN=1" in words
    assert told(taken_in(DAYS[0], "2026-11-06")) == (True, "none of 5 days")
    assert lake.read(lake.day(DAYS[0], "raw", "events")).num_rows == 402
    file = tmp_path / "data" / "events.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[::-1]) + "\n")
    assert told(taken_in("2026-11-06", "2026-11-06")) == (True, "none of 5 days")  # the same rows in another order
    file.write_text("\n".join([*lines[:401], lines[401].replace('"user_id": ', '"user_id": 9'), *lines[402:]]) + "\n")
    passed, words = told(taken_in("2026-11-06", "2026-11-06"))
    assert not passed and words.count("other rows in the source than when it was taken in") == 1
    assert "make backfill FROM=2026-11-0" in words


@pytest.mark.parametrize(
    ("kinds", "then", "whole", "words"),
    [
        ("play", "click", True, "each play made a click there, and now the log says it otherwise"),
        ("click", "play", True, ""),
        ("click", "play", False, "they have a click of their own, and now in the log each play would make one"),
    ],
)
def test_a_log_that_says_by_itself_what_was_derived_is_not_mixed_with_it(
    lake: Lake, tmp_path: Path, kinds: str, then: str, whole: bool, words: str
) -> None:
    file = write(tmp_path / "data") / "events.jsonl"
    rows = file.read_text().replace('"click"', f'"{kinds}"')
    file.write_text(rows)
    assert taken_in().success
    row = {"event_id": "new", "kind": then, "user_id": 1, "item_id": 1, "occurred_at": START + 4 * DAY_MS}
    file.write_text(rows * whole + json.dumps(row) + "\n")
    ended = stock()
    assert ended.returncode == (2 if words else 0) and words in ended.stderr, ended.stderr
    assert len(ended.stderr.strip().splitlines()) <= 1 and taken_in("2026-11-06", "2026-11-06").success != bool(words)


def test_another_key_of_pseudonyms_or_none_any_more_is_refused_in_one_line(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under it every user were a stranger, and without one their ids came in as they are."""
    key = "the key of the first run"
    monkeypatch.setenv("RECSYS_PSEUDONYM_KEY", key)
    assert taken_in().success and stock().returncode == 0
    raw = lake.day(DAYS[0], "raw", "events").read_bytes()
    for other in ("another key, as long", None):
        monkeypatch.setenv("RECSYS_PSEUDONYM_KEY", other) if other else monkeypatch.delenv("RECSYS_PSEUDONYM_KEY")
        assert not taken_in().success and lake.day(DAYS[0], "raw", "events").read_bytes() == raw
        words = "with another RECSYS_PSEUDONYM_KEY" if other else "with a RECSYS_PSEUDONYM_KEY, and none is set"
        assert_every_command_says(words, key, other)
    monkeypatch.setenv("RECSYS_PSEUDONYM_KEY", key)
    assert taken_in().success
    assert key not in (lake.home / "pseudonyms").read_text()


def test_a_key_of_pseudonyms_where_users_came_in_without_one_is_refused_in_one_line(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old rows would keep the ids that new ones hide, and everybody would begin anew."""
    assert taken_in().success and stock().returncode == 0
    raw = lake.day(DAYS[0], "raw", "events").read_bytes()
    key = "a key that came too late"
    monkeypatch.setenv("RECSYS_PSEUDONYM_KEY", key)
    assert not taken_in().success and lake.day(DAYS[0], "raw", "events").read_bytes() == raw
    assert not (lake.home / "pseudonyms").exists()
    assert_every_command_says("without RECSYS_PSEUDONYM_KEY", key)


def assert_every_command_says(words: str, *secrets: str | None) -> None:
    for command in ("check", "stock", "run", "forget", "dev"):
        told = ["somebody"] if command == "forget" else []
        ended = subprocess.run(
            [sys.executable, "-m", f"recsys_assets.{command}", *told], cwd=ROOT, capture_output=True, text=True
        )
        said = ended.stderr + ended.stdout
        assert ended.returncode == 2 and said.count("\n") == 1 and words in said, said
        assert not any(secret in said for secret in secrets if secret)


def test_another_world_of_the_simulator_is_refused(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SOURCE": "simulator", "DAYS": "3", "USERS": "30"}.items():
        monkeypatch.setenv(f"RECSYS_{name}", value)
    assert materialize("raw_events").success
    for name, value in {"USERS": "31", "DAYS": "4", "SEED": "8", "WORLD": "home"}.items():
        with monkeypatch.context() as other:
            other.setenv(f"RECSYS_{name}", value)
            ended = stock()
            said = ended.stderr
            assert ended.returncode == 2 and "RECSYS_USERS=30" in said and "RECSYS_WORLD=default" in said, said
    assert stock().returncode == 0


def test_a_folder_that_moved_or_grew_is_the_same(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert taken_in().success
    shutil.move(tmp_path / "data", tmp_path / "moved")
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "moved"))
    write(tmp_path / "moved", *(START + 4 * DAY_MS + n for n in range(50)))
    assert stock().returncode == 0
    kept = manifest.read(lake.home)
    assert kept is not None and kept.folder == str(tmp_path / "moved") and kept.last_day == "2026-11-06"
    assert taken_in("2026-11-06", "2026-11-06").success


def test_a_home_that_holds_nothing_yet_takes_whatever_source_comes(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stock().returncode == 0
    for name, value in {"SOURCE": "simulator", "DAYS": "3", "USERS": "30"}.items():
        monkeypatch.setenv(f"RECSYS_{name}", value)
    assert stock().returncode == 0 and manifest.read(lake.home).source == "simulator"  # type: ignore[union-attr]


def test_days_that_only_the_service_has_are_offered_and_taken_in(lake: Lake) -> None:
    assert taken_in().success
    tell(lake, START + 6 * DAY_MS, START + 6 * DAY_MS + 1)
    assert stock().returncode == 0
    kept = manifest.read(lake.home)
    assert kept is not None and list(kept.days) == [*DAYS, "2026-11-08"] and kept.live_days == {"2026-11-08": 2}
    assert taken_in("2026-11-08", "2026-11-08").success
    assert lake.read(lake.day("2026-11-08", "raw", "events")).num_rows == 2


def test_a_file_of_a_day_that_was_served_is_refused_and_what_came_before_the_service_is_not(
    lake: Lake, tmp_path: Path
) -> None:
    assert taken_in().success
    tell(lake, START + 3 * DAY_MS + 80_000_000, START + 4 * DAY_MS)
    assert taken_in().success  # the 5th was taken in before the service began on it: nothing of the file is new
    assert lake.read(lake.day(DAYS[-1], "raw", "events")).num_rows == 401
    assert taken_in("2026-11-06", "2026-11-06").success
    before = lake.day("2026-11-06", "raw", "events").read_bytes()
    write(tmp_path / "data", *(START + 4 * DAY_MS + n for n in range(50)))  # the 6th comes as a file too
    failed = taken_in("2026-11-06", "2026-11-06")
    assert not failed.success and lake.day("2026-11-06", "raw", "events").read_bytes() == before
    said = why(failed).message.strip()
    assert "2026-11-06: the source has 50 rows" in said and "\n" not in said


def test_a_damaged_manifest_is_written_again(lake: Lake) -> None:
    assert stock().returncode == 0
    (lake.home / "source.json").write_text('{"source": "fi')
    assert manifest.read(lake.home) is None
    from recsys_assets.stock import current

    assert list(current(from_environment()).days) == DAYS
