"""The neural ranker: experts shared by all objectives, and for each objective a gate that mixes them.

Multi-gate mixture-of-experts (Ma et al., KDD 2018) over the same rows as the boosted trees, and over what each user was
shown before (taste.py): numbers are standardised, hashed names get an embedding each. Torch learns it; what it
predicts is computed row by row (mmoe_predict.py), because a row must not depend on the rows it is predicted with.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recsys.lake import replacing
from recsys.ranking.calibration import Calibration
from recsys.ranking.explain import Reasons
from recsys.ranking.mmoe_predict import MAX_LOG_WATCH, TASKS, MMoEConfig, Weights, predict, weights_of
from recsys.ranking.ranker import FILE, LABEL_OF, PREDICTIONS, Predictions, RankerError, not_learned, read_header
from recsys.ranking.taste import events_of
from recsys.training_sets import states
from recsys.training_sets.inputs import Inputs
from recsys.training_sets.labels import aim

if TYPE_CHECKING:
    from recsys.ranking.mmoe_network import MMoE

WEIGHTS: Final = "mmoe.npz"
AT_ONCE: Final = 8_192  # rows, which bounds the events of their histories
STEPS: Final = 16  # of the path that an explanation is integrated along


@dataclass(frozen=True)
class MMoERanker:
    """The trained network with its calibrations; implements `ranker.Ranker`."""

    feature_names: tuple[str, ...]
    fingerprint: str
    config: MMoEConfig
    state: states.State  # of the network
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
            "watch_seconds": lambda: np.exp(raw["watch"]) * float(self.state["watch_mean"]),
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
        return self.state["taste.item_keys"]

    @cached_property
    def _weights(self) -> Weights:
        return weights_of(self.config, self.state)

    @cached_property
    def network(self) -> MMoE:
        """What learns, and tells gradients."""
        from recsys.ranking.mmoe_network import network_of

        return network_of(self.config, self.state, len(self.feature_names))

    def contributions(self, inputs: Inputs) -> np.ndarray:
        """Integrated gradients (Sundararajan et al. 2017) of the aim's logit from the median row, float32 [n, F].

        A row's contributions add up to its logit less that of the median row for the same item and history, as closely
        as STEPS points allow.
        """
        import torch

        rows = torch.from_numpy(self._checked(inputs.features))
        start = torch.from_numpy(np.nan_to_num(self.medians)).expand_as(rows)
        rows = torch.where(torch.isnan(rows), start, rows)
        n, width = len(rows), len(self.feature_names)
        with torch.no_grad():
            begin, end = self.network.encode(start), self.network.encode(rows)
            taste = self.network.taste(self.network.bags(inputs))
        task, share = aim(self.labels), (torch.arange(STEPS) + 0.5) / STEPS
        # all points of all rows at once: one by one they took four times as long, most of it between the operations
        points = (begin + (end - begin) * share[:, None, None]).requires_grad_(True)
        inputs_of = torch.cat([points, taste.expand(STEPS, -1, -1)], dim=2).flatten(0, 1)
        out = self.network.decide(inputs_of, [task])[task].sum()
        slope = torch.autograd.grad(out, points)[0].mean(dim=0)
        by_input = ((end - begin) * slope).numpy()
        by_feature = np.zeros((n, width), np.float32)
        numbers, names = self.state["numeric"], self.state["named"]
        by_feature[:, numbers] = by_input[:, : len(numbers)]
        for place, column in enumerate(names):
            first = len(numbers) + place * self.config.embedding
            by_feature[:, column] = by_input[:, first : first + self.config.embedding].sum(axis=1)
        return by_feature

    def explain(self, inputs: Inputs) -> list[str]:
        """For each row the phrase of its largest positive contribution that is true of it."""
        return self._reasons.of(self.contributions(inputs), self._checked(inputs.features))

    def save(self, folder: Path) -> None:
        """Write `ranker.json` and the weights."""
        folder.mkdir(parents=True, exist_ok=True)
        states.write(folder / WEIGHTS, self.state)
        header = {
            "kind": "mmoe",
            "name": self.name,
            "fingerprint": self.fingerprint,
            "feature_names": list(self.feature_names),
            "config": asdict(self.config),
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
            state = states.read(folder / WEIGHTS)
            config = MMoEConfig(**header["config"])
            weights_of(config, state)  # all of it is there
        except Exception as error:  # a torn file raises a dozen kinds
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise RankerError(f"{folder / WEIGHTS} is not readable ({reason}): materialize ranker again") from None
        return MMoERanker(
            feature_names=tuple(header["feature_names"]),
            fingerprint=header["fingerprint"],
            config=config,
            state=state,
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
