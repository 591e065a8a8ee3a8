"""Many days in one command; killed at a random moment and called again, it ends with the same bytes."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from recsys_assets.backfill import CHUNK, BackfillError, days_between, left
from tests.conftest import ROOT

FROM, TO = "2026-01-05", "2026-02-03"
KILLED_TO = "2026-01-16"  # twelve days, two chunks: a month takes three times as long and was killed by hand


def start(home: Path) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}
    environment |= {"RECSYS_HOME": str(home), "RECSYS_DAYS": "12", "RECSYS_USERS": "60"}
    return subprocess.Popen(
        [sys.executable, "-m", "recsys_assets.backfill", FROM, KILLED_TO],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def tables(home: Path) -> dict[str, str]:
    files = sorted((home / "lake").rglob("*.parquet"))
    return {str(p.relative_to(home)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.slow
def test_days_killed_at_a_random_moment_end_with_the_same_bytes(tmp_path: Path) -> None:
    began = time.monotonic()
    whole = start(tmp_path / "whole")
    out, err = whole.communicate(timeout=400)
    seconds = time.monotonic() - began
    assert whole.returncode == 0, err[-2000:]
    assert "(2 of 2)" in out
    expected = tables(tmp_path / "whole")
    assert len([name for name in expected if "features/impressions" in name]) == 12
    seed = int(time.time())
    moment = random.Random(seed).uniform(0.2, 0.95) * seconds
    killed = start(tmp_path / "killed")
    time.sleep(moment)
    killed.kill()
    killed.communicate()
    again = start(tmp_path / "killed")
    out, err = again.communicate(timeout=400)
    assert again.returncode == 0, (seed, moment, err[-2000:])
    files = tables(tmp_path / "killed")
    left_over = {name for name in files if Path(name).name.startswith(".")}
    assert {name: sha for name, sha in files.items() if name not in left_over} == expected, (seed, moment)
    repeated = start(tmp_path / "killed")
    out, _ = repeated.communicate(timeout=100)
    assert repeated.returncode == 0 and "was taken in already" in out


def test_what_is_left_is_what_the_journal_lacks_also_when_its_last_line_is_torn(tmp_path: Path) -> None:
    first = date.fromisoformat(FROM).toordinal()
    days = days_between(FROM, TO, [date.fromordinal(first + n).isoformat() for n in range(30)])
    assert len(days) == 30 and [len(chunk) for chunk in left(days, tmp_path / "none")] == [CHUNK] * 3
    journal = tmp_path / "journal.jsonl"
    first, second = days[:CHUNK], days[CHUNK : 2 * CHUNK]
    quoted = [str(d).replace("'", '"') for d in (first, second)]
    journal.write_text(f'{{"days": {quoted[0]}}}\n{{"days": {quoted[1][:20]}')
    assert list(left(days, journal)) == [second, days[2 * CHUNK :]]


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        ("", "", "is no range of days"),
        ("2026-01-09", "2026-01-06", "swap FROM and TO"),
        ("2026-01-01", "2026-01-06", "have, 2026-01-05 to 2026-02-03"),
        ("2026-01-08", "2026-01-09", "neither source nor service has a row"),
    ],
)
def test_a_range_that_cannot_be_is_one_line(first: str, last: str, words: str) -> None:
    with pytest.raises(BackfillError, match=words):
        days_between(first, last, [FROM, "2026-01-07", "2026-01-10", TO])


def test_days_without_a_row_are_passed_over() -> None:
    assert days_between("2026-01-06", "2026-01-10", [FROM, "2026-01-07", "2026-01-10", TO]) == [
        "2026-01-07",
        "2026-01-10",
    ]
