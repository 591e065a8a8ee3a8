"""What a verdict is about: content hashes of all that was judged, so that it lets nothing else into service."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from recsys.lake import Lake, content_hash
from recsys.training_sets.split import PARTS

MADE_BY: Final[Mapping[str, str]] = {
    "ranker": "ranker",
    "towers": "two_tower",
    "index": "item_index",
    "orders": "shelf_orders",
    "training_set": "training_set",
    "test_set": "training_set",
}


class NotJudged(RuntimeError):
    """What is to go into service is not what the verdict is about; the message says what to materialize."""


def evidence(lake: Lake) -> dict[str, Any]:
    """sha256 of what the evaluation reads beside rankers, by part of MADE_BY; a part that is not there is left out."""
    tables = {part: lake.table("training_sets", part) for part in PARTS}
    paths = {
        "towers": [lake.models / "two_tower"],
        "orders": [lake.models / "shelves"],
        "training_set": [tables["train"], tables["validation"]],
        "test_set": [tables["test"]],
    }
    hashes = {part: ":".join(map(content_hash, held)) for part, held in paths.items() if all(p.exists() for p in held)}
    index = lake.models / "item_index.json"
    return hashes | ({"index": str(json.loads(index.read_text())["content_hash"])} if index.exists() else {})


def about(evaluation: Mapping[str, Any], ranker: str) -> dict[str, str]:
    """What a verdict on that ranker (by its own name) rests on, from an evaluation.json: hash by part of MADE_BY."""
    judged = dict(evaluation.get("judged", {}))
    rankers = judged.pop("rankers", {})
    return judged | ({"ranker": rankers[ranker]} if ranker in rankers else {})


def require(judged: Mapping[str, str], lake: Lake, ranker: Path) -> None:
    """Refuse whatever the verdict is not about.

    Args:
        judged: of the verdict
        ranker: the folder that is to go into service

    Raises:
        NotJudged: a part has other content than what was judged, or the verdict does not say what it judged.
    """
    there = evidence(lake) | {"ranker": content_hash(ranker)}
    other = [part for part in MADE_BY if judged.get(part) != there.get(part)]
    if other:
        made = ", ".join(dict.fromkeys(MADE_BY[part] for part in other))
        raise NotJudged(
            f"the verdict is about another {' and '.join(other).replace('_', ' ')} than what is there: "
            f"materialize retrieval_candidates, evaluation and verdict after {made}, then bundle"
        )
