"""Learn the factors: expectation maximisation by Monte Carlo, with prior scales learned beside them.

In turns, each user's vector is drawn from its posterior given the items (the very solve that serves), and the items'
parameters take a few steps up the evidence given the users, each with a normal posterior of its own (mean-field
variational). How far items of one category may differ, or creators, is no setting: the scales of all priors are learned
(empirical Bayes). To take both sides' most likely values instead overfits without bound: on the simulator the training
loss fell to .13 where it should be .63, and slates were no better than random ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import nn
from torch.nn import functional

from recsys.features.log import rows_in
from recsys.ranking import calibration
from recsys.ranking.factors import SIDES, FactorRanker, Factors, Level, columns_of
from recsys.ranking.factors_pull import Rows, pull
from recsys.ranking.factors_score import SAID, SHELF, context_of
from recsys.ranking.factors_solve import Outcomes, Tables, draw, solve, weighted
from recsys.training_sets.examples import Examples, medians, worth_learning
from recsys.training_sets.labels import PROBABILITIES, labels_of, probabilities
from recsys.training_sets.threads import on_threads

GROUPS: Final = (*SIDES, "tag", "item")
# of vectors' priors, where learning them begins
FIRST_SCALE: Final = {"category": 0.4, "creator": 0.1, "item_type": 0.05, "tag": 0.1, "item": 0.07}
FIRST_LEVEL_SCALE: Final = 0.3
FIRST_PRECISION: Final = 4.0  # of users' own levels
SAID_STEP: Final = 0.2  # of what words add, towards what a draw of users tells
WORD_USERS: Final = 20  # users of whom a word is said; fewer teach no more than who they are
STEPS: Final = 2  # of Newton's method in a round: it goes on from where the round before left each user


class Tags(NamedTuple):
    """What items are about beside their category, a pair each (`retrieval.text.tags_of`)."""

    item_key: np.ndarray  # int64[m]
    tag: np.ndarray  # int64[m], a key of it


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. Width and rounds were chosen by log loss on validation days of another simulated world."""

    width: int = 12
    rounds: int = 100  # in each, users are drawn once
    steps: int = 5  # of the items' parameters in a round
    learning_rate: float = 0.03
    seed: int = 7


