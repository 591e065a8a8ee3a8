"""Where a bundle comes from: the days it learned from, byte by byte, the code, why it was learned, the verdict."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.evaluation.gates import Verdict
from recsys.lake import Lake
from recsys.settings import Settings
from recsys.training_sets.split import PARTS
from recsys_assets.defs.ranking.ranker import days_of

CAUSE = "recsys/cause"  # run tag: "drift", "by hand"; a schedule leaves none


def lineage(context: dg.AssetExecutionContext, settings: Settings, folder: Path) -> dict[str, Any]:
    """What the manifest of the bundle in `folder` says of its origin."""
    from recsys.ranking.ranker import read_header

    lake = Lake(settings.home)
    judged = Verdict.load(lake.reports / "verdict.json")
    by_part = {part: days_of(lake, part) for part in PARTS}
    days = sorted({day for dates in by_part.values() for day in dates})
    ranker = read_header(folder / "ranker")
    outcomes = Counter(gate.outcome for gate in judged.gates)
    return {
        "kind": ranker["kind"] if ranker["kind"] == ranker["name"] else f"{ranker['kind']}: {ranker['name']}",
        "verdict": {
            "passed": judged.passed,
            "is_first": judged.is_first,
            "reasons": list(judged.reasons),
            "gates": dict(outcomes),
        },
        "judged": dict(judged.judged),
        "learned_until": _last_learned(lake),  # the judged ranker; of a refreshed member its own facts tell
        "judged_on": [min(by_part["test"]), max(by_part["test"])] if by_part["test"] else [],
        "run_id": context.run_id,
        "cause": context.run.tags.get(CAUSE, "schedule"),
        "source": settings.source,
        "through": days[-1] if days else None,
        "days": {day: _sha(lake.day(day, "cleaned", "impressions")) for day in days},
        "code": code_version(),
    }


@cache
def code_version() -> str:
    """The commit (with -dirty where files differ), or a hash of the sources where there is no repository."""
    root = Path(__file__).parents[3]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.strip()
    except OSError:  # no git here
        pass
    files = sorted((root / "recsys").rglob("*.py"))
    return "sources-" + hashlib.sha256(json.dumps([_sha(path) for path in files]).encode()).hexdigest()[:12]


def _last_learned(lake: Lake) -> int:
    """Last instant (UTC ms) of the rows that a ranker is fitted to: train and validation."""
    tables = [pq.read_table(lake.table("training_sets", part), columns=["occurred_at"]) for part in PARTS[:2]]
    return max(int(pc.max(table["occurred_at"]).as_py() or 0) for table in tables)


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else "missing"
