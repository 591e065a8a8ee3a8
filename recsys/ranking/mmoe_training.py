"""Train the neural ranker on the rows of the boosted trees and on imported exposures: whole users a batch, early
stopping on validation.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pytorch_lightning as lightning
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from recsys.features.catalog import FEATURE_DEFINITIONS
from recsys.ranking import calibration
from recsys.ranking.mmoe import MMoERanker
from recsys.ranking.mmoe_network import MMoE
from recsys.ranking.mmoe_predict import MMoEConfig
from recsys.ranking.taste_network import Bags, bags
from recsys.training_sets import fitting
from recsys.training_sets.examples import Examples, medians, worth_learning
from recsys.training_sets.imported import Imported
from recsys.training_sets.labels import WATCH, aim, labels_of, probabilities
from recsys.training_sets.on_disk import BLOCK
from recsys.training_sets.states import state_of

MONITOR: Final = "validation_loss"
NAMES: Final = frozenset(feature.name for feature in FEATURE_DEFINITIONS if feature.op == "bucket")
# Watch time is a mean over a long tail: its likelihood would outweigh the two logits three to one.
LOSS_WEIGHTS: Final[Mapping[str, float]] = {"click": 1.0, "long_view": 1.0, "watch": 0.3, "order": 0.3}
IMPORTED_WEIGHT: Final = 0.5  # of an imported exposure: it is older, and knows of no click


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. Chosen on validation days of KuaiRand."""

    max_epochs: int = 6
    patience: int = 3  # epochs without a better validation loss
    batch_rows: int = 512  # beside their share of the imported exposures
    learning_rate: float = 1.5e-3
    rate_kept: float = 0.6  # of the learning rate, from epoch to epoch
    rate_on: float = 3e-4  # of the one epoch of a refit
    weight_decay: float = 1e-4
    seed: int = 7
    network: MMoEConfig = field(default_factory=MMoEConfig)


class Rows(NamedTuple):
    """Tensors of n impressions."""

    numbers: torch.Tensor  # float32[n, numbers], as `MMoE.prepare` gives them
    codes: torch.Tensor  # int64[n, names]
    click: torch.Tensor  # float32[n]
    long_view: torch.Tensor
    watch: torch.Tensor  # seconds
    relevance: torch.Tensor  # float32[n], 0..3
    user: torch.Tensor  # int64[n]

    @staticmethod
    def of(rows: Examples, network: MMoE) -> Rows:
        return Rows(
            *_prepared(rows.features, network),
            torch.from_numpy(rows.click.astype(np.float32)),
            torch.from_numpy(rows.long_view.astype(np.float32)),
            torch.from_numpy((rows.watch_ms / 1000.0).astype(np.float32)),
            torch.from_numpy(rows.relevance.astype(np.float32)),
            torch.from_numpy(rows.user),
        )

    def take(self, chosen: torch.Tensor) -> Rows:
        """Those rows."""
        return Rows(*(column[chosen] for column in self))


def _prepared(features: np.ndarray, network: MMoE) -> tuple[torch.Tensor, torch.Tensor]:
    """`MMoE.prepare` of all rows, a block at a time: each of its six steps makes a copy of what it is given."""
    numbers = torch.empty(len(features), len(network.numeric))
    codes = torch.empty(len(features), len(network.named), dtype=torch.int64)
    for start in range(0, len(features), BLOCK):
        part = slice(start, start + BLOCK)
        numbers[part], codes[part] = network.prepare(torch.from_numpy(np.array(features[part])))
    return numbers, codes


class Batch(NamedTuple):
    """Impressions with what they are met with, and imported exposures beside them."""

    rows: Rows
    met: Bags
    imported: Bags
    imported_long_view: torch.Tensor  # float32[m]


