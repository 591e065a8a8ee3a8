"""The two towers as torch learns them; two_tower.py tells what they are, two_tower_query.py what a request is."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from recsys.events import DAY_MS, MINUTE_MS
from recsys.features import catalog
from recsys.features.history import History
from recsys.features.log import ItemColumns, Items, rows_in
from recsys.features.people import MOST_WORDS
from recsys.retrieval.text import MAX_WORDS
from recsys.retrieval.two_tower_query import (
    ABOUT_WORDS,
    AGE_BUCKETS,
    CONTEXT_COLUMNS,
    HISTORY_DROPOUT,
    ITEM_BATCH,
    KIND_CODES,
    TABLES,
    TowerConfig,
    Vocabulary,
    asks,
    vocabulary_of,
)
from recsys.training_sets.dropout import Dropout
from recsys.training_sets.states import State, filled


class QueryBatch(NamedTuple):
    """Rows of the query tower: engaged events newest first, padded with row 0."""

    items: torch.Tensor  # int32[n, ENGAGED_LENGTH], catalogue row + 1; 0 = nothing there
    kinds: torch.Tensor  # int8[n, ENGAGED_LENGTH]
    ages: torch.Tensor  # int8[n, ENGAGED_LENGTH], bucket of the age at the read
    context: torch.Tensor  # int64[n, 3]: row of shelf, row of device, hour
    about: (
        torch.Tensor
    )  # int32[n, ABOUT_WORDS]: rows of the words about the user, 0 none; [n, 0] where no word is known

    def take(self, rows: torch.Tensor) -> QueryBatch:
        """Those rows."""
        return QueryBatch(*(column[rows] for column in self))


def age_bucket(ms: np.ndarray) -> np.ndarray:
    """int8: 0 below a minute, then one per doubling."""
    minutes = np.maximum(ms, 0) // MINUTE_MS
    return np.minimum(np.frexp(minutes.astype(np.float64))[1], AGE_BUCKETS - 1).astype(np.int8)


class TwoTower(nn.Module):
    """The network. Its buffers hold all it needs to know of the training data: vocabularies, catalogue, statistics."""

    catalogue_keys: torch.Tensor  # int64[items], sorted
    catalogue_codes: torch.Tensor  # int64[items + 1, codes], row 0: no item
    item_mean: torch.Tensor
    item_scale: torch.Tensor
    # Only where items were given embeddings:
    catalogue_given: torch.Tensor  # float32[items + 1, length] while it learns, [1, length] of one that is frozen
    catalogue_projected: torch.Tensor  # float32[items + 1, dim], what a frozen one keeps of them
    given_mean: torch.Tensor  # float32[length]
    given_scale: torch.Tensor  # float32[1]

    def __init__(self, config: TowerConfig, vocabulary: Vocabulary, catalogue: Items) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        for name, keys in vocabulary._asdict().items():
            if name == "about" and not len(keys):
                continue
            self.register_buffer(f"vocabulary_{name}", torch.from_numpy(np.asarray(keys, np.int64)))
        self.register_buffer("catalogue_keys", torch.from_numpy(np.asarray(catalogue.item_key, np.int64)))
        codes = self.codes(vocabulary, catalogue)
        self.register_buffer("catalogue_codes", torch.from_numpy(np.pad(codes, ((1, 0), (0, 0)))))
        self.register_buffer("item_mean", torch.zeros(2))
        self.register_buffer("item_scale", torch.ones(2))

        self.item_id = nn.Embedding(len(vocabulary.items) + 1, dim)
        self.creator = nn.Embedding(len(vocabulary.creators) + 1, dim)
        self.category = nn.Embedding(len(vocabulary.categories) + 1, dim)
        self.item_type = nn.Embedding(KIND_CODES, dim)
        self.words = nn.EmbeddingBag(len(vocabulary.words) + 1, dim, mode="mean", padding_idx=0)
        self.content = nn.Linear(2, dim)
        self.item_mix = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))

        self.kind_weight = nn.Embedding(KIND_CODES, 1)
        self.age_weight = nn.Embedding(AGE_BUCKETS, 1)
        self.shelf = nn.Embedding(len(vocabulary.shelves) + 1, 32)
        self.device = nn.Embedding(len(vocabulary.devices) + 1, 8)
        self.hour = nn.Embedding(24, 8)
        known = len(vocabulary.about)
        self.about = nn.EmbeddingBag(known + 1, dim, mode="mean", padding_idx=0) if known else None
        self.asks = asks(vocabulary)
        beside = dim * (int(known > 0) + int(self.asks))
        self.query_mix = nn.Sequential(
            nn.Linear(dim + 32 + 8 + 8 + 1 + beside, config.hidden),
            nn.ReLU(),
            Dropout(config.dropout),
            nn.Linear(config.hidden, dim),
        )
        self.log_scale = nn.Parameter(torch.tensor(-float(np.log(config.temperature))))
        for table in (self.item_id, self.creator, self.category, self.item_type):
            nn.init.normal_(table.weight, std=0.1)
        for bag in (self.words, *([] if self.about is None else [self.about])):
            nn.init.normal_(bag.weight[1:], std=0.1)  # row 0, no word, stays 0
        for table in (self.kind_weight, self.age_weight):
            nn.init.zeros_(table.weight)
        self.given_length = 0 if catalogue.given is None else catalogue.given.shape[1]
        self.given = nn.Linear(self.given_length, dim, bias=False) if self.given_length else None
        if catalogue.given is not None:
            given = torch.from_numpy(np.pad(catalogue.given, ((1, 0), (0, 0))))
            self.register_buffer("catalogue_given", given, persistent=False)
            self.register_buffer("catalogue_projected", torch.zeros(len(codes) + 1, dim))
            self.register_buffer("given_mean", torch.zeros(self.given_length))
            self.register_buffer("given_scale", torch.ones(1))

    @staticmethod
    def codes(vocabulary: Vocabulary, items: Items) -> np.ndarray:
        """Rows in the tables of each item, int64[n, codes]: id, creator, category, type, then the words."""
        words: np.ndarray = np.zeros((len(items.item_key), MAX_WORDS), np.int64)
        if items.words is not None:
            words = rows_in(vocabulary.words, items.words.ravel()).reshape(items.words.shape)
        columns = items.columns
        return np.column_stack(
            [
                rows_in(vocabulary.items, items.item_key),
                rows_in(vocabulary.creators, columns.creator_key),
                rows_in(vocabulary.categories, columns.category_key),
                np.clip(columns.item_type, 0, KIND_CODES - 1),
                words,
            ]
        )

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabularies in its buffers, which never change."""
        return vocabulary_of({name: keys.cpu().numpy() for name, keys in self.named_buffers(recurse=False)})

    def identity(self, codes: torch.Tensor) -> torch.Tensor:
        """Sum of the embeddings of id, creator, category, type and of the words' mean: float32[n, dim].

        Words of tags and title have a mean of their own, so that a long description does not drown them.
        """
        a, b, c, d = codes[:, :TABLES].unbind(-1)
        first, more = codes[:, TABLES : TABLES + MAX_WORDS], codes[:, TABLES + MAX_WORDS :]
        x: torch.Tensor = self.item_id(a) + self.creator(b) + self.category(c) + self.item_type(d) + self.words(first)
        return x + self.words(more) if more.shape[1] else x

    def project(self, given: torch.Tensor) -> torch.Tensor:
        """Embeddings that items were given as vectors of this space: float32[n, length] to [n, dim]; zeros stay 0."""
        assert self.given is not None
        there = given.any(dim=1, keepdim=True)
        projected: torch.Tensor = self.given((given - self.given_mean) / self.given_scale * there)
        return projected

    def known(self, rows: torch.Tensor) -> torch.Tensor:
        """What items of the catalogue are, by row + 1: `identity`, and what their embedding says."""
        x = self.identity(self.catalogue_codes[rows])
        if self.given is None:
            return x
        learns = len(self.catalogue_given) > 1
        return x + (self.project(self.catalogue_given[rows]) if learns else self.catalogue_projected[rows])

    def freeze(self) -> None:
        """Keep of the catalogue's embeddings what they are in this space: a sixth of the bytes of 384 numbers."""
        if self.given is not None and len(self.catalogue_given) > 1:
            with torch.inference_mode():
                self.catalogue_projected.copy_(self.project(self.catalogue_given))
            self.catalogue_given = self.catalogue_given[:1].clone()

    def embed_items(
        self, codes: torch.Tensor, numbers: torch.Tensor, given: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Item tower: unit vectors float32[n, dim] of codes int64[n, codes], `item_numbers` float32[n, 2] and
        embeddings that they were given, float32[n, length].
        """
        if self.training and self.config.id_dropout:
            unknown = torch.rand(len(codes), device=codes.device) < self.config.id_dropout
            codes = torch.cat([codes[:, :1].masked_fill(unknown[:, None], 0), codes[:, 1:]], dim=1)
        x = self.identity(codes) + self.content((numbers - self.item_mean) / self.item_scale)
        if self.given is not None and given is not None:
            x = x + self.project(given)
        return functional.normalize(x + self.item_mix(x), dim=-1)

    def embed_queries(self, batch: QueryBatch, identities: torch.Tensor | None = None) -> torch.Tensor:
        """Query tower: unit vectors float32[n, dim]; `identities` of the whole catalogue, where they were kept."""
        if self.training and self.about is not None:
            alone = torch.rand(len(batch.items), device=batch.items.device) < HISTORY_DROPOUT
            batch = batch._replace(items=batch.items.masked_fill(alone[:, None], 0))
        empty = batch.items == 0
        if self.training:  # one table of both: the gradient of a lookup costs 4 ms a batch
            both = (self.kind_weight.weight + self.age_weight.weight.T).view(-1, 1)
            weight = functional.embedding(batch.kinds.long() * AGE_BUCKETS + batch.ages.long(), both).squeeze(-1)
        else:
            weight = (self.kind_weight(batch.kinds.long()) + self.age_weight(batch.ages.long())).squeeze(-1)
        weight = torch.softmax(weight.masked_fill(empty, -1e9), dim=1).masked_fill(empty, 0.0)
        place = batch.items
        # each item once, and a fused weighted sum: a third of the time of looking up n x 50 rows of four tables
        if identities is None and place.numel() > len(self.catalogue_codes):
            identities = self.known(torch.arange(len(self.catalogue_codes), device=place.device))
        elif identities is None:
            distinct, place = torch.unique(place, return_inverse=True)
            identities = self.known(distinct.long())
        history = functional.embedding_bag(place, identities, per_sample_weights=weight, mode="sum")
        known = torch.log1p((~empty).sum(dim=1, keepdim=True).float())
        shelf, device, hour = batch.context.unbind(-1)
        parts = [3.0 * history, self.shelf(shelf), self.device(device), self.hour(hour), known]
        if self.about is not None:
            parts.append(3.0 * self.about(batch.about[:, :MOST_WORDS]))
            if self.asks:
                parts.append(3.0 * self.about(batch.about[:, MOST_WORDS:]))
        return functional.normalize(history + self.query_mix(torch.cat(parts, dim=1)), dim=-1)

    def queries(
        self, history: History, as_of: np.ndarray, features: np.ndarray, about: np.ndarray | None = None
    ) -> QueryBatch:
        """Tensors of read rows: `history` and `as_of` as the sweep gives them, features float32[n, FEATURES], and
        words about their users, int64[n, ABOUT_WORDS] as `engagements.about_rows` (None: nothing is known of them).
        """
        history = history.engaged()
        at = history.stop[:, None] - 1 - np.arange(catalog.ENGAGED_LENGTH)
        there = at >= history.start[:, None]
        at = np.where(there, at, 0)
        if not len(history.item_key):
            history = history._replace(
                item_key=np.zeros(1, np.int64), kind=np.zeros(1, np.int8), occurred_at=np.zeros(1, np.int64)
            )
        rows = rows_in(self.catalogue_keys.cpu().numpy(), history.item_key).astype(np.int32)
        ages = age_bucket(as_of[:, None] - history.occurred_at[at])
        vocabulary = self.vocabulary
        context = features[:, CONTEXT_COLUMNS].astype(np.int64)
        context[:, 0] = rows_in(vocabulary.shelves, context[:, 0])
        context[:, 1] = rows_in(vocabulary.devices, context[:, 1])
        words: np.ndarray = np.zeros((len(as_of), 0 if self.about is None else ABOUT_WORDS), np.int32)
        if self.about is not None and about is not None:
            words = rows_in(vocabulary.about, about.ravel()).reshape(about.shape).astype(np.int32)
        return QueryBatch(
            torch.from_numpy(np.where(there, rows[at], 0).astype(np.int32)),
            torch.from_numpy(np.where(there, history.kind[at], 0).astype(np.int8)),
            torch.from_numpy(np.where(there, ages, 0).astype(np.int8)),
            torch.from_numpy(context),
            torch.from_numpy(words),
        )


def item_numbers(columns: ItemColumns, as_of: np.ndarray) -> np.ndarray:
    """float32[n, 2]: log of the duration in seconds, log of the days since publication (0 where unknown)."""
    days = np.where(columns.published_at > 0, np.maximum(as_of - columns.published_at, 0) / DAY_MS, 0.0)
    return np.stack([np.log1p(columns.duration_ms / 1000.0), np.log1p(days)], axis=1).astype(np.float32)


def network_of(config: TowerConfig, state: State) -> TwoTower:
    """The network of a state."""
    keys = state["catalogue_keys"]
    blank = ItemColumns(*(np.zeros(len(keys), np.int64) for _ in ItemColumns._fields))
    words = np.zeros((len(keys), state["catalogue_codes"].shape[1] - TABLES), np.int64)
    given = np.zeros((0, state["given.weight"].shape[1]), np.float32) if "given.weight" in state else None
    return filled(TwoTower(config, vocabulary_of(state), Items(keys, blank, words, given)), state)


def identities_of(network: TwoTower) -> np.ndarray:
    """What each item of the catalogue is, float32[items + 1, dim]; row 0 is every other."""
    with torch.inference_mode():
        return network.known(torch.arange(len(network.catalogue_codes))).numpy()


def embedded(network: TwoTower, items: Items, as_of: int) -> np.ndarray:
    """Unit vectors float32[n, dim] of items at an instant, in their order."""
    codes = TwoTower.codes(network.vocabulary, items)
    columns = [codes, item_numbers(items.columns, np.full(len(codes), as_of, np.int64))]
    if network.given_length:
        none = np.zeros((len(codes), network.given_length), np.float32)
        columns.append(none if items.given is None else items.given)
    blocks = []
    with torch.inference_mode():
        for start in range(0, len(codes), ITEM_BATCH):
            pad = max(0, start + ITEM_BATCH - len(codes))
            block = (np.pad(column[start : start + ITEM_BATCH], ((0, pad), (0, 0))) for column in columns)
            vectors = network.embed_items(*map(torch.from_numpy, block))
            blocks.append(vectors[: ITEM_BATCH - pad].numpy())
    return np.concatenate(blocks) if blocks else np.empty((0, network.config.dim), np.float32)
