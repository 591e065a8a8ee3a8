"""What a user makes of an item, by what they were shown before: the part of the neural ranker that reads histories.

A history is a bag of events for each kind of event, in which an event counts half as much for every HALF_LIFE events
that followed it. What was passed over tells as much as what was engaged with: on the validation days of KuaiRand the
engaged events alone gain 0.0016 AUC, all of them 0.0035. Attending to the events by the item (DIN, Zhou et al. 2018;
SAKT, Pandey and Karypis 2019) gained nothing over these sums there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from recsys.features.history import History
from recsys.ranking.taste import BAGS, events_of
from recsys.training_sets.dropout import Dropout


class Bags(NamedTuple):
    """n items, and the h histories to meet them with: BAGS bags a history, one after the other."""

    item: torch.Tensor  # int64[n], row of the item table
    whose: torch.Tensor  # int64[n], which history
    rows: torch.Tensor  # int64[m], rows of the item table, bag by bag
    starts: torch.Tensor  # int64[h * BAGS], where in `rows` each bag begins
    weights: torch.Tensor  # float32[m]; those of a history add up to just under 1
    mass: torch.Tensor  # float32[h, BAGS], sum of the weights in each bag


class Taste(nn.Module):
    """One vector an item, for the item itself and for the events of histories that were about it."""

    item_keys: torch.Tensor  # int64[items], sorted: what is known; every other item shares row 0

    def __init__(self, item_keys: np.ndarray, width: int, dropout: float, own: bool) -> None:
        """`own`: the output begins with the item's vector itself."""
        super().__init__()
        self.register_buffer("item_keys", torch.from_numpy(np.asarray(item_keys, np.int64)))
        self.items = nn.Embedding(len(item_keys) + 1, width)
        self.turn = nn.Parameter(torch.ones(BAGS, width))  # what an event of a kind makes of its item's vector
        self.shift = nn.Parameter(torch.empty(BAGS, width))
        nn.init.normal_(self.items.weight, std=0.02)
        nn.init.normal_(self.shift, std=0.02)
        self.dropout = Dropout(dropout)
        self.own = own

    @property
    def width(self) -> int:
        """Columns of its output."""
        return (2 + self.own) * self.items.embedding_dim

    def forward(self, bags: Bags) -> torch.Tensor:
        """The user, and where item and user agree: float32[n, width]."""
        item = self.items(bags.item)
        sums = functional.embedding_bag(
            bags.rows, self.items.weight, bags.starts, mode="sum", per_sample_weights=bags.weights
        ).view(-1, BAGS, item.shape[1])
        # elementwise: a matrix product rounds by its shape, which is the number of histories
        user = (sums * self.turn + bags.mass[:, :, None] * self.shift).sum(dim=1)[bags.whose]
        item, user = self.dropout(item), self.dropout(user)
        return torch.cat([*([item] if self.own else []), user, item * user], dim=1)


def bags(item_keys: np.ndarray, item_key: np.ndarray, history: History) -> Bags:
    """`taste.events_of` as tensors."""
    return Bags(*map(torch.from_numpy, events_of(item_keys, item_key, history)))