class Batches(IterableDataset):
    """Whole batches by index: users in an order given by seed and epoch, a user's rows together, and in each batch its
    share of the imported exposures.
    """

    def __init__(self, rows: Examples, imported: Imported, network: MMoE, batch_rows: int, seed: int) -> None:
        self.rows, self.imported = Rows.of(rows, network), imported
        self.item_key, self.history = rows.inputs.item_key, rows.inputs.history
        self.item_keys, self.seed, self.epoch = network.taste.item_keys.numpy(), seed, 0
        self.batches = max(1, round(len(rows) / batch_rows))
        self._order = torch.argsort(self.rows.user, stable=True)
        _, self._sizes = torch.unique_consecutive(self.rows.user[self._order], return_counts=True)
        self._starts = torch.cumsum(self._sizes, 0) - self._sizes

    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(self.seed * 1_000 + self.epoch)
        users = torch.randperm(len(self._sizes), generator=generator)
        sizes = self._sizes[users]
        ends = torch.cumsum(sizes, 0)
        # a row of the shuffled order: where its user begins in the sorted rows, plus its place among the user's
        shift = torch.repeat_interleave(self._starts[users] - (ends - sizes), sizes)
        order = self._order[torch.arange(len(shift)) + shift]
        exposures = torch.randperm(len(self.imported.item_key), generator=generator)
        for chosen, also in zip(order.tensor_split(self.batches), exposures.tensor_split(self.batches), strict=True):
            yield self.batch(chosen, also)

    def batch(self, chosen: torch.Tensor, also: torch.Tensor) -> Batch:
        """Those rows, and those imported exposures."""
        at, imported = chosen.numpy(), self.imported.take(also.numpy())
        return Batch(
            self.rows.take(chosen),
            bags(self.item_keys, self.item_key[at], self.history.take(at)),
            bags(self.item_keys, imported.item_key, imported.history),
            torch.from_numpy(imported.long_view.astype(np.float32)),
        )


class MMoETask(lightning.LightningModule):
    """The objective: two logits, a Poisson likelihood of watch time, and the order inside users."""

    def __init__(
        self,
        network: MMoE,
        config: TrainingConfig,
        batches: Batches,
        validation: Batch,
        labels: tuple[str, ...],
        say: Callable[[str], None],
    ) -> None:
        """`labels`: what is learned (`training_sets.labels`); the other tasks take no part in the loss."""
        super().__init__()
        self.aim, self.judged = aim(labels), probabilities(labels)
        self.tasks = (*self.judged, *(["watch"] if WATCH in labels else []), "order")
        self.network, self.config, self.batches, self.validation, self.say = network, config, batches, validation, say
        self.epochs: list[dict[str, float]] = []

    def train_dataloader(self) -> DataLoader:
        """Called anew each epoch, so that a resumed run meets the order it would have met."""
        self.batches.epoch = self.current_epoch
        # a generator of its own: the loader's seed is else drawn from the one that the epoch's draws come from
        return DataLoader(self.batches, batch_size=None, generator=torch.Generator())

    def on_train_epoch_start(self) -> None:
        """Dropout depends on seed and epoch alone: a resumed run ends in the bytes of an uninterrupted one."""
        torch.manual_seed(self.config.seed * 1_000 + 500 + self.current_epoch)

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        losses = self.losses(batch.rows, batch.met)
        total = torch.stack([LOSS_WEIGHTS[task] * losses[task] for task in self.tasks]).sum()
        seen = batch.imported_long_view
        if not len(seen) or "long_view" not in self.judged:
            return total
        told = self.network.long_view(batch.imported)
        loss = functional.binary_cross_entropy_with_logits(told, seen, reduction="sum")
        return total + IMPORTED_WEIGHT * loss / len(batch.rows.click)

    def losses(self, rows: Rows, met: Bags) -> dict[str, torch.Tensor]:
        """Mean loss of each task."""
        out = self.network.learn(rows.numbers, rows.codes, met)
        watch = rows.watch / self.network.watch_mean
        return {
            "click": functional.binary_cross_entropy_with_logits(out["click"], rows.click),
            "long_view": functional.binary_cross_entropy_with_logits(out["long_view"], rows.long_view),
            # Poisson: its mean is right whatever the tail looks like
            "watch": (torch.exp(out["watch"]) - watch * out["watch"]).mean(),
            # what the order of the aim inside a user still lacks; the logit itself is not moved by it
            "order": listwise(out[self.aim].detach() + out["order"], rows.relevance, rows.user),
        }

    def on_train_epoch_end(self) -> None:
        """Loss of the probabilities on the validation days, and a line that says it."""
        self.network.eval()
        with torch.inference_mode():
            rows = Rows(*(column.to(self.device) for column in self.validation.rows))
            met = Bags(*(column.to(self.device) for column in self.validation.met))
            losses = {task: float(loss) for task, loss in self.losses(rows, met).items()}
        self.network.train()
        loss = sum(losses[label] for label in self.judged)
        self.log(MONITOR, loss)
        self.epochs.append({"epoch": self.current_epoch + 1, **losses})
        told = ", ".join(f"{losses[label]:.4f} {label}" for label in self.judged)
        self.say(f"mmoe epoch {self.current_epoch + 1}: validation log loss {told} on {self.device.type}")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        config = self.config
        # fused: one pass over all weights, where the plain one takes eight small operations for each of 50 tensors
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, config.rate_kept)]


