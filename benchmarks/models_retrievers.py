"""Retrieval peers: implicit's ALS, BPR and item-kNN, EASE, and a sequential transformer, asked as our sources are.

Each learns from the engagements (click, long view, imported long view) received before the days that it is judged on,
and sees of a query what the query's user had engaged with up to its instant, like every source. What the user was shown
before does not come back. Hyper-parameters are the best of a small grid on the validation days.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.sparse import csr_array, csr_matrix
from torch import nn
from torch.nn import functional

from recsys.evaluation import metrics
from recsys.evaluation.report import CANDIDATES, RetrievalTask
from recsys.events import KINDS
from recsys.features.log import EventLog, Items
from recsys.policy.filters import left_out
from recsys.training_sets import fitting

OPENED = [KINDS[kind] for kind in ("click", "long_view", "exposure_long_view")]
LENGTH = 50  # engaged events of a history, as ENGAGED_LENGTH in the catalogue


@dataclass(frozen=True)
class World:
    """What peers learn from and are asked: everything by rows of the catalogue and numbered users."""

    learned: csr_matrix  # users x items: engaged before the judged days
    sequences: list[np.ndarray]  # of each learned user, item rows in the log's order
    asked: csr_matrix  # queries x items: engaged up to the query's instant
    histories: list[np.ndarray]  # of each query, the same in the log's order, the last LENGTH
    known: np.ndarray  # int64[q], the query's user among the learned ones, -1 for a stranger
    seen: list[np.ndarray]  # of each query, item rows that do not come back
    items: Items
    task: RetrievalTask

    @staticmethod
    def of(log: EventLog, items: Items, task: RetrievalTask, before: int, come_back: bool) -> World:
        """`before`: first instant (ms) of the judged days; `come_back`: of Repeats."""
        n = len(items.item_key)
        by_user = _ByUser(log, items, OPENED)
        seen = left_out(log, task.user_key, task.shelf, task.as_of, come_back)
        users = by_user.users
        sequences = [by_user.until(user, before) for user in users]
        histories = [by_user.until(user, at) for user, at in zip(task.user_key, task.as_of, strict=True)]
        at = np.minimum(np.searchsorted(users, task.user_key), len(users) - 1)
        return World(
            learned=matrix(sequences, n),
            sequences=sequences,
            asked=matrix(histories, n),
            histories=[history[-LENGTH:] for history in histories],
            known=np.where(users[at] == task.user_key, at, -1),
            seen=[np.searchsorted(items.item_key, keys[items.known(keys)]) for keys in seen],
            items=items,
            task=task,
        )

    def lists(self, scores: Callable[[slice], np.ndarray], step: int = 500) -> np.ndarray:
        """The best CANDIDATES of each query, int64[q, CANDIDATES] item keys, of scores float[queries of a slice, n]."""
        listed = np.zeros((len(self.histories), CANDIDATES), np.int64)
        for start in range(0, len(listed), step):
            part = slice(start, min(start + step, len(listed)))
            told = np.array(scores(part), dtype=np.float32)
            for row, query in enumerate(range(part.start, part.stop)):
                told[row, self.seen[query]] = -np.inf
            best = np.argpartition(-told, CANDIDATES, axis=1)[:, :CANDIDATES]
            order = np.argsort(-np.take_along_axis(told, best, axis=1), axis=1, kind="stable")
            listed[part] = self.items.item_key[np.take_along_axis(best, order, axis=1)]
        return listed

    def quality(self, lists: np.ndarray) -> float:
        """Mean of recall@50, @100 and @200: what our own fusion is fitted on, too."""
        hit = metrics.hits(lists, self.task.target_query, self.task.target_item)
        targets = np.bincount(self.task.target_query, minlength=len(lists))
        return float(np.mean([metrics.recall_at_k(hit, targets, k) for k in (50, 100, 200)]))


class _ByUser:
    """Item rows of some kinds of event, user by user in the log's order."""

    def __init__(self, log: EventLog, items: Items, kinds: Sequence[int]) -> None:
        rows = np.flatnonzero(np.isin(log.kind, kinds) & items.known(log.item_key) & (log.user_key != 0))
        rows = rows[np.argsort(log.user_key[rows], kind="stable")]
        self.received = np.maximum.accumulate(log.received_at)[rows]
        self.item = np.searchsorted(items.item_key, log.item_key[rows])
        self.users, self.start = np.unique(log.user_key[rows], return_index=True)
        self.stop = np.append(self.start[1:], len(rows))

    def until(self, user: int, instant: int) -> np.ndarray:
        """Distinct items received strictly before an instant, in the order of their last event."""
        at = int(np.searchsorted(self.users, user))
        if at == len(self.users) or self.users[at] != user:
            return np.empty(0, np.int64)
        first, last = self.start[at], self.stop[at]
        items = self.item[first : first + np.searchsorted(self.received[first:last], instant, side="left")]
        _, newest = np.unique(items[::-1], return_index=True)
        return items[::-1][np.sort(newest)][::-1].copy()  # one item alone would keep its negative stride


