"""Train the two towers: in-batch softmax with logQ correction, early stopping on the validation days.

Every engagement of the training days is an example, read at the instant of its impression: an imported long view of
before the log counts too, read at the position before it. On KuaiRand those are 300,000 beside 41,000 logged ones, and
lift recall@100 on the validation days from 0.37 to 0.45.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pytorch_lightning as lightning
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from recsys.events import DAY_MS
from recsys.features import catalog, sweep
from recsys.features.log import EventLog, Items
from recsys.features.people import NO_ONE, People
from recsys.retrieval.engagements import Engagements, about_rows, read_rows
from recsys.retrieval.two_tower import QueryTower
from recsys.retrieval.two_tower_network import QueryBatch, TwoTower, item_numbers
from recsys.retrieval.two_tower_query import CONTEXT_COLUMNS, TowerConfig, Vocabulary
from recsys.training_sets import fitting
from recsys.training_sets.examples import worth_learning

MONITOR: Final = "recall_at_100"
LAST_PASSES: Final = 3  # over the log's own examples at the end
WORD_EXAMPLES: Final = 20  # fewer examples of a word about users teach no more than who those users are


class TrainingError(ValueError):
    """There is nothing to learn from; the message says what is missing."""


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. Chosen on validation days."""

    max_epochs: int = 4
    least_examples: int = 120_000  # that they go over, in up to twice as many epochs: 4 of home are 80 steps
    patience: int = 2  # epochs without a better validation recall
    batch_size: int = 1024
    window: int = 4_096  # examples of the log that follow each other in time, of which a batch is drawn
    learning_rate: float = 3e-3  # of the first epoch, then less by as much each: constant, validation recall jumps
    uniform_negatives: int = 256  # items drawn evenly from the catalogue and added to each batch's own
    max_examples: int = 600_000  # the newest ones
    validation_users: int = 4_000
    seed: int = 7
    tower: TowerConfig = field(default_factory=TowerConfig)

    def of(self, examples: int) -> TrainingConfig:
        """The same with the epochs that so many examples need. All of them are run then: at the rate of the first ones
        recall jumps, and with patience a fit of home ended after 5 of 7, no better than after 4.
        """
        epochs = min(2 * self.max_epochs, -(-self.least_examples // max(examples, 1)))
        return self if epochs <= self.max_epochs else replace(self, max_epochs=epochs, patience=epochs)


@dataclass(frozen=True)
class TrainingReport:
    """What came out."""

    examples: int
    epochs: tuple[dict[str, float], ...]  # loss, recall and seconds of each
    recall_at_100: float  # of the best epoch, on the validation days
    best_epoch: int  # the one that was kept, 1 first
    seconds: float
    device: str


class Examples(NamedTuple):
    """Tensors of n rows in order of time: the query, and the item that followed it."""

    query: QueryBatch
    target: torch.Tensor  # int64[n], catalogue row
    as_of: torch.Tensor  # int64[n], instant of the read, UTC ms
    logged: torch.Tensor  # bool[n], answers a request of the log; not imported from before it
    window: torch.Tensor  # int64[n], number of the window that it is drawn in


class Batches(IterableDataset):
    """Whole batches by index into tensors, in an order given by seed and epoch. No Python per row.

    A batch of the log is drawn from one window of time, so that its items can be as old as they were then: among
    examples of all days an item's age says nothing, since whatever is young in one row is old in none of them.

    An epoch goes through the imported examples first and ends with those of the log, each shuffled: the next requests
    look like the latter, which are an eighth of KuaiRand's. On its validation days mean recall@50/100/200 is .459 in
    this order, .433 mixed (one seed of both). The last epoch goes over the latter LAST_PASSES times, at the lowest
    rate, where there are imported ones: the fused list has .466 / .611 at 100 and 200 for .459 / .604 (one seed). So
    often in each of three epochs they are learned by heart: recall@50 of the towers falls from .315 to .301.
    """

    def __init__(self, examples: Examples, batch_size: int, seed: int, epochs: int = 0) -> None:
        """`epochs`: how many there will be at most; 0: none is the last."""
        self.examples, self.batch_size, self.seed, self.epoch = examples, batch_size, seed, 0
        self.epochs = epochs

    def __iter__(self) -> Iterator[Examples]:
        generator = torch.Generator().manual_seed(self.seed * 1_000 + self.epoch)
        query, *columns = self.examples
        again = LAST_PASSES - 1 if self.epoch == self.epochs - 1 and not self.examples.logged.all() else 0
        for logged in (False, True, *[True] * again):
            rows = torch.nonzero(self.examples.logged == logged)[:, 0]
            _, sizes = torch.unique_consecutive(self.examples.window[rows], return_counts=True)
            parts = [
                part
                for window in rows.split(sizes.tolist())
                for part in window[torch.randperm(len(window), generator=generator)].split(self.batch_size)
            ]
            for place in torch.randperm(len(parts), generator=generator).tolist():
                yield Examples(query.take(parts[place]), *(column[parts[place]] for column in columns))


class TwoTowerTask(lightning.LightningModule):
    """The objective. `drawn` tells how often each window draws each item: keys window * items + item, sorted."""

    def __init__(
        self,
        network: TwoTower,
        config: TrainingConfig,
        batches: Batches,
        catalogue: tuple[torch.Tensor, ...],
        validation: tuple[QueryBatch, list[np.ndarray]],
        say: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.say = say
        self.epochs: list[dict[str, float]] = []
        self._losses: list[torch.Tensor] = []
        self._began = 0.0
        self.network, self.config, self.batches = network, config, batches
        self.validation = validation
        examples = batches.examples
        keys, counts = torch.unique(examples.window * len(catalogue[0]) + examples.target, return_counts=True)
        self.register_buffer("drawn", keys, persistent=False)
        self.register_buffer("times_drawn", counts.float(), persistent=False)
        self.register_buffer("window_rows", torch.bincount(examples.window).float(), persistent=False)
        self.register_buffer("all_codes", catalogue[0], persistent=False)
        self.register_buffer("all_numbers", catalogue[1], persistent=False)
        self.register_buffer("published_at", catalogue[2], persistent=False)
        self.drawn: torch.Tensor
        self.times_drawn: torch.Tensor
        self.window_rows: torch.Tensor
        self.all_codes: torch.Tensor
        self.all_numbers: torch.Tensor
        self.published_at: torch.Tensor

    def train_dataloader(self) -> DataLoader:
        """Called anew each epoch, so that a resumed run meets the order it would have met."""
        self.batches.epoch = self.current_epoch
        return DataLoader(self.batches, batch_size=None)

    def training_step(self, batch: Examples, place: int) -> torch.Tensor:
        """Softmax over the batch's items and some drawn evenly; each logit less the log of how often it is drawn."""
        if place == 0:  # not before: a resumed run makes its loader at another moment, which draws a number too
            torch.manual_seed(self.config.seed * 1_000 + self.current_epoch)
        rows, drawn = batch.target, self.config.uniform_negatives
        if drawn:
            rows = torch.cat([rows, torch.randint(len(self.all_codes), (drawn,), device=rows.device)])
        expected = len(batch.target) * self.share(rows, batch.window[0]) + drawn / len(self.all_codes)
        published_at = self.published_at[rows]
        days = (batch.as_of.double().mean() - published_at).clamp(min=0.0) / DAY_MS * (published_at > 0)
        numbers = torch.stack([self.all_numbers[rows, 0], torch.log1p(days).float()], dim=1)
        given = None if self.network.given is None else self.network.catalogue_given[rows + 1]
        n = len(batch.target)
        own = torch.arange(n, device=rows.device)
        twin = batch.target[:, None] == rows[None, :]
        # What was not there yet is no negative: a catalogue holds the items of later days, and a network that was told
        # they are never chosen puts every new item last.
        later = published_at[None, :] > batch.as_of[:, None]
        left_out = twin.logical_or_(later)
        left_out[own, own] = False
        behind = torch.where(left_out, -1e9, -torch.log(expected))  # one pass over n x items, and no gradient
        users = self.network.embed_queries(batch.query) * self.network.log_scale.exp()
        loss = functional.cross_entropy(
            torch.addmm(behind, users, self.network.embed_items(self.all_codes[rows], numbers, given).T), own
        )
        self._losses.append(loss.detach())
        return loss

    def share(self, rows: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        """What share of a window's examples each catalogue item has, float32 of the shape of `rows`."""
        wanted = window * len(self.all_codes) + rows
        at = torch.searchsorted(self.drawn, wanted).clamp(max=len(self.drawn) - 1)
        return self.times_drawn[at] * (self.drawn[at] == wanted) / self.window_rows[window]

    def on_train_epoch_start(self) -> None:
        self._began, self._losses = time.monotonic(), []

    def on_train_epoch_end(self) -> None:
        """Recall over the whole catalogue on the validation days, and a line that says it."""
        self.network.eval()
        query, wanted = self.validation
        with torch.inference_mode():
            given = None if self.network.given is None else self.network.catalogue_given[1:]
            items = self.network.embed_items(self.all_codes, self.all_numbers, given)
            depth = min(100, max(1, len(items) // 10))  # 100 of 120 items would hold nearly every one
            ranked = []
            for part in torch.arange(len(query.items)).split(1_024):
                rows = QueryBatch(*(column.to(self.device) for column in query.take(part)))
                scores = self.network.embed_queries(rows) @ items.T
                ranked.append(scores.topk(depth, dim=1).indices.cpu().numpy())
        self.network.train()
        top = np.concatenate(ranked)
        hits = [np.isin(want, got).mean() for want, got in zip(wanted, top, strict=True)]
        recall, loss = float(np.mean(hits)), float(torch.stack(self._losses).mean())
        seconds = time.monotonic() - self._began
        self.log(MONITOR, recall)
        self.epochs.append({"epoch": self.current_epoch + 1, "loss": loss, MONITOR: recall, "seconds": seconds})
        self.say(
            f"two_tower epoch {self.current_epoch + 1}: loss {loss:.3f}, validation recall@100 {recall:.4f}, "
            f"{seconds:.0f} s on {self.device.type}"
        )

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
        rate, epochs = self.config.learning_rate, self.config.max_epochs
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=rate, weight_decay=0.0, fused=True)
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 - epoch / epochs)]


def _say(line: str) -> None:
    print(line, flush=True)


def fit(
    train: Engagements,
    validation: Engagements,
    log: EventLog,
    items: Items,
    config: TrainingConfig,
    folder: Path,
    say: Callable[[str], None] = _say,
    keep_last: bool = False,
    people: People = NO_ONE,
) -> tuple[QueryTower, TrainingReport]:
    """Train the towers on the engagements of the training days.

    Args:
        train, validation: engagements of those days; validation chooses the epoch only.
        log: the events of both and of all days before; a read sees what its position lets it.
        items: the whole catalogue.
        folder: where checkpoints lie while it runs; an interrupted run of the same data and configuration goes on.
        keep_last: take the last epoch, not the one that validation liked best.
        people: what is said of users, which the query tower reads as of each read.

    Raises:
        TrainingError: an empty training or validation set.
    """
    began = time.monotonic()
    if not len(train.item_key) or not len(validation.item_key):
        raise TrainingError("the training or validation days hold no click and no long view: give more days")
    lightning.seed_everything(config.seed, verbose=False)
    made = prepare(train, log, items, config, people)
    config = config.of(len(made.learned.item_key))
    network, batches = made.network, Batches(made.examples, config.batch_size, config.seed, config.max_epochs)
    judged = judged_queries(network, validation, log, items, config, people)
    task = TwoTowerTask(network, config, batches, made.catalogue, judged, say)
    epoch, recall = fitting.fit(
        task,
        network,
        folder / _key(config, made.learned, people, items),
        fitting.Stopping(config.max_epochs, config.patience, MONITOR, "max"),
        gradient_clip=1.0,
        threads=fitting.half_of_the_cores(),
        keep_last=keep_last,
    )
    report = TrainingReport(
        examples=len(made.learned.item_key),
        epochs=tuple(task.epochs),
        recall_at_100=recall,
        best_epoch=epoch,
        seconds=time.monotonic() - began,
        device=task.device.type,
    )
    return QueryTower.of(network, made.until), report


class Prepared(NamedTuple):
    """What an epoch goes over: an untrained network, its examples as tensors, the catalogue that it is judged on."""

    network: TwoTower
    examples: Examples
    catalogue: tuple[torch.Tensor, ...]  # codes, numbers and instant of publication of every item
    learned: Engagements  # the newest, of known items, in order of time
    until: int  # instant of the last


def prepare(
    train: Engagements, log: EventLog, items: Items, config: TrainingConfig, people: People = NO_ONE
) -> Prepared:
    """Tensors of the newest `config.max_examples` engagements with items of the catalogue."""
    train = train.take(np.argsort(train.as_of, kind="stable")[-config.max_examples :])
    train = train.take(np.flatnonzero(items.known(train.item_key)))
    features = read_rows(log, train, people)
    about = about_rows(log, train, people)
    network = build(train, features, items, config.tower, about)
    history = sweep.histories(log, train.user_key, train.position, train.as_of)
    codes, target = TwoTower.codes(network.vocabulary, items), np.searchsorted(items.item_key, train.item_key)
    logged = (train.shelf != 0) | (train.device != 0)
    examples = Examples(
        network.queries(history, train.as_of, features, about),
        torch.from_numpy(target),
        torch.from_numpy(train.as_of),
        torch.from_numpy(logged),
        torch.from_numpy(windows(logged, config.window)),
    )
    until = int(train.as_of[-1])
    catalogue = (
        torch.from_numpy(codes),
        torch.from_numpy(item_numbers(items.columns, np.full(len(items.item_key), until))),
        torch.from_numpy(items.columns.published_at),
    )
    return Prepared(network, examples, catalogue, train, until)


def windows(logged: np.ndarray, rows: int) -> np.ndarray:
    """Number of each row's window, int64[n], of rows in order of time: the imported ones are the first, then the log's.

    What is imported gives a person's rows one after the other (KuaiRand: up to 50 in 50 minutes), so a window of it
    holds few people, whose own items are negatives of each other. On a third of KuaiRand's people recall@50/200 of the
    validation days is .263/.531 in one window, .258/.523 in windows of 32,768 and .253/.507 in windows of 4,096.
    """
    first = int(not logged.all())
    return np.where(logged, first + (np.cumsum(logged) - 1) // rows, 0)


def refit(
    fitted: QueryTower,
    chosen: TrainingReport,
    train: Engagements,
    validation: Engagements,
    log: EventLog,
    items: Items,
    config: TrainingConfig,
    folder: Path,
    say: Callable[[str], None] = _say,
    people: People = NO_ONE,
) -> QueryTower:
    """Train anew on train and validation days together, for as many epochs as validation chose.

    Fitted on train alone the towers would be two days older than the lists beside them: on the simulator, where items
    are new every day, the fused candidates then fall behind plain trending on the days after. Where the validation
    days hold too little to teach anything, it is `fitted` itself.
    """
    if not worth_learning(len(validation.item_key), len(train.item_key)):
        return fitted
    both = Engagements(*(np.concatenate(columns) for columns in zip(train, validation, strict=True)))
    again = replace(config, max_epochs=chosen.best_epoch, patience=chosen.best_epoch, least_examples=0)

    def tell(line: str) -> None:
        say(line.replace("two_tower", "two_tower to the last validation day,").replace("validation", "learned"))

    return fit(both, validation, log, items, again, folder, tell, keep_last=True, people=people)[0]


def build(
    train: Engagements, features: np.ndarray, items: Items, config: TowerConfig, about: np.ndarray | None = None
) -> TwoTower:
    """An untrained network that knows the vocabularies and statistics of the training rows."""
    columns = items.lookup(train.item_key)
    context = features[:, CONTEXT_COLUMNS].astype(np.int64)
    vocabulary = Vocabulary(
        _frequent(train.item_key, 0, config.min_events),
        _frequent(columns.creator_key, 0, config.min_events),
        _frequent(columns.category_key, 0, config.min_events),
        _shared_words(train, items, config),
        _frequent(context[:, 0], -1, config.min_events),
        _frequent(context[:, 1], -1, config.min_events),
        np.zeros(0, np.int64) if about is None else _frequent(about.ravel(), 0, WORD_EXAMPLES),
    )
    network = TwoTower(config, vocabulary, items)
    numbers = item_numbers(columns, train.as_of)
    network.item_mean.copy_(torch.from_numpy(numbers.mean(axis=0, dtype=np.float64)))
    network.item_scale.copy_(torch.from_numpy(np.maximum(numbers.std(axis=0, dtype=np.float64), 1e-3)))
    if items.given is not None:
        taught = items.given[np.isin(items.item_key, train.item_key) & items.given.any(axis=1)].astype(np.float64)
        if len(taught):
            network.given_mean.copy_(torch.from_numpy(taught.mean(axis=0)))
            network.given_scale.fill_(max(float(taught.std(axis=0).mean()), 1e-6))
    return network


def _shared_words(train: Engagements, items: Items, config: TowerConfig) -> np.ndarray:
    """Words of at least two of the items learned from."""
    if items.words is None or not config.text:
        return np.zeros(0, np.int64)
    return _frequent(items.words[np.isin(items.item_key, train.item_key)].ravel(), 0, 2)


def _frequent(keys: np.ndarray, none: int, at_least: int) -> np.ndarray:
    values, counts = np.unique(keys[keys != none], return_counts=True)
    return values[counts >= at_least]


def judged_queries(
    network: TwoTower,
    validation: Engagements,
    log: EventLog,
    items: Items,
    config: TrainingConfig,
    people: People = NO_ONE,
) -> tuple[QueryBatch, list[np.ndarray]]:
    """Validation users, each at the first of their engagements, and the catalogue rows that they engaged with."""
    validation = validation.take(np.flatnonzero(items.known(validation.item_key)))
    validation = validation.take(np.lexsort((validation.as_of, validation.user_key)))
    users, first = np.unique(validation.user_key, return_index=True)
    wanted = np.split(np.searchsorted(items.item_key, validation.item_key), first[1:])
    chosen = np.arange(len(users))[: config.validation_users]  # keys are hashes: the first are a fair sample
    rows = validation.take(first[chosen])
    history = sweep.histories(log, rows.user_key, rows.position, rows.as_of)
    about = about_rows(log, rows, people)
    return network.queries(history, rows.as_of, read_rows(log, rows, people), about), [wanted[i] for i in chosen]


def _key(config: TrainingConfig, train: Engagements, people: People, items: Items) -> str:
    digest = hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode())
    digest.update(catalog.FINGERPRINT.encode())
    said = (people.user_key, people.since, people.stop, people.words) if len(people.words) else ()
    content = [column for column in (items.words, items.given) if column is not None]
    for column in (*train, *said, *content):
        digest.update(np.ascontiguousarray(column).tobytes())
    return f"run_{digest.hexdigest()[:16]}"
