"""Two-tower training under Lightning beside a plain torch loop over the same tensors and the same loss."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch

from recsys.cleaned.log import read_log
from recsys.features.log import items_from_table
from recsys.lake import Lake
from recsys.retrieval import engagements
from recsys.retrieval.text import with_content
from recsys.retrieval.two_tower_training import Batches, TrainingConfig, TwoTowerTask, prepare
from recsys.training_sets import fitting
from recsys_assets.defs.retrieval.tables import split_tables

EXAMPLES = 100_000
ROUNDS = 3  # taken in turn, so that a neighbour's load meets both alike


def run(lake: Lake, seed: int) -> dict[str, Any]:
    """Examples a second of both, and the ratio of their times (median of the rounds, one epoch each)."""
    train, _, test = split_tables(lake)
    table = lake.read(lake.table("cleaned", "items"))
    items = with_content(items_from_table(table), table)
    log = read_log(lake, before=min(test["date"].to_pylist()))
    learned = engagements.concat(engagements.from_history(log), engagements.from_impressions(train, log))
    config = replace(TrainingConfig(seed=seed), max_examples=EXAMPLES)
    seconds: dict[str, list[float]] = {"Lightning": [], "plain loop": []}
    with fitting.on_threads(fitting.half_of_the_cores()):
        for _ in range(ROUNDS):
            seconds["plain loop"].append(_plain(_task(learned, log, items, config)))
            seconds["Lightning"].append(_lightning(_task(learned, log, items, config)))
    ratios = [ours / plain for ours, plain in zip(seconds["Lightning"], seconds["plain loop"], strict=True)]
    n = min(EXAMPLES, len(learned.item_key))
    return {
        "examples": n,
        "examples_a_second": {name: n / float(np.median(times)) for name, times in seconds.items()},
        "ratio": float(np.median(ratios)),
        "ratios": ratios,
    }


def _task(learned: Any, log: Any, items: Any, config: TrainingConfig) -> TwoTowerTask:
    lightning.seed_everything(config.seed, verbose=False)
    made = prepare(learned, log, items, config)
    batches = Batches(made.examples, config.batch_size, config.seed)
    few = torch.arange(1)  # judging costs both alike and is left out
    return TwoTowerTask(
        made.network, config, batches, made.catalogue, (made.examples.query.take(few), [np.zeros(1, int)]), _silent
    )


def _silent(line: str) -> None:
    pass


def _plain(task: TwoTowerTask) -> float:
    (optimizer,), _ = task.configure_optimizers()
    task.train()
    began = time.perf_counter()
    for place, batch in enumerate(task.batches):
        loss = task.training_step(batch, place)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
    return time.perf_counter() - began


def _lightning(task: TwoTowerTask) -> float:
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        gradient_clip_val=1.0,
    )
    began = time.perf_counter()
    trainer.fit(task)
    return time.perf_counter() - began
