"""`make promote`: a bundle becomes the champion by hand, with a reason that stays; refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.evaluation.gates import Verdict
from recsys.lake import Lake
from recsys.monitoring.versions import versions
from recsys.ranking.heuristics import HeuristicRanker
from recsys.ranking.ranker import RankerError
from recsys.registry import Registry
from recsys.training_sets.examples import examples
from recsys_assets.defs.evaluation.contenders import judged_ranker
from recsys_assets.defs.serving.parts import metrics
from tests.conftest import ROOT
from tests.evaluation.test_heuristics import NAMES
from tests.evaluation.world import impressions
from tests.registry.test_registry import FACTS, parts
from tests.registry.test_rollback import FITTING


def command(home: Path, bundle: str, reason: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "recsys_assets.promote", bundle, reason],
        env={"RECSYS_HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=120,
    )


def test_a_bundle_becomes_the_champion_and_its_reason_stands_on_the_page(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    refused = {"verdict": {"passed": False, "reasons": ["a gate"]}}
    one = registry.register(parts(tmp_path / "1", "1"), FITTING, lineage=refused).bundle_id
    two = registry.register(parts(tmp_path / "2", "2"), FITTING, lineage=refused).bundle_id
    done = command(tmp_path, one, "the only one there is")
    assert (done.returncode, done.stdout) == (0, f"champion is bundle {one}\n") and registry.alias_id() == one
    assert registry.history()[-1]["reason"] == "by hand: the only one there is"
    again = command(tmp_path, one, "twice")
    assert again.returncode == 0 and "champion already" in again.stdout and len(registry.history()) == 1
    assert f"it was {one}" in command(tmp_path, two, "it's <better>").stdout
    rows = {row["bundle"]: row for row in versions(registry).to_dicts()}
    assert rows[two]["aliases"] == "champion" and "by hand: it's <better>" in rows[two]["history"]


def test_a_bundle_is_made_of_the_ranker_that_the_verdict_names_with_the_figures_it_has(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    rows = examples(impressions(0), NAMES)
    for name in ("popular", "item_rate"):
        HeuristicRanker.fit(name, rows, NAMES, "f").save(lake.models / "heuristics" / name)
    HeuristicRanker.fit("random", rows, NAMES, "f").save(lake.models / "ranker")  # the contest's choice
    Verdict(True, ("why",), (), "item_rate", is_first=True).save(lake.reports / "verdict.json")
    assert judged_ranker(lake) == lake.models / "heuristics" / "item_rate"
    figures = {"click": {"auc": 0.7, "gauc": 0.6, "log_loss": 0.5}}
    ranking = {"champion": figures, "random": {"click": {"auc": 0.5, "gauc": 0.5, "log_loss": 0.7}}}
    (lake.reports / "evaluation.json").write_text(json.dumps({"challenger": "random", "ranking": ranking}))
    assert metrics(lake) == {"auc_click": 0.7, "gauc_click": 0.6, "log_loss_click": 0.5}, "a log without long views"
    Verdict(False, ("why",), (), "random").save(lake.reports / "verdict.json")
    assert judged_ranker(lake) == lake.models / "ranker" and metrics(lake)["auc_click"] == 0.5
    Verdict(True, ("why",), (), "xgboost").save(lake.reports / "verdict.json")
    with pytest.raises(RankerError, match="materialize evaluation and verdict"):
        judged_ranker(lake)


@pytest.mark.parametrize(
    ("bundle", "reason", "words"),
    [
        ("known", "", "say why"),
        ("known", "  ", "say why"),
        ("", "why not", "say which"),
        ("0123456789abcdef", "why not", "no bundle 0123456789abcdef in the registry: it holds"),
        ("../../etc", "why not", "is not a bundle id"),
        ("known", "why not", "needs features"),  # of other features than this code's
    ],
)
def test_what_cannot_be_promoted_is_one_line_and_changes_nothing(
    tmp_path: Path, bundle: str, reason: str, words: str
) -> None:
    registry = Registry(tmp_path / "registry")
    other = registry.register(parts(tmp_path / "1", "1"), FACTS).bundle_id
    ended = command(tmp_path, other if bundle == "known" else bundle, reason)
    assert ended.returncode == 2 and ended.stdout == "" and ended.stderr.count("\n") == 1 and words in ended.stderr
    assert registry.alias_id() is None and registry.history() == []