def matrix(lists: Sequence[np.ndarray], n: int) -> csr_matrix:
    """Ones at the items of each list: lists x n."""
    rows = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    columns = np.concatenate(lists) if lists else np.empty(0, np.int64)
    return csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(lists), n))


def ease(world: World, weight: float) -> np.ndarray:
    """Steck, WWW 2019: the linear item-item model in closed form; `weight` is its L2 penalty."""
    gram = (world.learned.T @ world.learned).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += weight
    # by Cholesky, as it is positive definite: 9 s where np.linalg.inv takes 22 (7,583 items, one core)
    half, _ = dpotri(dpotrf(gram)[0])
    inverse = np.triu(half) + np.triu(half, 1).T
    model = (inverse / -np.diag(inverse)).astype(np.float32)
    np.fill_diagonal(model, 0.0)
    return world.lists(lambda part: world.asked[part] @ model)


def item_knn(world: World, neighbours: int) -> np.ndarray:
    """implicit's cosine item-kNN."""
    from implicit.nearest_neighbours import CosineRecommender

    model = CosineRecommender(K=neighbours, num_threads=1)
    model.fit(world.learned, show_progress=False)
    similarity = csr_array(model.similarity)
    return world.lists(lambda part: (world.asked[part] @ similarity).toarray())


def als(world: World, factors: int, alpha: float) -> np.ndarray:
    """implicit's ALS; a query's user is folded in from what it had engaged with."""
    from implicit.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        factors=factors, regularization=0.05, alpha=alpha, iterations=12, num_threads=1, random_state=7
    )
    model.fit(world.learned, show_progress=False)
    vectors = model.recalculate_user(np.arange(world.asked.shape[0]), world.asked)
    return world.lists(lambda part: vectors[part] @ model.item_factors.T)


def bpr(world: World, factors: int, iterations: int) -> np.ndarray:
    """implicit's BPR; a stranger gets the mean user."""
    from implicit.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(
        factors=factors, learning_rate=0.03, regularization=0.01, iterations=iterations, num_threads=1, random_state=7
    )
    model.fit(world.learned, show_progress=False)
    mean = model.user_factors.mean(axis=0)
    vectors = np.where(world.known[:, None] >= 0, model.user_factors[np.maximum(world.known, 0)], mean)
    return world.lists(lambda part: vectors[part] @ model.item_factors.T)


class SASRec(nn.Module):
    """Kang & McAuley, ICDM 2018: causal self-attention over the last items, with a sampled softmax."""

    def __init__(self, items: int, dim: int) -> None:
        super().__init__()
        self.item = nn.Embedding(items + 1, dim, padding_idx=items)
        self.place = nn.Embedding(LENGTH, dim)
        self.bias = nn.Embedding(items + 1, 1)
        layer = nn.TransformerEncoderLayer(dim, 2, 2 * dim, dropout=0.2, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)
        for table in (self.item, self.place):
            nn.init.normal_(table.weight, std=0.05)
        nn.init.zeros_(self.bias.weight)

    def forward(self, sequences: torch.Tensor) -> torch.Tensor:
        """float32[b, n, dim] of item rows int64[b, n], padded behind; places count from the newest."""
        n = sequences.shape[1]
        length = (sequences != self.item.padding_idx).sum(1, keepdim=True)
        place = (LENGTH - length + torch.arange(n)).clamp(max=LENGTH - 1)
        mask = nn.Transformer.generate_square_subsequent_mask(n)
        x = self.item(sequences) * self.item.embedding_dim**0.5 + self.place(place)
        return self.norm(self.encoder(x, mask=mask, is_causal=True))


