"""The neural ranker's network, as torch learns it; mmoe.py tells what it is, mmoe_predict.py what it predicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
import torch
from torch import nn

from recsys.ranking.mmoe_predict import CLIP, MAX_LOG_WATCH, TASKS, MMoEConfig
from recsys.ranking.taste_network import Bags, Taste, bags
from recsys.training_sets.dropout import Dropout
from recsys.training_sets.inputs import Inputs
from recsys.training_sets.states import State, filled

Outputs = dict[str, torch.Tensor]  # [n] by task


class MMoE(nn.Module):
    """The network; buffers hold what it knows of the training rows: statistics, vocabularies, mean watch time."""

    numeric: torch.Tensor  # int64[numbers], columns of the numbers
    named: torch.Tensor  # int64[names], columns of the hashed names
    mean: torch.Tensor  # float32[numbers]
    scale: torch.Tensor
    watch_mean: torch.Tensor  # seconds

    def __init__(
        self,
        config: MMoEConfig,
        named: Sequence[int],
        vocabularies: Sequence[np.ndarray],
        width: int,
        item_keys: np.ndarray,
    ) -> None:
        """An untrained network.

        Args:
            named: columns of hashed names
            vocabularies: for each of them the values known by name, sorted float32
            width: columns of features
            item_keys: the items that have a vector of their own, sorted int64
        """
        super().__init__()
        self.config = config
        numeric = [column for column in range(width) if column not in set(named)]
        self.register_buffer("numeric", torch.tensor(numeric, dtype=torch.int64))
        self.register_buffer("named", torch.tensor(list(named), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(len(numeric)))
        self.register_buffer("scale", torch.ones(len(numeric)))
        self.register_buffer("watch_mean", torch.ones(()))
        for place, values in enumerate(vocabularies):
            self.register_buffer(f"vocabulary_{place}", torch.from_numpy(np.asarray(values, np.float32)))
        self.embeddings = nn.ModuleList(nn.Embedding(len(values) + 1, config.embedding) for values in vocabularies)
        self.taste = Taste(item_keys, config.taste, config.dropout, config.own_vectors)
        inputs = len(numeric) + config.embedding * len(vocabularies) + self.taste.width
        self.experts = nn.ModuleList(
            nn.Sequential(
                nn.Linear(inputs, config.width),
                nn.ReLU(),
                Dropout(config.dropout),
                nn.Linear(config.width, config.width),
                nn.ReLU(),
            )
            for _ in range(config.experts)
        )
        self.gates = nn.ModuleDict({task: nn.Linear(inputs, config.experts) for task in TASKS})
        self.towers = nn.ModuleDict(
            {
                task: nn.Sequential(nn.Linear(config.width, config.tower), nn.ReLU(), nn.Linear(config.tower, 1))
                for task in TASKS
            }
        )
        for table in self.embeddings:
            nn.init.normal_(table.weight, std=0.05)  # type: ignore[arg-type]

    @property
    def keys(self) -> dict[str, str]:
        """By the weights of a table, the buffer of sorted keys that its rows from 1 on are for."""
        names = {f"embeddings.{place}.weight": f"vocabulary_{place}" for place in range(len(self.embeddings))}
        return {**names, "taste.items.weight": "taste.item_keys"}

    def encode(self, rows: torch.Tensor) -> torch.Tensor:
        """Encoded feature rows float32[n, F]; a missing number counts as the mean."""
        numbers, codes = self.prepare(rows)
        return torch.cat([numbers, self.names(codes)], dim=1)

    def prepare(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What of feature rows float32[n, F] is not learned: standardised numbers float32[n, numbers], and the rows
        int64[n, names] of the hashed names in their tables.
        """
        numbers = torch.nan_to_num((rows[:, self.numeric] - self.mean) / self.scale, nan=0.0).clamp(-CLIP, CLIP)
        codes = []
        for place in range(len(self.embeddings)):
            known = self.get_buffer(f"vocabulary_{place}")
            values = torch.nan_to_num(rows[:, self.named[place]], nan=-1.0).contiguous()
            at = torch.searchsorted(known, values).clamp(max=max(len(known) - 1, 0))
            is_known = known[at] == values if len(known) else torch.zeros_like(values, dtype=torch.bool)
            codes.append(torch.where(is_known, at + 1, 0))
        return numbers, torch.stack(codes, dim=1) if codes else self.named.new_empty(len(rows), 0)

    def names(self, codes: torch.Tensor) -> torch.Tensor:
        """Embeddings of the names side by side, float32[n, names * embedding], of their rows int64[n, names]."""
        if not len(self.embeddings):
            return self.mean.new_empty(len(codes), 0)
        return torch.cat([table(codes[:, place]) for place, table in enumerate(self.embeddings)], dim=1)

    def decide(self, inputs: torch.Tensor, tasks: Sequence[str] = TASKS) -> dict[str, torch.Tensor]:
        """Output [n] of those tasks: logits, log of watch time over its mean, and the order's score."""
        experts = torch.stack([expert(inputs) for expert in self.experts], dim=1)
        by_task = {}
        for task in tasks:
            mixture = torch.softmax(self.gates[task](inputs), dim=1)
            by_task[task] = self.towers[task]((mixture[:, :, None] * experts).sum(dim=1)).squeeze(1)
        if "watch" in by_task:
            by_task["watch"] = by_task["watch"].clamp(max=MAX_LOG_WATCH)
        return by_task

    def forward(self, rows: torch.Tensor, met: Bags) -> dict[str, torch.Tensor]:
        return self.decide(torch.cat([self.encode(rows), self.taste(met)], dim=1))

    def learn(self, numbers: torch.Tensor, codes: torch.Tensor, met: Bags, tasks: Sequence[str] = TASKS) -> Outputs:
        """What `forward` gives, of prepared rows (one each, or one for all): a fourth of its operations, and sums of
        another order. Layers that read the same input are one product, and no gradient is asked of the numbers.
        """
        taste, names = self.taste(met), self.names(codes)
        first, dropouts, second = (_layers(self.experts, place) for place in (0, 2, 3))
        weight, bias = (
            torch.cat([getattr(layer, what) for layer in (*first, *(self.gates[task] for task in tasks))])
            for what in ("weight", "bias")
        )
        n, width, experts = len(taste), self.config.width, len(first)
        of_numbers, of_names, of_taste = weight.T.split([numbers.shape[1], names.shape[1], taste.shape[1]])
        read = torch.addmm(torch.addmm(torch.addmm(bias, names, of_names), numbers, of_numbers), taste, of_taste)
        hidden = dropouts[0](read[:, : experts * width].relu()).view(n, experts, width).transpose(0, 1)
        opinions = _beside(second, hidden).relu()
        mixture = torch.softmax(read[:, experts * width :].view(n, len(tasks), experts), dim=2)
        mixed = torch.bmm(mixture, opinions.transpose(0, 1)).transpose(0, 1)
        before, after = (_layers((self.towers[task] for task in tasks), place) for place in (0, 2))
        towers = _beside(before, mixed).relu()
        last, level = (torch.cat([getattr(layer, what) for layer in after]) for what in ("weight", "bias"))
        by_task = dict(zip(tasks, (towers * last[:, None, :]).sum(dim=2) + level[:, None], strict=True))
        if "watch" in by_task:
            by_task["watch"] = by_task["watch"].clamp(max=MAX_LOG_WATCH)
        return by_task

    def long_view(self, met: Bags) -> torch.Tensor:
        """Logit [n] of a long view of items of which nothing but the histories that met them is known."""
        width = len(self.numeric) + len(self.named)
        unknown = self.prepare(torch.full((1, width), torch.nan, device=met.item.device))
        return self.learn(*unknown, met, ["long_view"])["long_view"]

    def bags(self, inputs: Inputs) -> Bags:
        """Items and histories of impressions, as `forward` takes them."""
        return bags(self.taste.item_keys.numpy(), inputs.item_key, inputs.history)


def _layers(stacks: Iterable[nn.Module], place: int) -> list[nn.Module]:
    """The layer at that place of each stack."""
    return [cast(nn.Sequential, stack)[place] for stack in stacks]


def _beside(layers: Sequence[nn.Module], inputs: torch.Tensor) -> torch.Tensor:
    """Each of the layers on inputs of its own, [layers, n, input]: [layers, n, output]."""
    weight, bias = (torch.stack([getattr(layer, what) for layer in layers]) for what in ("weight", "bias"))
    return torch.baddbmm(bias[:, None, :], inputs, weight.transpose(1, 2))


def network_of(config: MMoEConfig, state: State, width: int) -> MMoE:
    """The network of a state, over `width` columns of features."""
    vocabularies = [state[f"vocabulary_{place}"] for place in range(len(state["named"]))]
    network = MMoE(config, state["named"].tolist(), vocabularies, width, state["taste.item_keys"])
    return filled(network, state)
