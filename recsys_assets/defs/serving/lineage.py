"""Where a bundle comes from: the days it learned from, byte by byte, the code, why it was learned, the verdict."""

from __future__ import annotations

import hashlib
import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq

from recsys.evaluation.gates import Verdict
from recsys.lake import Lake
from recsys.settings import Settings
from recsys.training_sets.split import PARTS

CAUSE = "recsys/cause"  # run tag: "drift", "by hand"; a schedule leaves none


def lineage(context: dg.AssetExecutionContext, settings: Settings) -> dict[str, Any]:
    """What the manifest of a bundle says of its origin."""
    lake = Lake(settings.home)
    judged = Verdict.load(lake.reports / "verdict.json")
    by_part = {part: _dates(lake, part) for part in PARTS}
    days = sorted({day for dates in by_part.values() for day in dates})
    return {
        "kind": judged.challenger,
        "verdict": {"passed": judged.passed, "reasons": list(judged.reasons)},
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


def _dates(lake: Lake, part: str) -> list[str]:
    table = pq.read_table(lake.table("training_sets", part), columns=["date"])
    return [str(day) for day in table["date"].unique().to_pylist()]


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else "missing"