def listwise(scores: torch.Tensor, relevance: torch.Tensor, user: torch.Tensor) -> torch.Tensor:
    """ListNet's top-one loss inside users: cross entropy of the relevance's shares under softmax of the scores."""
    _, group = torch.unique(user, return_inverse=True)
    groups = int(group.max()) + 1
    peak = torch.full((groups,), -torch.inf, device=scores.device).scatter_reduce(0, group, scores.detach(), "amax")
    mass = torch.zeros(groups, device=scores.device).index_add(0, group, torch.exp(scores - peak[group]))
    log_share = scores - peak[group] - torch.log(mass)[group]
    total = torch.zeros(groups, device=scores.device).index_add(0, group, relevance)
    weight = torch.where(total[group] > 0, relevance / total[group].clamp(min=1.0), 0.0)
    return -(weight * log_share).sum() / (total > 0).sum().clamp(min=1)


def _say(line: str) -> None:
    print(line, flush=True)


def train(
    train_rows: Examples,
    validation_rows: Examples,
    feature_names: Sequence[str],
    fingerprint: str,
    folder: Path,
    *,
    imported: Imported | None = None,
    config: TrainingConfig | None = None,
    threads: int = 1,
    say: Callable[[str], None] = _say,
) -> MMoERanker:
    """Fit on the training rows, stop and calibrate on the validation rows.

    Args:
        imported: exposures from before the log, from which tastes are learned too
        folder: where checkpoints lie while it runs; an interrupted run of the same rows and configuration goes on.

    Raises:
        LabelError: when there is nothing to learn.
    """
    config = config or TrainingConfig()
    labels = labels_of(train_rows, validation_rows)
    began = time.monotonic()
    imported = imported or Imported.none()
    lightning.seed_everything(config.seed, verbose=False)
    network = build(train_rows, imported, feature_names, config.network)
    batches = Batches(train_rows, imported, network, config.batch_rows, config.seed)
    task, best_epoch = _fitted(network, batches, validation_rows, folder, config, labels, threads, say)
    ranker = MMoERanker(
        feature_names=tuple(feature_names),
        fingerprint=fingerprint,
        config=network.config,
        state=state_of(network),
        calibrations={},
        medians=medians(train_rows.features),
        facts={
            "train_rows": len(train_rows),
            "validation_rows": len(validation_rows),
            "imported_rows": len(imported.item_key),
            "epochs": task.epochs,
            "best_epoch": best_epoch,
            "seconds": time.monotonic() - began,
            "device": task.device.type,
        },
        labels=labels,
    )
    outputs = ranker.outputs(validation_rows.inputs)
    calibrations: dict[str, calibration.Calibration] = {
        label: calibration.fit(outputs[label], getattr(validation_rows, label)) for label in probabilities(labels)
    }
    return replace(ranker, calibrations=calibrations)


