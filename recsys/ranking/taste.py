"""What a user makes of an item, by what they were shown before: the part of the neural ranker that reads histories.

A history is a bag of events for each kind of event, in which an event counts half as much for every HALF_LIFE events
that followed it. What was passed over tells as much as what was engaged with: on the validation days of KuaiRand the
engaged events alone gain 0.0016 AUC, all of them 0.0035. Attending to the events by the item (DIN, Zhou et al. 2018;
SAKT, Pandey and Karypis 2019) gained nothing over these sums there.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from recsys.events import KINDS
from recsys.features.catalog import HISTORY_KINDS, HISTORY_LENGTH
from recsys.features.history import History
from recsys.features.log import rows_in

HALF_LIFE: Final = 30.0  # events
BAGS: Final = len(HISTORY_KINDS)
_WEIGHTS: Final = np.exp2(-np.arange(HISTORY_LENGTH) / HALF_LIFE).astype(np.float32)  # newest first
_BAG: Final = np.zeros(max(KINDS.values()) + 1, np.int64)  # by kind
_BAG[[KINDS[kind] for kind in HISTORY_KINDS]] = np.arange(BAGS)


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
        self.dropout = nn.Dropout(dropout)
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
    """Items and histories by the rows of the table of `item_keys` (sorted); a history of several rows comes once."""
    span = history.start * (len(history.item_key) + 1) + history.stop
    _, first, whose = np.unique(span, return_index=True, return_inverse=True)
    start, stop = history.start[first], history.stop[first]
    n, length = len(first), stop - start
    of = np.repeat(np.arange(n), length)
    at = np.arange(len(of)) - (np.cumsum(length) - length - start)[of]
    weight = _WEIGHTS[stop[of] - 1 - at]
    weight = weight / (np.bincount(of, weight, minlength=n).astype(np.float32) + np.float32(1.0))[of]
    bag = of * BAGS + _BAG[history.kind[at]]
    order = np.argsort(bag, kind="stable")
    sizes = np.bincount(bag, minlength=n * BAGS)
    return Bags(
        torch.from_numpy(rows_in(item_keys, item_key)),
        torch.from_numpy(whose),
        torch.from_numpy(rows_in(item_keys, history.item_key[at[order]])),
        torch.from_numpy(np.cumsum(sizes) - sizes),
        torch.from_numpy(weight[order]),
        torch.from_numpy(np.bincount(bag, weight, minlength=n * BAGS).astype(np.float32).reshape(n, BAGS)),
    )
