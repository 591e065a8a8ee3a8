"""`make rollback` and the Dagster job behind it: one step back, one line said, nothing changed when there is none."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from recsys.features.catalog import FINGERPRINT
from recsys.registry import Facts, Registry
from recsys_assets.defs.serving.rollback import rollback
from recsys_assets.resources import Workspace
from tests.conftest import ROOT
from tests.registry.test_registry import FACTS, parts

FITTING = dataclasses.replace(FACTS, features=FINGERPRINT, ranker_features=FINGERPRINT)


def promoted(home: Path, *facts: Facts) -> tuple[Registry, list[str]]:
    registry = Registry(home / "registry")
    ids = [registry.register(parts(home / str(n), str(n)), fact).bundle_id for n, fact in enumerate(facts)]
    for bundle_id in ids:
        registry.promote(bundle_id)
    return registry, ids


def command(home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "recsys_assets.rollback"],
        env={"RECSYS_HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=120,
    )


def test_the_command_goes_back_one_bundle_at_a_time_and_says_which(tmp_path: Path) -> None:
    registry, (first, second) = promoted(tmp_path, FITTING, FITTING)
    done = command(tmp_path)
    assert done.returncode == 0 and registry.alias_id() == first
    assert done.stdout == f"champion is bundle {first} again, it was {second}\n"
    again = command(tmp_path)
    assert again.returncode == 2 and registry.alias_id() == first
    assert again.stderr == "there is no earlier champion to roll back to\n" and again.stdout == ""
    last = registry.history()[-1]
    assert (last["action"], last["bundle_id"], last["reason"]) == ("rollback", first, "make rollback")


def test_without_a_champion_the_command_says_what_to_run_and_writes_nothing(tmp_path: Path) -> None:
    ended = command(tmp_path / "home")
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "run `make run` first" in ended.stderr
    assert not (tmp_path / "home").exists()


def test_a_bundle_of_other_features_is_not_gone_back_to(tmp_path: Path) -> None:
    registry, (_, second) = promoted(tmp_path, FACTS, FITTING)
    ended = command(tmp_path)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and FINGERPRINT in ended.stderr
    assert registry.alias_id() == second


def test_the_job_does_what_the_command_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, (first, _) = promoted(tmp_path, FITTING, FITTING)
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        ran = rollback.execute_in_process(instance=instance, resources={"workspace": Workspace()})
        assert ran.success and registry.alias_id() == first
        assert ran.run_id in registry.history()[-1]["reason"]
        refused = rollback.execute_in_process(
            instance=instance, resources={"workspace": Workspace()}, raise_on_error=False
        )
        assert not refused.success and registry.alias_id() == first
