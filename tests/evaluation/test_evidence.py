"""A verdict lets into service what it was about, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recsys.evaluation import evidence
from recsys.evaluation.evidence import NotJudged
from recsys.evaluation.gates import Verdict
from recsys.lake import Lake, content_hash
from recsys.registry import Bundle, Facts
from recsys_assets.defs.evaluation.contenders import learned_until
from recsys_assets.defs.serving.parts import save_refreshed


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path)
    for part in ("train", "validation", "test"):
        lake.write(pa.table({"part": [part]}), lake.table("training_sets", part))
    for folder in ("two_tower", "ranker", "shelves"):
        (lake.models / folder / "deep").mkdir(parents=True)
        (lake.models / folder / "deep" / "weights").write_bytes(b"\0\1")
    index(lake, "a")
    return lake


def index(lake: Lake, content: str) -> None:
    (lake.models / "item_index.json").write_text(json.dumps({"content_hash": content, "collection": "items__1"}))


def judged(lake: Lake) -> dict[str, str]:
    """As the verdict of an evaluation of what is there keeps it, back from disk."""
    report = {"judged": evidence.evidence(lake) | {"rankers": {"blend": content_hash(lake.models / "ranker")}}}
    path = lake.reports / "verdict.json"
    Verdict(True, ("why",), (), "blend", judged=evidence.about(json.loads(json.dumps(report)), "blend")).save(path)
    return dict(Verdict.load(path).judged)


def test_what_was_judged_passes_and_is_told_part_by_part(lake: Lake) -> None:
    told = judged(lake)
    assert set(told) == set(evidence.MADE_BY) and told["index"] == "a"
    evidence.require(told, lake, lake.models / "ranker")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda lake: (lake.models / "ranker/deep/weights").write_bytes(b"\0\2"), "ranker"),
        (lambda lake: (lake.models / "ranker/one more").write_bytes(b""), "ranker"),
        (lambda lake: (lake.models / "two_tower/deep/weights").rename(lake.models / "two_tower/weights"), "towers"),
        (lambda lake: index(lake, "b"), "index"),
        (lambda lake: (lake.models / "shelves/deep/weights").write_bytes(b"\0\2"), "orders"),
        (lambda lake: lake.write(pa.table({"x": [1]}), lake.table("training_sets", "train")), "training set"),
        (lambda lake: lake.write(pa.table({"x": [1]}), lake.table("training_sets", "validation")), "training set"),
        (lambda lake: lake.write(pa.table({"x": [1]}), lake.table("training_sets", "test")), "test set"),
        (lambda lake: lake.table("training_sets", "test").unlink(), "test set"),
    ],
)
def test_any_other_part_is_refused_in_one_line(lake: Lake, change: Any, part: str) -> None:
    told = judged(lake)
    change(lake)
    with pytest.raises(NotJudged, match=f"^the verdict is about another {part} than what is there: materialize .+$"):
        evidence.require(told, lake, lake.models / "ranker")


def test_a_verdict_of_before_it_was_kept_lets_nothing_pass(lake: Lake) -> None:
    with pytest.raises(NotJudged, match="another ranker and towers and index and orders and training set and test set"):
        evidence.require({}, lake, lake.models / "ranker")


@pytest.mark.parametrize(
    ("lineage", "until"),
    [
        ({"learned_until": 7, "judged_on": ["2026-01-05", "2026-01-06"]}, 7),
        ({"judged_on": ["2026-01-05", "2026-01-06"]}, 1767571200000 - 3_600_000 - 1),  # the days before, local
        (
            {"judged_on": ["2026-01-05", "2026-01-05"]},
            1767571200000 + 23 * 3_600_000 - 1,
        ),  # perhaps its hours
        ({}, 0),
    ],
)
def test_a_bundle_tells_up_to_when_it_learned_also_one_of_an_earlier_version(lineage: Any, until: int) -> None:
    facts = Facts("f", "f", "t", "t", "items__1", 3_600_000)
    assert learned_until(Bundle("b", Path(), facts, {}, 0, lineage=lineage)) == until


def test_a_member_refreshed_from_another_ranker_gets_no_bundle(lake: Lake, tmp_path: Path) -> None:
    bundle, newest = tmp_path / "bundle", lake.models / "refreshed" / "factors"
    (bundle / "ranker" / "factors").mkdir(parents=True)
    (bundle / "ranker" / "factors" / "weights").write_bytes(b"judged")
    newest.mkdir(parents=True)
    facts = {"refreshes": content_hash(bundle / "ranker" / "factors")}
    (newest / "ranker.json").write_text(json.dumps({"kind": "factors", "name": "factors", "facts": facts}))
    save_refreshed(lake, bundle)
    assert content_hash(bundle / "refreshed") == content_hash(newest)
    (bundle / "ranker" / "factors" / "weights").write_bytes(b"another")
    with pytest.raises(NotJudged, match="refreshed_factors go on from another ranker than ranker holds: materialize"):
        save_refreshed(lake, bundle)
    shutil.rmtree(bundle)  # the verdict names a heuristic, which has no such member
    (bundle / "ranker").mkdir(parents=True)
    save_refreshed(lake, bundle)
    assert not (bundle / "refreshed").exists()