class _Items(nn.Module):
    """Posterior of what categories, creators and items add, and what needs none: context, base and slope."""

    def __init__(
        self, sizes: dict[str, int], context: int, config: TrainingConfig, has_views: bool, has_likes: bool
    ) -> None:
        super().__init__()
        d, self.chance = config.width, torch.Generator().manual_seed(config.seed)  # its own: others may train beside it
        levels = 3 if has_likes else 2  # of a click, a long view and a like
        first = {
            group: torch.cat([torch.full((d,), FIRST_SCALE[group]), torch.full((levels,), FIRST_LEVEL_SCALE)])
            for group in GROUPS
        }
        self.mean = nn.ParameterDict(
            {group: nn.Parameter(0.7 * self._normal(sizes[group], d + levels) * first[group]) for group in GROUPS}
        )
        self.spread = nn.ParameterDict(
            {group: nn.Parameter((0.5 * first[group]).log().repeat(sizes[group], 1)) for group in GROUPS}
        )  # logarithm
        # one scale for a group's vectors, one for each of its levels
        self.scale = nn.ParameterDict({group: nn.Parameter(first[group][d - 1 :].log().clone()) for group in GROUPS})
        self.context = nn.Parameter(torch.zeros(context, 2))
        self.base = nn.Parameter(torch.zeros(levels))
        # an item that is opened more is also viewed longer once it is opened: what its view level takes over
        self.carry = nn.Parameter(torch.tensor(0.3 if has_views else 0.0), requires_grad=has_views)
        learned = torch.tensor([has_views, has_likes])
        self.slope = nn.Parameter(0.6 * learned, requires_grad=bool(learned.any()))  # of long views, of likes
        self.viewed = nn.Parameter(torch.zeros(()), requires_grad=has_views and has_likes)
        self.width = d

    def drawn(self) -> dict[str, torch.Tensor]:
        """A draw of each group's parameters."""
        return {g: self.mean[g] + self._normal(*self.mean[g].shape) * torch.exp(self.spread[g]) for g in GROUPS}

    def _normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self.chance)

    def whole(self, parts: Mapping[str, torch.Tensor], side: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """What category, creator and item make of each item together, [items, d + levels]."""
        said = [parts[group][side[group]] for group in GROUPS if group != "tag"]
        if len(side["tag"]):
            said.append(functional.embedding_bag(side["tag"], parts["tag"], side["first_tag"], mode="sum"))
        total = torch.stack(said).sum(dim=0)
        click, view = self.width, self.width + 1
        carried = total[:, view : view + 1] + self.carry * total[:, click:view]
        return torch.cat([total[:, :view], carried, total[:, view + 1 :]], dim=1)

    def divergence(self) -> torch.Tensor:
        """Of the posteriors from their priors, nats."""
        total = torch.zeros(())
        for group in GROUPS:
            prior = torch.cat([self.scale[group][:1].expand(self.width), self.scale[group][1:]])
            apart = torch.exp(2 * (self.spread[group] - prior)) + self.mean[group] ** 2 * torch.exp(-2 * prior)
            total = total + (0.5 * apart - self.spread[group] + prior).sum()
        return total


@dataclass(frozen=True)
class _Taken:
    """The training rows, user by user, as the two halves of a round take them."""

    bounds: np.ndarray  # int64[users + 1]
    rows: Rows
    side: dict[str, torch.Tensor]  # by group: int64[items], row of each item's; tags item by item, from `first_tag`
    types: np.ndarray  # int64[items], place among the types of which users have a level, -1 none
    said: csr_array  # float64[users, w]: 1 for each word that is said of a user


def train(
    train_rows: Examples,
    validation_rows: Examples,
    feature_names: Sequence[str],
    fingerprint: str,
    *,
    tags: Tags | None = None,
    config: TrainingConfig | None = None,
    threads: int = 1,
    say: Callable[[str], None] = print,
) -> FactorRanker:
    """Fit on the training rows, calibrate on the validation rows.

    Args:
        tags: what items are about beside their category

    Raises:
        LabelError: when there is nothing to learn.
        RankerError: a feature that it reads is missing.
    """
    labels = probabilities(labels_of(train_rows, validation_rows))
    given = tags, config or TrainingConfig(), threads
    ranker = _fitted(train_rows, tuple(feature_names), fingerprint, labels, *given)
    odds = ranker.log_odds(validation_rows.inputs)
    fitted: dict[str, calibration.Calibration] = {
        label: calibration.fit(odds[label], getattr(validation_rows, label)) for label in probabilities(labels)
    }
    ranker = replace(ranker, calibrations=fitted)
    told = ", ".join(
        f"{_log_loss(getattr(validation_rows, label), fitted[label](odds[label])):.4f} {label}" for label in fitted
    )
    say(f"factors: validation log loss {told}, {ranker.facts['seconds']:.0f} s")
    return ranker


def refit(
    chosen: FactorRanker,
    rows: Examples,
    *,
    tags: Tags | None = None,
    config: TrainingConfig | None = None,
    threads: int = 1,
) -> FactorRanker:
    """Learn anew from train and validation rows together, where these teach anything; the calibrations stay."""
    learned = int(chosen.facts["train_rows"])
    if not worth_learning(len(rows) - learned, learned):
        return replace(chosen, facts={**chosen.facts, "refit_rows": learned})
    config = config or TrainingConfig()
    ranker = _fitted(rows, chosen.feature_names, chosen.fingerprint, chosen.labels, tags, config, threads)
    return replace(ranker, calibrations=chosen.calibrations, facts={**chosen.facts, "refit_rows": len(rows)})


def _fitted(
    rows: Examples,
    feature_names: tuple[str, ...],
    fingerprint: str,
    labels: tuple[str, ...],
    tags: Tags | None,
    config: TrainingConfig,
    threads: int,
) -> FactorRanker:
    began = time.monotonic()
    read = rows.inputs.columns(columns_of(feature_names))
    shelves = np.unique(read[:, SHELF])
    shelves = shelves[shelves >= 0].astype(np.float32)
    context = context_of(read, shelves)
    keys, sides, side_of = _sides(rows, read)
    sides["tag"], side_of["tag"], side_of["first_tag"] = _tags(keys, tags)
    types = sides["item_type"][sides["item_type"] >= 0]
    types = types if len(types) > 1 else types[:0]
    type_of = rows_in(types, sides["item_type"][side_of["item_type"]]) - 1
    item = np.searchsorted(keys, rows.inputs.item_key)
    both = len(probabilities(labels)) == len(PROBABILITIES)
    opened = rows.click | rows.long_view if both else getattr(rows, probabilities(labels)[0])
    order = np.argsort(rows.user, kind="stable")
    _, first, user = np.unique(rows.user[order], return_index=True, return_inverse=True)
    words, indicators = _words(read[order, SAID][np.append(first[1:], len(order)) - 1])
    taken = _Taken(
        np.append(first, len(order)).astype(np.int64),
        Rows.of(
            item=item[order],
            user=user.astype(np.int64),
            context=context[order].astype(np.float32),
            opened=opened[order].astype(np.uint8),
            viewed=rows.long_view[order].astype(np.uint8),
            liked=rows.like[order].astype(np.uint8),
            type=type_of[item][order],
        ),
        {group: torch.from_numpy(places) for group, places in side_of.items()},
        type_of,
        indicators,
    )
    with on_threads(threads):
        items, precision, said_mean = _learn(taken, {group: len(side) for group, side in sides.items()}, both, config)
    whole = _numbers(items.whole(dict(items.mean), taken.side))
    means = {group: _numbers(items.mean[group]) for group in GROUPS}
    d, width = config.width, config.width + 2  # a level of likes is of what was shown: it tells of tastes alone
    for mean in means.values():
        mean[:, d + 1] += float(items.carry.detach()) * mean[:, d]
    weights = _numbers(items.context)
    factors = Factors(
        base=_numbers(items.base[:2]),
        context=weights[:-1],
        named=weights[-1],
        usual=(context[:, :-1] * 1.0 @ weights[:-1]).mean(axis=0) + context[:, -1].mean() * weights[-1],
        shelves=shelves,
        **{
            g: Level(sides[g], np.concatenate([np.zeros((1, width)), means[g][:, :width]]))
            for g in GROUPS
            if g != "tag"
        },
        types=types,
        type_of=type_of,
        whole=np.concatenate([np.zeros((1, width)), whole[:, :width]]),
        slope=float(items.slope[0].detach()),
        like=(whole[:, width:] + _numbers(items.base[2:])).sum(axis=1),  # of none: 0
        like_slope=float(items.slope[1].detach()),
        like_viewed=float(items.viewed.detach()),
        precision=precision,
        said=words,
        said_mean=np.concatenate([np.zeros((1, len(precision))), said_mean]),
    )
    return FactorRanker(
        feature_names=feature_names,
        fingerprint=fingerprint,
        factors=factors,
        calibrations={},
        medians=medians(rows.features),
        facts=_facts(rows, items, precision, time.monotonic() - began),
        labels=labels,
    )


def _learn(
    taken: _Taken, sizes: dict[str, int], has_views: bool, config: TrainingConfig
) -> tuple[_Items, np.ndarray, np.ndarray]:
    """The items' posterior, the precision of the users' prior, float64[d + 1 + types (+ 1)], and what each word that is
    said of a user adds to its mean, float64[w, d + 1 + types (+ 1)].
    """
    rng, d, rows = np.random.default_rng(config.seed), config.width, taken.rows
    has_likes = bool((rows.liked & rows.opened).any())
    items = _Items(sizes, rows.context.shape[1], config, has_views, has_likes)
    optimizer = torch.optim.Adam(items.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))
    total = config.rounds * config.steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=total, pct_start=0.1)
    of_types = d + 1, d + 2 + int(taken.types.max())
    precision = np.append(np.ones(d), np.full(of_types[1] + has_likes - d, FIRST_PRECISION))
    users = rng.normal(size=(len(taken.bounds) - 1, len(precision))) / np.sqrt(precision)
    likeliest = np.zeros_like(users)
    said = _Said(taken.said, len(precision))
    for turn in range(config.rounds):
        if turn:
            _draw_users(taken, items, precision, said.mean, rng, likeliest, users)
            said.learn(users, precision)
            # the levels' priors; that of the vectors is the unit of length
            for own in (slice(d, d + 1), slice(*of_types), slice(of_types[1], None)):
                if users[:, own].size:
                    spread = float(np.mean((users - said.mean)[:, own] ** 2))
                    precision[own] += 0.3 * (1.0 / max(spread, 0.005) - precision[own])
        drawn = users.astype(np.float32)
        for _ in range(config.steps):
            optimizer.zero_grad()
            _pulled(taken, items, drawn, has_views, has_likes)
            optimizer.step()
            schedule.step()
    return items, precision, said.effect


