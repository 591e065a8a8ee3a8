"""Requests of the served log on two bundles: one does not differ from itself, another does, and nothing is written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recsys.events import HOUR_MS
from recsys.serving import served_log
from recsys.serving.diff import DiffRequest, differences
from recsys.serving.opening import open_both
from recsys.serving.schema import Context, RecommendRequest
from tests.conftest import ROOT
from tests.serving.running import environment
from tests.serving.world import World


@pytest.fixture(scope="module")
def home(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = Path(shutil.copytree(world.settings.home, tmp_path_factory.mktemp("diff") / "home", symlinks=True))
    shutil.rmtree(home / "served_log", ignore_errors=True)
    settings = world.settings.model_copy(update={"home": home})
    recommender, _ = open_both(settings, follow=False, clock=lambda: world.simulator_end + HOUR_MS)
    for n, user in enumerate([*world.user_ids[:6], "never seen"]):
        context = Context(device=["ios", None][n % 2])
        recommender.recommend(RecommendRequest(user_id=user, shelf=["feed", "podcasts"][n % 2], context=context))
    recommender.close()
    return home


def test_a_bundle_does_not_differ_from_itself_and_does_from_another(world: World, home: Path) -> None:
    _, inspector = open_both(world.settings.model_copy(update={"home": home}), follow=False)
    logged = served_log.latest(home / "served_log", 50)
    champion, other = world.champion.bundle_id, world.other.bundle_id
    same = differences(DiffRequest(bundle=champion, other=champion), logged, inspector.store, inspector.bundle)
    assert same.left_out == 0 and same.cohorts[0].requests == 7
    for cohort in same.cohorts:
        assert (cohort.same, cohort.kept, cohort.moved) == (1.0, 1.0, 0.0)
        assert cohort.p_click[0] == cohort.p_click[1] and min(cohort.ms) > 0
    diff = differences(DiffRequest(bundle=champion, other=other), logged, inspector.store, inspector.bundle)
    by_name = {cohort.cohort: cohort for cohort in diff.cohorts}
    assert by_name["all"].same < 1.0 and by_name["all"].p_click[0] != by_name["all"].p_click[1]
    assert by_name["new"].requests == 1 and by_name["known"].requests == 6
    assert by_name["shelf feed"].requests + by_name["shelf podcasts"].requests == 7 and diff.words is None
    short = differences(DiffRequest(bundle=champion, other=other), logged, inspector.store, inspector.bundle, -1.0)
    assert short.cohorts[0].requests == 1
    assert short.words == "The newest 1 of 7: there was no time for the others."


def test_what_both_bundles_ask_for_is_read_once(world: World, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, inspector = open_both(world.settings.model_copy(update={"home": home}), follow=False)
    logged, reads, read = served_log.latest(home / "served_log", 1), [], inspector.store.read

    def counted(*asked: Any, **more: Any) -> Any:
        reads.append(asked)
        return read(*asked, **more)

    monkeypatch.setattr(inspector.store, "read", counted)
    champion = world.champion.bundle_id
    differences(DiffRequest(bundle=champion, other=champion), logged, inspector.store, inspector.bundle)
    assert len(reads) == 2, "the history, and the features of its candidates"


def test_the_command_says_it_in_a_table_and_writes_nothing(world: World, home: Path) -> None:
    def said(*bundles: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "recsys_assets.diff", *bundles]
        told = environment(home, 3000, 3001)
        return subprocess.run(command, env=told, capture_output=True, text=True, check=False, cwd=ROOT)

    before = {path: path.read_bytes() for path in sorted((home / "served_log").rglob("*.served"))}
    done = said(world.champion.bundle_id, world.other.bundle_id)
    assert done.returncode == 0, done.stderr
    assert "shelf podcasts" in done.stdout and f"instead of {world.champion.bundle_id}" in done.stdout
    assert {path: path.read_bytes() for path in sorted((home / "served_log").rglob("*.served"))} == before
    gone = said(world.champion.bundle_id, "0" * 16)
    assert gone.returncode == 2 and len(gone.stderr.splitlines()) == 1 and "no bundle" in gone.stderr
