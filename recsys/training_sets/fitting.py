"""One fit of a network, as both towers and ranker need it: checkpoints that an interrupted fit goes on from, the epoch
that validation liked best, and an honest number of threads.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn

from recsys.features.log import rows_in
from recsys.training_sets.threads import on_threads


@dataclass(frozen=True)
class Stopping:
    """When a fit ends: at `max_epochs`, or after `patience` epochs without a better `monitor`."""

    max_epochs: int
    patience: int
    monitor: str  # what the task logs at the end of an epoch
    mode: Literal["min", "max"]


def fit(
    task: lightning.LightningModule,
    network: nn.Module,
    checkpoints: Path,
    stopping: Stopping,
    *,
    gradient_clip: float,
    threads: int,
    keep_last: bool = False,
) -> tuple[int, float]:
    """Train `task` (which holds `network` under that name), on a GPU where there is one.

    `checkpoints` is this fit's own folder, named by data and configuration: what an interrupted fit left there is gone
    on from, and it is removed at the end. `network` ends on the CPU, ready to predict, with the weights of the best
    epoch (`keep_last`: of the last one).

    Returns:
        That epoch, 1 first, and the best value of `stopping.monitor`.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    best = ModelCheckpoint(
        checkpoints,
        filename="best",
        monitor=stopping.monitor,
        mode=stopping.mode,
        save_last=True,
        save_on_train_epoch_end=True,
    )
    stop = EarlyStopping(
        stopping.monitor, mode=stopping.mode, patience=stopping.patience, check_on_train_epoch_end=True
    )
    last = checkpoints / "last.ckpt"
    with warnings.catch_warnings(), on_threads(threads):
        warnings.simplefilter("ignore")  # advice on loader workers and logging that does not hold for whole batches
        trainer = lightning.Trainer(
            max_epochs=stopping.max_epochs,
            accelerator="auto",
            devices=1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            reload_dataloaders_every_n_epochs=1,
            gradient_clip_val=gradient_clip,
            callbacks=[stop, best],
        )
        trainer.fit(task, ckpt_path=str(last) if last.exists() else None)
    kept = torch.load(last if keep_last else best.best_model_path, map_location="cpu", weights_only=False)
    network.load_state_dict({name.removeprefix("network."): value for name, value in kept["state_dict"].items()})
    network.cpu().eval()
    shutil.rmtree(checkpoints)
    assert best.best_model_score is not None
    return int(kept["epoch"]) + 1, float(best.best_model_score)


def go_on(network: nn.Module, known: nn.Module, keys: Mapping[str, str]) -> None:
    """Let `network` begin with what `known` learned, a network of the same shape but for its tables.

    Args:
        keys: by the weights of a table, the buffer of sorted keys that its rows from 1 on are for; a key that `known`
            does not have begins with its row 0, which speaks for whatever it does not know.

    Raises:
        RuntimeError: it is of another shape.
    """
    mine, theirs = network.state_dict(), known.state_dict()
    for name in sorted(mine.keys() - set(keys.values())):
        values = theirs[name]
        if name in keys:
            rows = rows_in(theirs[keys[name]].cpu().numpy(), mine[keys[name]].cpu().numpy())
            values = torch.cat([values[:1], values[torch.from_numpy(rows)]])
        mine[name].copy_(values)


def half_of_the_cores() -> int:
    """Threads for matrices as small as the towers': the rest gains little, and threads that wait for a busy core lose a
    lot (an epoch took 68 s on one thread and 488 s on two while other work kept both cores busy).
    """
    return max(1, torch.get_num_threads() // 2)
