"""What numba keeps of a function is made anew once what it froze has changed, in whatever file that lies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CALLER = """
from recsys.compiled import njit
from told import PLACE, TABLE, told


@njit(cache=True)
def read(n):
    return told(n) * 1000 + TABLE[PLACE]


print(read(1), sum(read.stats.cache_hits.values()))
"""
TOLD = """
import numpy as np

from recsys.compiled import njit

PLACE, FACTOR = 0, 2
TABLE = np.array([5, 6])


@njit(cache=True)
def told(n):
    return n * FACTOR
"""


def _read(folder: Path) -> tuple[int, int]:
    """What a new process reads, and how often it took code that was kept."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, folder / "caller.py"], env=env, capture_output=True, text=True, check=True)
    value, kept = done.stdout.split()
    return int(value), int(kept)


@pytest.mark.parametrize(
    ("was", "now", "then"),
    [
        ("n * FACTOR", "n * FACTOR + 1", 3005),
        ("PLACE, FACTOR = 0, 2", "PLACE, FACTOR = 1, 2", 2006),
        ("PLACE, FACTOR = 0, 2", "PLACE, FACTOR = 0, 4", 4005),
        ("[5, 6]", "[7, 6]", 2007),
    ],
    ids=["a function called", "a constant", "a constant of what is called", "a table"],
)
def test_kept_code_follows_what_it_froze(tmp_path: Path, was: str, now: str, then: int) -> None:
    (tmp_path / "caller.py").write_text(CALLER)
    (tmp_path / "told.py").write_text(TOLD)
    assert _read(tmp_path) == (2005, 0)
    assert _read(tmp_path) == (2005, 1), "nothing changed: it is not compiled again"
    (tmp_path / "told.py").write_text(TOLD.replace(was, now))
    assert _read(tmp_path) == (then, 0)


def test_all_that_is_compiled_is_kept_so() -> None:
    direct = [file.name for file in (ROOT / "recsys").rglob("*.py") if "from numba import" in file.read_text()]
    assert direct == ["compiled.py"]