def refit(
    chosen: MMoERanker,
    rows: Examples,
    validation_rows: Examples,
    folder: Path,
    *,
    imported: Imported | None = None,
    config: TrainingConfig | None = None,
    threads: int = 1,
    say: Callable[[str], None] = _say,
) -> MMoERanker:
    """Go on from `chosen` with one epoch over the validation rows; items and names are known by `rows`, of both parts.

    To learn all rows anew costs fifteen times that. On an earlier split of the simulator (two seeds) the log losses of
    the two days after were .5519 click and .5015 long view so, and are .5519 and .5021 now. A second epoch over rows
    that it has seen made it worse, and so did a rate of 1e-3 on KuaiRand (both labels 1.1219; 1.1151 at this rate,
    1.1170 of `chosen`).

    The calibrations stay those of `chosen`: they were measured on days that it had not learned from. Where the
    validation rows are too few to teach anything, it is `chosen` itself.
    """
    learned = len(rows) - len(validation_rows)
    if not worth_learning(len(validation_rows), learned):
        return replace(chosen, facts={**chosen.facts, "refit_rows": learned})
    config = config or TrainingConfig()
    config = replace(config, max_epochs=1, learning_rate=config.rate_on, network=chosen.config)

    def tell(line: str) -> None:
        say(line.replace("mmoe", "mmoe to the last validation day,").replace("validation", "learned"))

    before = chosen.network
    lightning.seed_everything(config.seed, verbose=False)
    network = build(rows, imported or Imported.none(), chosen.feature_names, config.network)
    fitting.go_on(network, before, network.keys)
    batches = Batches(validation_rows, Imported.none(), network, config.batch_rows, config.seed)
    _fitted(network, batches, validation_rows, folder, config, chosen.labels, threads, tell)
    facts = {**chosen.facts, "refit_rows": len(rows)}
    return replace(chosen, state=state_of(network), medians=medians(rows.features), facts=facts)


def _fitted(
    network: MMoE,
    batches: Batches,
    judged: Examples,
    folder: Path,
    config: TrainingConfig,
    labels: tuple[str, ...],
    threads: int,
    say: Callable[[str], None],
) -> tuple[MMoETask, int]:
    """Train the network to its best epoch: the task that did, and that epoch, 1 first."""
    held_out = Batches(judged, Imported.none(), network, len(judged), config.seed)
    task = MMoETask(network, config, batches, next(iter(held_out)), labels, say)
    epoch, _ = fitting.fit(
        task,
        network,
        folder / _key(config, network, batches),
        fitting.Stopping(config.max_epochs, config.patience, MONITOR, "min"),
        gradient_clip=5.0,
        threads=threads,
    )
    return task, epoch


def build(rows: Examples, imported: Imported, feature_names: Sequence[str], config: MMoEConfig) -> MMoE:
    """An untrained network that knows the statistics and vocabularies of the training rows."""
    named = [column for column, name in enumerate(feature_names) if name in NAMES]
    vocabularies = []
    for column in named:
        values, counts = np.unique(rows.features[:, column], return_counts=True)
        vocabularies.append(values[(counts >= config.min_rows) & ~np.isnan(values)])
    shown, counts = np.unique(np.concatenate([rows.inputs.item_key, imported.item_key]), return_counts=True)
    # A vector that learns from the impressions alone repeats their own outcomes: that cost 0.010 of log loss on the
    # simulator. The exposures imported with KuaiRand gain 0.001.
    config = replace(config, own_vectors=len(imported.item_key) > 0)
    items = shown[(counts >= config.min_shown) & (shown != 0)]
    network = MMoE(config, named, vocabularies, len(feature_names), items)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a column without any value has no mean
        for place, column in enumerate(network.numeric.tolist()):  # of all at once, NumPy holds five copies in doubles
            numbers = rows.features[:, column].astype(np.float64)
            network.mean[place] = float(np.nan_to_num(np.nanmean(numbers)))
            network.scale[place] = max(float(np.nan_to_num(np.nanstd(numbers))), 1e-3)
    network.watch_mean.copy_(torch.tensor(max(float(rows.watch_ms.mean()) / 1000.0, 1e-3)))
    return network


def _key(config: TrainingConfig, network: MMoE, batches: Batches) -> str:
    """Of what is learned, from where, and how."""
    digest = hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode())
    tensors = (*network.state_dict().values(), *batches.rows)
    columns = (batches.item_key, *batches.history, *batches.imported[:2], *batches.imported.history)
    for column in (*(tensor.numpy() for tensor in tensors), *columns):
        digest.update(np.ascontiguousarray(column).tobytes())
    return f"run_{digest.hexdigest()[:16]}"