@fitting.on_threads(fitting.half_of_the_cores())
def sasrec(world: World, epochs: int, dim: int = 64, negatives: int = 1024, seed: int = 7) -> np.ndarray:
    """The sequential peer, trained on every next engagement of the learned sequences."""
    torch.manual_seed(seed)
    n = world.learned.shape[1]
    long_enough = [sequence[-LENGTH - 1 :] for sequence in world.sequences if len(sequence) > 1]
    padded, length = _padded(long_enough, LENGTH + 1, n)
    share = torch.bincount(padded[padded < n], minlength=n).float() + 1.0
    log_share = torch.log(share / share.sum())
    model = SASRec(n, dim)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(padded)).split(256):
            # by length, so that a part is as long as its longest: half of the users have 12 events at most
            parts = [padded[part, : length[part].max()] for part in batch[length[batch].argsort()].split(32)]
            states = torch.cat([model(part[:, :-1])[part[:, 1:] < n] for part in parts])
            targets = torch.cat([part[:, 1:][part[:, 1:] < n] for part in parts])
            drawn = torch.multinomial(share, negatives, replacement=True)
            # each logit less the log of how often it is drawn, the target's own less its share too
            own = (states * model.item(targets)).sum(1) + model.bias(targets)[:, 0] - log_share[targets]
            others = states @ model.item(drawn).T + model.bias(drawn)[:, 0] - log_share[drawn]
            others = others.masked_fill(targets[:, None] == drawn[None, :], -1e9)
            loss = functional.cross_entropy(torch.cat([own[:, None], others], 1), torch.zeros(len(own)).long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    asked, known = _padded(world.histories, LENGTH, n)
    newest = (known - 1).clamp(min=0)  # a stranger is asked of padding alone
    with torch.inference_mode():

        def scores(part: slice) -> np.ndarray:
            state = model(asked[part])[torch.arange(len(asked[part])), newest[part]]
            return (state @ model.item.weight[:n].T + model.bias.weight[:n, 0]).numpy()

        return world.lists(scores)


def _padded(lists: Sequence[np.ndarray], width: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """int64[n, width] padded behind, and how long each of the lists is."""
    padded = torch.full((len(lists), width), pad)
    for row, listed in enumerate(lists):
        padded[row, : len(listed)] = torch.from_numpy(listed)
    return padded, torch.tensor([len(listed) for listed in lists])


PEERS: Mapping[str, tuple[Callable[..., np.ndarray], Sequence[Mapping[str, Any]]]] = {
    "item-kNN (implicit)": (item_knn, ({"neighbours": 50}, {"neighbours": 200})),
    "ALS (implicit)": (
        als,
        ({"factors": 64, "alpha": 1.0}, {"factors": 64, "alpha": 5.0}, {"factors": 128, "alpha": 5.0}),
    ),
    "BPR (implicit)": (bpr, ({"factors": 64, "iterations": 60}, {"factors": 64, "iterations": 150})),
    "EASE": (ease, ({"weight": 100.0}, {"weight": 500.0})),
    "SASRec": (sasrec, ({"epochs": 8}, {"epochs": 16})),
}


def compare(
    validation: World, test: World, say: Callable[[str], None]
) -> dict[str, tuple[np.ndarray, Mapping[str, Any]]]:
    """Lists of every peer for the test queries, and the parameters that served the validation queries best."""
    listed = {}
    for name, (retrieve, grid) in PEERS.items():
        judged = [validation.quality(retrieve(validation, **params)) for params in grid]
        best = grid[int(np.argmax(judged))]
        say(f"{name}: {best} of {len(grid)}, mean validation recall {max(judged):.4f}")
        listed[name] = (retrieve(test, **best), best)
    return listed
