"""Items before their first impression: recall of the item tower over the full catalogue, with and without text.

Towers learn from the training days, validation chooses the epoch; what is asked for are engagements with items that no
event of those days knows, read from the history at their instant.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from recsys.cleaned.log import read_log
from recsys.evaluation.bootstrap import Resamples, interval
from recsys.features.log import EventLog, Items, items_from_table
from recsys.lake import Lake
from recsys.retrieval import engagements
from recsys.retrieval.engagements import Engagements
from recsys.retrieval.text import with_content
from recsys.retrieval.two_tower import QueryTower
from recsys.retrieval.two_tower_training import TrainingConfig, fit, judged_queries
from recsys_assets.defs.retrieval.tables import split_tables

DEPTHS = (50, 200)


def run(lake: Lake, seed: int, say: Any) -> dict[str, Any]:
    """Recall of cold items by variant and days, with intervals of the difference (users resampled)."""
    train, validation, test = split_tables(lake)
    table = lake.read(lake.table("cleaned", "items"))
    items = with_content(items_from_table(table), table)
    log = read_log(lake)
    seen = read_log(lake, before=min(validation["date"].to_pylist()))
    learned = engagements.concat(engagements.from_history(seen), engagements.from_impressions(train, seen))
    chosen = engagements.from_impressions(validation, log)
    config = TrainingConfig(seed=seed)
    towers = {}
    for name, text in (("with text", True), ("without text", False)):
        shape = replace(config, tower=replace(config.tower, text=text))
        with tempfile.TemporaryDirectory() as folder:
            towers[name], report = fit(learned, chosen, log, items, shape, Path(folder), say)
        say(f"{name}: validation recall@100 of all items {report.recall_at_100:.4f}")
    asked = {"validation": validation, "test": test}
    return {
        "shared_words": len(towers["with text"].network.vocabulary.words),
        "days": {part: _compared(towers, rows, log, seen, items, config) for part, rows in asked.items()},
    }


def _compared(
    towers: dict[str, QueryTower], rows: pa.Table, log: EventLog, seen: EventLog, items: Items, config: TrainingConfig
) -> dict[str, Any]:
    wanted = engagements.from_impressions(rows, log)
    cold = wanted.take(np.flatnonzero(~np.isin(wanted.item_key, seen.item_key)))
    if not len(cold.item_key):
        return {"engagements": 0}
    recalls = {name: _recall(tower, cold, log, items, config) for name, tower in towers.items()}
    users = np.arange(len(next(iter(recalls.values()))))
    drawn = Resamples.draw(users)
    gain = recalls["with text"] - recalls["without text"]
    return {
        "engagements": len(cold.item_key),
        "items": len(np.unique(cold.item_key)),
        "users": len(users),
        "recall": {
            name: dict(zip(map(str, DEPTHS), hit.mean(axis=0).tolist(), strict=True)) for name, hit in recalls.items()
        },
        "text_minus_none": {str(k): list(interval(drawn.mean(gain[:, i]))) for i, k in enumerate(DEPTHS)},
    }


def _recall(tower: QueryTower, cold: Engagements, log: EventLog, items: Items, config: TrainingConfig) -> np.ndarray:
    """Share of each user's cold engagements among the first 50 and 200 of the whole catalogue: float64 [users, 2]."""
    query, wanted = judged_queries(tower.network, cold, log, items, config)
    vectors = torch.from_numpy(tower.embed_items(items))
    with torch.inference_mode():
        scores = torch.cat(
            [tower.network.embed_queries(query.take(rows)) @ vectors.T for rows in torch.arange(len(wanted)).split(512)]
        )
        top = scores.topk(min(max(DEPTHS), len(items.item_key)), dim=1).indices.numpy()
    return np.array([[np.isin(want, got[:k]).mean() for k in DEPTHS] for want, got in zip(wanted, top, strict=True)])
