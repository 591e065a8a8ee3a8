"""One training step of a checkout, as `benchmarks.training` starts it: this file by its path, the code of the checkout.

Runs the asset itself on the lake of RECSYS_HOME, in this process, and writes what it took and what it made as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

STEPS: Final = {
    "mmoe_ranker": "recsys.ranking.mmoe_training",
    "xgboost_ranker": "recsys.ranking.xgboost_ranker",
    "factor_ranker": "recsys.ranking.factors_training",
    "ranker": "recsys.evaluation.contest",
    "two_tower": "recsys.retrieval.two_tower_training",
}
SAVED: Final = {
    "mmoe_ranker": "rankers/mmoe",
    "xgboost_ranker": "rankers/xgboost",
    "factor_ranker": "rankers/factors",
    "ranker": "ranker",
}


def main() -> int:
    step, out = sys.argv[1], Path(sys.argv[2])
    sys.path.pop(0)  # this folder: a module of another checkout may go by the name of one of its own
    import_module(STEPS[step])  # what a run imports once for all steps is none of them
    from recsys_assets.defs.ranking import ranker
    from recsys_assets.defs.retrieval import towers
    from recsys_assets.resources import Workspace, spark

    workspace = Workspace()
    given = {"spark": spark(workspace.settings)} if step == "xgboost_ranker" else {}
    made = {"ranker": ranker.chosen_ranker, "two_tower": towers.trained_towers}
    asset = made.get(step) or getattr(ranker, step)
    began, cpu = time.monotonic(), time.process_time()
    if step not in made and hasattr(ranker, "opened"):  # else of a checkout up to 30 November 2026, which reads itself
        with ranker.opened(workspace) as rows:
            result = asset(workspace=workspace, rows=rows, **given)
    else:
        result = asset(workspace=workspace, **given)
    told: dict[str, Any] = {"cpu": time.process_time() - cpu, "wall": time.monotonic() - began}
    told["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told["figures"] = towers_judged(workspace, result) if step == "two_tower" else judged(workspace, step)
    out.write_text(json.dumps(told))
    return 0


def judged(workspace: Any, step: str) -> dict[str, float]:
    """Of the ranker fitted on train on the validation days; `later`: of the one fitted to both on the days after."""
    from recsys_assets.defs.ranking.ranker import FITTED

    folder, figures = workspace.lake.models / SAVED[step], {}
    if step == "ranker":
        contest = json.loads((workspace.lake.reports / "contest.json").read_text())
        champion = contest["entrants"][contest["chosen"]]
        figures = {"both": champion["log_loss"], "ndcg@5": champion["ndcg"]}
    else:
        figures = losses(workspace, folder / FITTED, "validation")
    if is_earlier(workspace):
        figures |= {f"{name}, later": value for name, value in losses(workspace, folder, "test").items()}
    return figures


def losses(workspace: Any, folder: Path, part: str) -> dict[str, float]:
    """Log loss of each label, and ndcg@5 of long views among the rows of a user."""
    from recsys.evaluation import metrics
    from recsys_assets.defs.ranking.ranker import labelled

    try:
        from recsys.ranking.saved import load_ranker
    except ImportError:  # up to 28 November 2026
        from recsys.ranking.ranker import load_ranker  # type: ignore[attr-defined,no-redef]
    rows = labelled(workspace.lake, part)
    predicted = load_ranker(folder).predict(rows.inputs)
    return {
        "click": metrics.log_loss(rows.click, predicted.p_click),
        "long_view": metrics.log_loss(rows.long_view, predicted.p_long_view),
        "ndcg@5": metrics.ndcg_at_k(rows.user, rows.long_view, predicted.score, 5),
    }


def towers_judged(workspace: Any, result: Any) -> dict[str, float]:
    """Recall@100 on the validation days of the towers fitted on train, and fused with the other sources; `later` of
    those fitted to both on the days after them.
    """
    figures = {"recall@100": float(result.metadata["validation_recall_at_100"])}
    fused = result.metadata["validation_recall_by_source"].data
    figures |= {f"{name}, mean recall": fused[name] for name in ("two_tower", "fused") if name in fused}
    if is_earlier(workspace):
        figures["recall@100, later"] = recall_later(workspace)
    return figures


def recall_later(workspace: Any) -> float:
    """Of the saved towers on the days after those that they learned from."""
    import torch

    from recsys.cleaned.log import read_log
    from recsys.cleaned.people import people_of
    from recsys.cleaned.versions import items_before
    from recsys.features.log import items_from_table
    from recsys.retrieval import engagements, two_tower_training
    from recsys.retrieval.text import with_content
    from recsys.retrieval.two_tower import QueryTower
    from recsys_assets.defs.retrieval.tables import split_tables

    lake = workspace.lake
    *_, later = split_tables(lake)
    items = items_before(lake, min(later["occurred_at"].to_pylist()))
    catalogue, tower = with_content(items_from_table(items), items), QueryTower.load(lake.models / "two_tower")
    log = read_log(lake, through=max(later["date"].to_pylist()))
    asked = engagements.from_impressions(later, log)
    config = two_tower_training.TrainingConfig()
    query, wanted = two_tower_training.judged_queries(tower.network, asked, log, catalogue, config, people_of(lake))
    vectors = torch.from_numpy(tower.embed_items(catalogue))
    with torch.inference_mode():
        top = (tower.network.embed_queries(query) @ vectors.T).topk(100, dim=1).indices.numpy()
    return float(np.mean([np.isin(want, got).mean() for want, got in zip(wanted, top, strict=True)]))


def is_earlier(workspace: Any) -> bool:
    """Whether the days of the home were moved: its test days are no test then."""
    return bool((workspace.lake.home / "earlier").exists())


if __name__ == "__main__":
    sys.exit(main())
