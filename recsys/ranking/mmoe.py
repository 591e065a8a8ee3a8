"""The neural ranker: experts shared by all objectives, and for each objective a gate that mixes them.

Multi-gate mixture-of-experts (Ma et al., KDD 2018) over the same rows as the boosted trees, and over what each user was
shown before (taste.py): numbers are standardised, hashed names get an embedding each. Torch learns it; what it
predicts is computed row by row (mmoe_predict.py), because a row must not depend on the rows it is predicted with.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import nn

from recsys.lake import replacing
from recsys.ranking.calibration import Calibration
from recsys.ranking.explain import Reasons
from recsys.ranking.mmoe_predict import Weights, predict, weights_of
from recsys.ranking.ranker import FILE, LABEL_OF, PREDICTIONS, Predictions, RankerError, not_learned, read_header
from recsys.ranking.taste import Bags, Taste, bags, events_of
from recsys.training_sets.dropout import Dropout
from recsys.training_sets.inputs import Inputs
from recsys.training_sets.labels import aim

WEIGHTS: Final = "mmoe.pt"
AT_ONCE: Final = 8_192  # rows, which bounds the events of their histories
TASKS: Final = ("click", "long_view", "watch", "order")
Outputs = dict[str, torch.Tensor]  # [n] by task
STEPS: Final = 16  # of the path that an explanation is integrated along
CLIP: Final = 5.0  # standard deviations: a feature of a rare row must not carry it away
MAX_LOG_WATCH: Final = 5.0  # expected watch time stays below e^5 = 148 times the mean


@dataclass(frozen=True)
class MMoEConfig:
    """Shape of the network. Defaults were chosen on validation days of KuaiRand."""

    experts: int = 4
    width: int = 64
    tower: int = 32
    embedding: int = 8
    taste: int = 48  # width of an item's vector
    own_vectors: bool = False  # whether an item's vector also speaks for the item alone
    dropout: float = 0.3
    min_rows: int = 1_000  # a hashed name on fewer training rows has no embedding of its own: its item may have
    min_shown: int = 20  # an item that was shown less often has no vector of its own


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


@dataclass(frozen=True)
class MMoERanker:
    """The trained network with its calibrations; implements `ranker.Ranker`."""

    feature_names: tuple[str, ...]
    fingerprint: str
    network: MMoE
    calibrations: Mapping[str, Calibration]
    medians: np.ndarray  # float32 [F], of the training rows
    facts: Mapping[str, Any]
    labels: tuple[str, ...]  # what it learned (`training_sets.labels`): the outputs of its other tasks mean nothing
    name: str = "mmoe"

    def predict(self, inputs: Inputs) -> Predictions:
        """Predictions of impressions; bit for bit the same alone or among others."""
        return Predictions(**self.predict_only(inputs, PREDICTIONS))

    def predict_only(self, inputs: Inputs, names: Collection[str]) -> dict[str, np.ndarray]:
        """Those of PREDICTIONS by name; the network gives all of them at once."""
        raw = self.outputs(inputs)
        made = {
            "p_click": lambda: self.calibrations["click"](raw["click"]),
            "p_long_view": lambda: self.calibrations["long_view"](raw["long_view"]),
            "watch_seconds": lambda: np.exp(raw["watch"]) * float(self.network.watch_mean),
            "score": lambda: raw[aim(self.labels)] + raw["order"],
        }
        learned = {"score", *(name for name, label in LABEL_OF.items() if label in self.labels)}
        return {name: made[name]() if name in learned else not_learned(len(inputs)) for name in names}

    def outputs(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """Output of every task before link and calibration, float64[n] each."""
        features = self._checked(inputs.features)
        values = np.empty((len(TASKS), len(inputs)))
        for start in range(0, len(inputs), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            met = events_of(self._item_keys, inputs.item_key[rows], inputs.history.take(rows))
            predict(self._weights, features[rows], met, values[:, rows])
        by_task = dict(zip(TASKS, values, strict=True))
        return {**by_task, "watch": np.minimum(by_task["watch"], MAX_LOG_WATCH)}

    @cached_property
    def _item_keys(self) -> np.ndarray:
        return self.network.taste.item_keys.numpy()

    @cached_property
    def _weights(self) -> Weights:
        return weights_of(self.network, CLIP)

    def contributions(self, inputs: Inputs) -> np.ndarray:
        """Integrated gradients (Sundararajan et al. 2017) of the aim's logit from the median row, float32 [n, F].

        A row's contributions add up to its logit less that of the median row for the same item and history, as closely
        as STEPS points allow.
        """
        rows = torch.from_numpy(self._checked(inputs.features))
        start = torch.from_numpy(np.nan_to_num(self.medians)).expand_as(rows)
        rows = torch.where(torch.isnan(rows), start, rows)
        self.network.eval()
        n, width = len(rows), len(self.feature_names)
        with torch.no_grad():
            begin, end = self.network.encode(start), self.network.encode(rows)
            taste = self.network.taste(self.network.bags(inputs))
        total = torch.zeros_like(end)
        for step in range(STEPS):
            point = (begin + (end - begin) * ((step + 0.5) / STEPS)).requires_grad_(True)
            out = self.network.decide(torch.cat([point, taste], dim=1))[aim(self.labels)].sum()
            total += torch.autograd.grad(out, point)[0]
        by_input = ((end - begin) * total / STEPS).numpy()
        by_feature = np.zeros((n, width), np.float32)
        numbers, names = self.network.numeric.numpy(), self.network.named.numpy()
        by_feature[:, numbers] = by_input[:, : len(numbers)]
        for place, column in enumerate(names):
            first = len(numbers) + place * self.network.config.embedding
            by_feature[:, column] = by_input[:, first : first + self.network.config.embedding].sum(axis=1)
        return by_feature

    def explain(self, inputs: Inputs) -> list[str]:
        """For each row the phrase of its largest positive contribution that is true of it."""
        return self._reasons.of(self.contributions(inputs), self._checked(inputs.features))

    def save(self, folder: Path) -> None:
        """Write `ranker.json` and the weights."""
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / WEIGHTS) as temporary, temporary.open("wb") as file:
            torch.save(self.network.state_dict(), file)  # to a path, the path's name would be among the bytes
        header = {
            "kind": "mmoe",
            "name": self.name,
            "fingerprint": self.fingerprint,
            "feature_names": list(self.feature_names),
            "config": asdict(self.network.config),
            "labels": list(self.labels),
            "calibrations": {head: fitted.to_json() for head, fitted in self.calibrations.items()},
            "medians": self.medians.astype(np.float64).tolist(),
            "facts": dict(self.facts),
        }
        with replacing(folder / FILE) as temporary:
            temporary.write_text(json.dumps(header, indent=1))

    @staticmethod
    def load(folder: Path) -> MMoERanker:
        """The ranker saved in a folder.

        Raises:
            RankerError: when a file is missing or unreadable.
        """
        header = read_header(folder)
        try:
            state = torch.load(folder / WEIGHTS, weights_only=True, map_location="cpu")
            vocabularies = [state[f"vocabulary_{place}"].numpy() for place in range(len(state["named"]))]
            width = len(header["feature_names"])
            items = state["taste.item_keys"].numpy()
            network = MMoE(MMoEConfig(**header["config"]), state["named"].tolist(), vocabularies, width, items)
            network.load_state_dict(state)
        except Exception as error:  # torch raises a dozen kinds for a torn file
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise RankerError(f"{folder / WEIGHTS} is not readable ({reason}): materialize ranker again") from None
        return MMoERanker(
            feature_names=tuple(header["feature_names"]),
            fingerprint=header["fingerprint"],
            network=network.eval(),
            calibrations={head: Calibration.from_json(saved) for head, saved in header["calibrations"].items()},
            medians=np.asarray(header["medians"], dtype=np.float32),
            facts=header["facts"],
            labels=tuple(header["labels"]),
            name=header["name"],
        )

    @cached_property
    def _reasons(self) -> Reasons:
        return Reasons(self.feature_names, self.medians)

    def _checked(self, features: np.ndarray) -> np.ndarray:
        if features.ndim != 2 or features.shape[1] != len(self.feature_names):
            raise RankerError(
                f"the ranker takes {len(self.feature_names)} features a row, got an array of shape {features.shape}"
            )
        return np.ascontiguousarray(features, dtype=np.float32)
