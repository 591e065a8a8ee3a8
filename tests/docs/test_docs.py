"""The documents say what the code says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.features import catalog
from recsys.features.derive import OPS
from recsys.features.page import OPERATIONS, features_page
from recsys.settings import Settings
from recsys.sources.files import schema_as_markdown

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()


def test_the_schema_of_files_is_the_documented_one() -> None:
    assert schema_as_markdown().strip() in (ROOT / "docs" / "files.md").read_text()


def test_every_setting_is_on_its_page_and_no_other() -> None:
    told = set(re.findall(r"`RECSYS_([A-Z_]+)`", SETTINGS))
    assert told == {name.upper() for name in Settings.model_fields}


def test_every_command_of_the_readme_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert told <= targets, told - targets


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda p: p.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_the_feature_page_is_the_catalogue() -> None:
    """Stale? Run `make docs`."""
    assert features_page() == (ROOT / "docs" / "features.md").read_text()
    assert all(f"| `{name}` | " in features_page() for name in catalog.FEATURES)
    assert set(OPERATIONS) == set(OPS)


TRY_THE_EXAMPLE = """
import numpy as np
from recsys.features import catalog, sweep
from recsys.features.derive import Context, derive
from recsys.store.journal import key_of
from recsys.features.log import Rows
from recsys.features.page import features_page
from recsys.store.online import OnlineStore
from recsys.store.lmdb_journal import LmdbJournal
from tests.features.streams import random_log

name = "user_play_rate_7d"
column = catalog.FEATURES.index(name)
log, items, table = random_log(1, 200)
store = OnlineStore(LmdbJournal(folder, create=True), create=True)
store.bootstrap(log, table, log.head)
as_of = int(log.received_at.max()) + 1000
users = [f"u{i}" for i in range(6) if key_of(f"u{i}") > 0]  # uncompiled, numpy takes no negative integer of Python
served, zero, at = [], np.zeros(1, np.int64), np.array([as_of])
for user in users:
    read = store.read(user, ["i1"], as_of)
    context = Context(at, zero, zero, zero, read.item)
    served.append(derive(read.aggregates, context)[0, column])
    keys = np.array([read.user_key]), read.item_keys, np.array([log.head])
    trained = derive(sweep.point_in_time(log, items, Rows(*keys, at)), context)
    columns = [catalog.AGGREGATES.index(f"user_{m}_count_7d") for m in ("plays", "impressions")]
    plays, shown = read.aggregates[0, columns].tolist()
    assert trained[0, column].tobytes() == served[-1].tobytes()
    assert served[-1] == np.float32(min((plays + 0.4 * 10) / (shown + 10), 2.0))
assert len(set(served)) > 1 and f"| `{name}` | plays per impression" in features_page()
assert catalog.VALID_RANGES[name] == (0.0, 2.0) and catalog.FINGERPRINT != before
"""


def test_the_example_of_the_feature_page_is_all_it_takes(tmp_path: Path) -> None:
    """The declaration as the page prints it, put into the catalogue of a copy: trained, served and documented."""
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "features.md").read_text(), re.DOTALL)
    shutil.copytree(ROOT / "recsys", tmp_path / "recsys", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "recsys" / "features" / "catalog.py"
    place = "FEATURE_DEFINITIONS: Final[tuple[Feature, ...]] = (\n"
    assert path.read_text().count(place) == 1
    path.write_text(path.read_text().replace(place, f"{place}{example},\n"))
    program = f"before, folder = {catalog.FINGERPRINT!r}, __import__('pathlib').Path({str(tmp_path / 'store')!r})"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program + TRY_THE_EXAMPLE],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_glossary_names_a_real_column() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text()
    assert "`user_watch_ms_sum_7d`" in glossary
    assert "user_watch_ms_sum_7d" in catalog.AGGREGATES
