"""The recipes of docs/extending.md, followed on a copy of the code; test_docs.py follows the one of a feature."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.DOTALL)

TRY_THE_RANKER = """
import numpy as np
from pathlib import Path
from recsys.evaluation.contest import choose
from recsys.ranking.newest import NewestRanker
from recsys.ranking.saved import load_ranker
from recsys.ranking.xgboost_ranker import train
from tests.ranking.rows import NAMES, rows

made, judged = rows(2000, 1), rows(1200, 2)
ranker = NewestRanker.train(made, NAMES, "f")
ranker.save(Path(folder))
again = load_ranker(Path(folder))
assert again == ranker and len(again.explain(judged.inputs)) == len(judged)
for name, column in ranker.predict(judged.inputs).columns().items():
    assert column.tobytes() == again.predict_only(judged.inputs, [name])[name].tobytes()
trees = train(made, judged, NAMES, "f", threads=1, seed=0)
contest = choose("xgboost", {"xgboost": trees.predict(judged.inputs), "newest": again.predict(judged.inputs)}, judged)
assert contest.chosen == "xgboost" and set(contest.entrants) == {"xgboost", "newest"}
"""


JUDGED = "test_every_shelf_is_judged_by_its_own_label_beside_its_own_heuristics_and_gated"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """With what numba has compiled of them, as it lies there for whoever follows a recipe."""
    for name in ("recsys", "recsys_assets", "tests", "benchmarks", "bentos"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.pyc"))
    return tmp_path


def run(copy: Path, *command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} holds {old!r} {text.count(old)} times: mend the recipe and this test"
    path.write_text(text.replace(old, new))


def test_a_shelf_is_one_entry(copy: Path) -> None:
    """The tests of all shelves meet it in the mapping: it is answered, replayed from its log, judged and gated."""
    (name, entry) = re.match(r'SHELVES\["(\w+)"\] = (Shelf\(.*\))', BLOCKS[0]).groups()  # type: ignore[union-attr]
    replaced(
        copy / "recsys" / "policy" / "shelves.py",
        '    "shortcuts": Shelf(',
        f'    "{name}": {entry},\n    "shortcuts": Shelf(',
    )
    served = "tests/serving/test_pipeline.py::test_every_shelf_answers_with_its_own_kinds_best_score_first"
    replayed = "tests/serving/test_replay.py::test_every_request_is_the_same_again"
    judged = f"tests/serving/test_rehearsal.py::{JUDGED}[{name}]"
    run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", served, replayed, judged)
    run(
        copy,
        "-c",
        f"from recsys.serving.schema import RecommendRequest as R; assert '{name}' in str(R.model_json_schema())",
    )


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('Shelf(item_types=("film",))', "a shelf names the item type 'film': it must be one of video"),
        ('Shelf(item_types=("album",), sources={"newest": 0})', "shelf attic: a shelf names the source 'newest'"),
    ],
)
def test_a_row_that_names_what_there_is_not_is_one_line_of_make_check(copy: Path, row: str, words: str) -> None:
    before = '    "shortcuts": Shelf('
    replaced(copy / "recsys" / "policy" / "shelves.py", before, f'    "attic": {row},\n{before}')
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "recsys_assets.check"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "RECSYS_DAYS": "3", "RECSYS_USERS": "20"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and words in done.stdout and "Traceback" not in done.stderr, done.stderr[-2000:]


def test_a_ranker_is_three_files(copy: Path, tmp_path: Path) -> None:
    (copy / "recsys" / "ranking" / "newest.py").write_text(BLOCKS[1])
    before = '    raise RankerError(f"{folder / FILE} holds'
    replaced(copy / "recsys" / "ranking" / "saved.py", before, f"{BLOCKS[2]}{before}")
    run(copy, "-c", f"folder = {str(tmp_path / 'saved')!r}\n{TRY_THE_RANKER}")