class _Said:
    """What words said of users add to the mean of their prior: a ridge regression of the vectors on the words, whose
    ridge is learned beside it (empirical Bayes).
    """

    def __init__(self, words: csr_array, width: int) -> None:
        """`words`: float64[users, w], 1 for each that is said."""
        self.words, self.met = words, (words.T @ words).toarray()
        self.effect, self.mean = np.zeros((words.shape[1], width)), np.zeros((words.shape[0], width))
        self.spread = 1.0  # variance of an effect, in that of users about their mean

    def learn(self, users: np.ndarray, precision: np.ndarray) -> None:
        """A step towards what those users tell."""
        if not len(self.effect):
            return
        inverse = np.linalg.inv(self.met + np.eye(len(self.met)) / self.spread)
        told = inverse @ (self.words.T @ users)
        self.effect += SAID_STEP * (told - self.effect)
        spread = float(np.mean(told**2 * precision + np.diag(inverse)[:, None]))
        self.spread += SAID_STEP * (spread - self.spread)
        self.mean = self.words @ self.effect


def _words(read: np.ndarray) -> tuple[np.ndarray, csr_array]:
    """The words said of at least WORD_USERS users, sorted buckets float32[w], and who says which, float64[users, w].

    Args:
        read: float32[users, words]
    """
    words, users = np.unique(read[read >= 0], return_counts=True)
    words = words[users >= WORD_USERS].astype(np.float32)
    at = np.stack([rows_in(words, column) for column in read.T], axis=1)
    user, column = np.nonzero(at)
    said = csr_array((np.ones(len(user)), (user, at[user, column] - 1)), shape=(len(read), len(words)))
    said.data[:] = 1.0  # a word that is said twice of a user is one cell, of 2
    return words, said


