"""The neural ranker: experts shared by all objectives, and for each objective a gate that mixes them.

Multi-gate mixture-of-experts (Ma et al., KDD 2018) over the same rows as the boosted trees: numbers are standardised,
hashed names get an embedding each. It predicts in blocks of one shape, because a matrix product rounds by its shape
and a row must not depend on the rows it is predicted with.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from recsys.lake import replacing
from recsys.ranking.calibration import Calibration
from recsys.ranking.explain import Reasons
from recsys.ranking.ranker import FILE, PREDICTIONS, Predictions, RankerError, read_header

WEIGHTS: Final = "mmoe.pt"
BLOCK: Final = 32  # rows of one forward pass: a slate fits, and is not paid for as if it were five
TASKS: Final = ("click", "long_view", "watch", "order")
EXPLAINED: Final = "long_view"
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
    dropout: float = 0.3
    min_rows: int = 20  # a hashed name on fewer training rows has no embedding of its own


class MMoE(nn.Module):
    """The network; buffers hold what it knows of the training rows: statistics, vocabularies, mean watch time."""

    numeric: torch.Tensor  # int64[numbers], columns of the numbers
    named: torch.Tensor  # int64[names], columns of the hashed names
    mean: torch.Tensor  # float32[numbers]
    scale: torch.Tensor
    watch_mean: torch.Tensor  # seconds

    def __init__(
        self, config: MMoEConfig, named: Sequence[int], vocabularies: Sequence[np.ndarray], width: int
    ) -> None:
        """`named`: columns of hashed names, and for each the values known by name (sorted float32); width: columns."""
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
        inputs = len(numeric) + config.embedding * len(vocabularies)
        self.experts = nn.ModuleList(
            nn.Sequential(
                nn.Linear(inputs, config.width),
                nn.ReLU(),
                nn.Dropout(config.dropout),
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

    def encode(self, rows: torch.Tensor) -> torch.Tensor:
        """Inputs float32[n, inputs] of feature rows float32[n, F]; a missing number counts as the mean."""
        numbers = (rows[:, self.numeric] - self.mean) / self.scale
        parts = [torch.nan_to_num(numbers, nan=0.0).clamp(-CLIP, CLIP)]
        for place, table in enumerate(self.embeddings):
            known = self.get_buffer(f"vocabulary_{place}")
            values = torch.nan_to_num(rows[:, self.named[place]], nan=-1.0).contiguous()
            at = torch.searchsorted(known, values).clamp(max=max(len(known) - 1, 0))
            is_known = known[at] == values if len(known) else torch.zeros_like(values, dtype=torch.bool)
            parts.append(table(torch.where(is_known, at + 1, 0)))
        return torch.cat(parts, dim=1)

    def decide(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Output [n] of each task: logits, log of watch time over its mean, and the order's score."""
        experts = torch.stack([expert(inputs) for expert in self.experts], dim=1)
        found = {}
        for task in TASKS:
            mixture = torch.softmax(self.gates[task](inputs), dim=1)
            found[task] = self.towers[task]((mixture[:, :, None] * experts).sum(dim=1)).squeeze(1)
        found["watch"] = found["watch"].clamp(max=MAX_LOG_WATCH)
        return found

    def forward(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.decide(self.encode(rows))


class _Block(nn.Module):
    """The network as a function of tensors alone, which is what can be recorded: outputs float32[TASKS, BLOCK]."""

    def __init__(self, network: MMoE) -> None:
        super().__init__()
        self.network = network

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        found = self.network(rows)
        return torch.stack([found[task] for task in TASKS])


@dataclass(frozen=True)
class MMoERanker:
    """The trained network with its calibrations; implements `ranker.Ranker`."""

    feature_names: tuple[str, ...]
    fingerprint: str
    network: MMoE
    calibrations: Mapping[str, Calibration]
    medians: np.ndarray  # float32 [F], of the training rows
    facts: Mapping[str, Any]
    name: str = "mmoe"

    def predict(self, features: np.ndarray) -> Predictions:
        """Predictions of rows float32 [n, F]; bit for bit the same alone or among others."""
        return Predictions(**self.predict_only(features, PREDICTIONS))

    def predict_only(self, features: np.ndarray, names: Collection[str]) -> dict[str, np.ndarray]:
        """Those of PREDICTIONS by name; the network gives all of them at once."""
        raw = self.outputs(features)
        made = {
            "p_click": lambda: self.calibrations["click"](raw["click"]),
            "p_long_view": lambda: self.calibrations["long_view"](raw["long_view"]),
            "watch_seconds": lambda: np.exp(raw["watch"]) * float(self.network.watch_mean),
            "score": lambda: raw["long_view"] + raw["order"],
        }
        return {name: made[name]() for name in names}

    def outputs(self, features: np.ndarray) -> dict[str, np.ndarray]:
        """Output of every task before link and calibration, float64[n] each."""
        rows = self._checked(features)
        n = len(rows)
        found = np.empty((len(TASKS), n))
        with torch.inference_mode():
            for start in range(0, n, BLOCK):
                block = np.zeros((BLOCK, rows.shape[1]), np.float32)
                some = rows[start : start + BLOCK]
                block[: len(some)] = some
                found[:, start : start + BLOCK] = self._one_block(torch.from_numpy(block)).numpy()[:, : len(some)]
        return dict(zip(TASKS, found, strict=True))

    @cached_property
    def _one_block(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """The network over one block, recorded: the same operations and bits in 0.4 of the time, without Python."""
        example = torch.zeros(BLOCK, len(self.feature_names))
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it compares the lengths of vocabularies, which are fixed
            recorded = torch.jit.freeze(torch.jit.trace(_Block(self.network).eval(), example))
        with torch.inference_mode():
            for _ in range(3):  # it is compiled in its first two calls, 10 ms each: before anybody waits
                recorded(example)
        return recorded

    def contributions(self, features: np.ndarray) -> np.ndarray:
        """Integrated gradients (Sundararajan et al. 2017) of the long-view logit from the median row, float32 [n, F].

        A row's contributions add up to its logit less that of the median row, as closely as STEPS points allow.
        """
        rows = torch.from_numpy(self._checked(features))
        start = torch.from_numpy(np.nan_to_num(self.medians)).expand_as(rows)
        rows = torch.where(torch.isnan(rows), start, rows)
        self.network.eval()
        n, width = len(rows), len(self.feature_names)
        begin, end = self.network.encode(start).detach(), self.network.encode(rows).detach()
        total = torch.zeros_like(end)
        for step in range(STEPS):
            point = (begin + (end - begin) * ((step + 0.5) / STEPS)).requires_grad_(True)
            out = self.network.decide(point)[EXPLAINED].sum()
            total += torch.autograd.grad(out, point)[0]
        by_input = ((end - begin) * total / STEPS).numpy()
        found = np.zeros((n, width), np.float32)
        numbers, names = self.network.numeric.numpy(), self.network.named.numpy()
        found[:, numbers] = by_input[:, : len(numbers)]
        for place, column in enumerate(names):
            first = len(numbers) + place * self.network.config.embedding
            found[:, column] = by_input[:, first : first + self.network.config.embedding].sum(axis=1)
        return found

    def explain(self, features: np.ndarray) -> list[str]:
        """For each row the phrase of its largest positive contribution that is true of it."""
        rows = self._checked(features)
        return self._reasons.of(self.contributions(rows), rows)

    def save(self, folder: Path) -> None:
        """Write `ranker.json` and the weights."""
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / WEIGHTS) as temporary:
            torch.save(self.network.state_dict(), temporary)
        header = {
            "kind": "mmoe",
            "name": self.name,
            "fingerprint": self.fingerprint,
            "feature_names": list(self.feature_names),
            "config": asdict(self.network.config),
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
            network = MMoE(MMoEConfig(**header["config"]), state["named"].tolist(), vocabularies, width)
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
