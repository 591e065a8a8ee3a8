"""A run leaves alone what has not changed, and what it does take in ends in the bytes of a run from nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.events import DAY_MS
from recsys.lake import Lake
from recsys.settings import Settings
from recsys.sources.manifest import Manifest
from recsys_assets.since import OF_SERVICES, Read, left
from tests.e2e.poor_worlds import START, items, plays

ROOT = Path(__file__).parents[2]
MADE = [f"lake/{table}" for table in ("cleaned", "features", "training_sets")]
MADE += [f"models/{model}" for model in ("rankers", "two_tower", "shelves")]
COMMAND = [sys.executable, "-m", "recsys_assets.run"]
WRITTEN = (
    "lake/cleaned",
    "lake/features",
    "lake/training_sets",
    "models/rankers",
    "models/two_tower",
    "models/shelves",
)


def deliver(folder: Path, days: range) -> None:
    """A file of events a day, and the items."""
    (folder / "events").mkdir(parents=True, exist_ok=True)
    rows = plays(days=10)
    if not (folder / "items.parquet").exists():
        items().write_parquet(folder / "items.parquet")
    for day in days:
        of_day = rows.filter(pl.col("occurred_at").is_between(START + day * DAY_MS, START + (day + 1) * DAY_MS - 1))
        of_day.write_parquet(folder / "events" / f"{day}.parquet")


def environment(folder: Path, home: Path, **more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("RECSYS_", "DAGSTER_"))}
    return {**plain, "RECSYS_DATA": str(folder), "RECSYS_HOME": str(home), **more}


def run(given: dict[str, str]) -> str:
    done = subprocess.run(COMMAND, cwd=ROOT, env=given, capture_output=True, text=True, check=False, timeout=600)
    log = Path(given["RECSYS_HOME"], "run.log")
    assert done.returncode == 0, done.stdout[-3000:] + log.read_text()[-3000:]
    return done.stdout


def stopped(given: dict[str, str], after: str) -> None:
    """A run killed once the screen names an asset."""
    with subprocess.Popen(COMMAND, cwd=ROOT, env=given, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if f" {after} " in line:
                process.send_signal(signal.SIGKILL)
                return
    pytest.fail(f"the run ended without {after}")


def made(folder: Path) -> dict[str, str]:
    """A hash of each file below a folder, but for the seconds that training took."""
    read = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: sha256(re.sub(rb'"seconds": [0-9.e-]+', b"", kept)).hexdigest() for name, kept in read.items()}


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_a_later_day_ends_in_the_bytes_of_a_run_from_nothing(tmp_path: Path) -> None:
    folder, home, other, anew = (tmp_path / name for name in ("data", "home", "other", "anew"))
    deliver(folder, range(8))
    given = environment(folder, home)
    assert " are taken in" not in run(given)
    began = time.monotonic()
    again = run(given)
    assert "nothing has changed since the last run" in again and "make serve" in again
    assert time.monotonic() - began < 30 and "cleaned" not in again  # it took as long as the first one

    deliver(folder, range(8, 9))
    shutil.copytree(home, other, symlinks=True)
    stopped(environment(folder, other), "training_set")
    assert " are taken in" not in run(environment(folder, other)), "nobody knows what a killed run left"
    said = run(given)
    assert "2026-06-03 to 2026-06-04 are taken in" in said, said
    run(environment(folder, anew))
    told = [{name: made(folder / name) for name in MADE} for folder in (home, other, anew)]
    assert told[0] == told[2]
    assert told[1] == told[2]
    assert len(Lake(home).days("cleaned", "events")) == 9


STOCK = Manifest("simulator", None, 7, {}, 0, {"2026-06-01": 5}, {}, {}, "")
READ = Read("code", "settings", {"a": "1"}, {"2026-06-01": 5, "2026-06-02": 5, "2026-06-03": 5}, 0, "home")
WHOLE = ("2026-06-01", "2026-06-03")


@pytest.mark.parametrize(
    ("before", "asked"),
    [
        ({}, None),
        ({"code": "other"}, WHOLE),
        ({"settings": "other"}, WHOLE),
        ({"home": "other"}, WHOLE),
        ({"files": {"a": "0"}}, WHOLE),
        ({"files": {"a": "1", "gone": "1"}}, WHOLE),
        ({"files": {}}, WHOLE),  # a new file without a day of its own
        ({"days": {**READ.days, "2026-05-31": 5}}, WHOLE),
        ({"days": {"2026-06-01": 5, "2026-06-02": 5}}, ("2026-06-02", "2026-06-03")),
        ({"days": {**READ.days, "2026-06-02": 4}}, WHOLE),
        ({"days": {**READ.days, "2026-06-01": 4}}, WHOLE),
        ({"items_told": 3}, ("2026-06-02", "2026-06-03")),
    ],
)
def test_what_differs_says_which_days_are_taken_in(before: dict[str, Any], asked: tuple[str, str] | None) -> None:
    assert left(replace(READ, **before), READ) == asked
    assert left(None, READ) == WHOLE


def test_a_setting_counts_unless_no_asset_reads_it(tmp_path: Path) -> None:
    assert set(Settings.model_fields) >= OF_SERVICES

    def settings_of(**more: Any) -> str:
        return Read.of(Settings(home=tmp_path, **more), STOCK).settings

    assert settings_of(http_port=4000, api_keys="k" * 20) == settings_of()
    assert len({settings_of(), settings_of(seed=8), settings_of(test_days=1), settings_of(tuning_trials=3)}) == 4