def _pulled(taken: _Taken, items: _Items, users: np.ndarray, has_views: bool, has_likes: bool) -> None:
    """The gradient of the evidence, nats a row, at a draw of the items' parameters."""
    whole, n = items.whole(items.drawn(), taken.side), len(taken.rows.item)
    known = whole, items.context, items.base, items.slope, items.viewed
    of = pull(taken.rows, users, *(tensor.detach().numpy() for tensor in known), views=has_views, likes=has_likes)
    asked = [(tensor, torch.as_tensor(part / n, dtype=torch.float32)) for tensor, part in zip(known, of, strict=True)]
    tensors, parts = zip(*((tensor, part) for tensor, part in asked if tensor.requires_grad), strict=True)
    torch.autograd.backward([items.divergence() / n, *tensors], [torch.ones(()), *parts])


def _draw_users(
    taken: _Taken,
    items: _Items,
    precision: np.ndarray,
    prior: np.ndarray,
    rng: np.random.Generator,
    likeliest: np.ndarray,
    users: np.ndarray,
) -> None:
    """A draw of each user's posterior, given the items' means: into `users`; `likeliest` goes on to its mean."""
    rows = taken.rows
    # by one thread: those of a BLAS product waited for the next one in a spin, for as much CPU as all the rest
    base, added = _numbers(items.base), np.zeros((len(rows.item), 2))
    weighted(rows.context, _numbers(items.context), added)
    whole = _numbers(items.whole(dict(items.mean), taken.side))
    d, offsets = items.width, (np.ascontiguousarray(added[:, place]) for place in (0, 1))
    outcomes = Outcomes(rows.item, rows.opened, rows.viewed, rows.liked, *offsets)
    numbers = *_numbers(items.slope).tolist(), float(items.viewed.detach())
    tables = Tables.of(whole[:, :d], whole[:, d:] + base, numbers, taken.types, precision)
    solve(outcomes, tables, prior, taken.bounds, STEPS, likeliest)
    draw(outcomes, tables, prior, taken.bounds, likeliest, rng.normal(size=users.shape), users)


def _sides(rows: Examples, read: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Keys of the items that were shown; the categories, creators and items there are; and of each item its place in
    these.
    """
    keys, last = np.unique(rows.inputs.item_key[::-1], return_index=True)
    last = len(rows) - 1 - last  # where each was shown last: what it is now
    sides: dict[str, np.ndarray] = {"item": keys}
    places: dict[str, np.ndarray] = {"item": np.arange(len(keys))}
    for group, column in SIDES.items():
        said = np.nan_to_num(read[last, column], nan=-1.0)
        sides[group], places[group] = np.unique(said, return_inverse=True)
    return keys, sides, places


def _tags(keys: np.ndarray, tags: Tags | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tags that these items have, the place among them of each tag of each item, and where an item's begin."""
    if tags is None:
        return (np.zeros(0, np.int64),) * 3
    item = rows_in(keys, tags.item_key) - 1
    here = np.flatnonzero(item >= 0)
    here = here[np.argsort(item[here], kind="stable")]
    there, place = np.unique(tags.tag[here], return_inverse=True)
    return there, place, np.searchsorted(item[here], np.arange(len(keys)))


def _facts(rows: Examples, items: _Items, precision: np.ndarray, seconds: float) -> dict[str, Any]:
    scales = {group: [round(s, 4) for s in _numbers(items.scale[group].exp()).tolist()] for group in GROUPS}
    return {
        "train_rows": len(rows),
        "items": len(items.mean["item"]),
        "users": len(np.unique(rows.user)),
        "scales": scales,  # of vectors, of click levels, of view levels
        "slopes": [round(s, 4) for s in _numbers(items.slope).tolist()],  # of long views, of likes
        "spread_of_user_levels": float(precision[items.width] ** -0.5),
        "spreads_by_type_and_of_likes": [round(float(p) ** -0.5, 4) for p in precision[items.width + 1 :]],
        "seconds": seconds,
    }


def _numbers(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float64)


def _log_loss(truth: np.ndarray, p: np.ndarray) -> float:
    return float(-np.mean(np.where(truth > 0, np.log(p), np.log1p(-p))))
