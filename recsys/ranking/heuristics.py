"""Rankers of one rule each: what every model has to beat, and what serves where no model is ahead of it.

A rule orders impressions by one signal a label, read from the same point-in-time columns as the models. Its signal
becomes a probability by the same isotonic calibration on validation as a model's, so log loss compares like with like.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from recsys.lake import replacing
from recsys.ranking import calibration
from recsys.ranking.calibration import Calibration
from recsys.ranking.explain import Reasons
from recsys.ranking.ranker import FILE, PREDICTIONS, Predictions, RankerError, read_header
from recsys.training_sets.examples import Examples
from recsys.training_sets.inputs import Inputs
from recsys.training_sets.labels import PROBABILITIES, WATCH, Label, aim, has_both, probabilities

Columns = Mapping[str, np.ndarray]  # float64 [n] by feature


class HeuristicError(ValueError):
    """A heuristic needs a feature column that the rows do not have; the message names it."""


class Rule(NamedTuple):
    """What a heuristic orders by."""

    reads: Callable[[Label], tuple[str, ...]]  # features
    signal: Callable[[Columns, Label], np.ndarray]  # of those features: float64 [n], the higher the earlier
    reason: str  # key of the template that is true of every row, for those of which nothing better can be said


def _rate(entity: str, label: Label, window: str = "all") -> str:
    return f"{entity}_{'ctr' if label == 'click' else 'long_view_rate'}_{window}"


def _column(name: str, reason: str) -> Rule:
    return Rule(lambda label: (name,), lambda columns, label: columns[name], reason)


def _rate_of(entity: str, reason: str) -> Rule:
    return Rule(lambda label: (_rate(entity, label),), lambda columns, label: columns[_rate(entity, label)], reason)


def _logit(p: np.ndarray) -> np.ndarray:
    kept = np.clip(p, 1e-4, 1 - 1e-4)
    return np.log(kept / (1 - kept))


RULES: Final[Mapping[str, Rule]] = {
    "random": Rule(lambda label: (), lambda columns, label: columns["chance"], "rule.random"),
    "popular": _column("item_popularity_log_all", "rule.popular"),
    "trending_1h": _column("item_popularity_log_1h", "rule.trending_1h"),
    "trending_24h": _column("item_popularity_log_24h", "rule.trending_24h"),
    "item_rate": _rate_of("item", "rule.item_rate"),
    "category_popular": _rate_of("category", "rule.category_popular"),
    "user_category_rate": _rate_of("user_category", "rule.user_category_rate"),
    "user_times_item_rate": Rule(
        lambda label: (_rate("item", label), _rate("user", label)),
        lambda columns, label: _logit(columns[_rate("user", label)]) + _logit(columns[_rate("item", label)]),
        "rule.item_rate",
    ),
}

# Not recommenders but controls of the metrics: they know nothing of the items. This one puts a user's impressions after
# many long views last. `gauc` by user rewards that, because an early positive raises the rate of every later row of its
# user and only users with both classes count: on the test days of KuaiRand it scores 0.82, above any model.
# `gauc@slate` compares rows of one moment, gives it 0.5, and is what a served slate's order is worth.
CONTROLS: Final[Mapping[str, Rule]] = {
    "fewest_past_outcomes": Rule(
        lambda label: (_rate("user", label, "7d"),), lambda columns, label: -columns[_rate("user", label, "7d")], ""
    ),
}
ALL: Final[Mapping[str, Rule]] = {**RULES, **CONTROLS}


@dataclass(frozen=True)
class HeuristicRanker:
    """One rule, calibrated for the labels that the log has; implements `ranker.Ranker`."""

    name: str
    feature_names: tuple[str, ...]
    fingerprint: str
    calibrations: Mapping[str, Calibration]  # by label; a label without one is predicted as NaN
    medians: Mapping[str, float]  # of the features it orders by, over the validation rows: they make reasons true
    mean_watch_seconds: float  # of the validation rows; NaN without any watch time

    @staticmethod
    def fit(
        name: str, validation: Examples, names: Sequence[str], fingerprint: str, labels: Collection[str] | None = None
    ) -> HeuristicRanker:
        """Calibrate on validation rows of the features `names`.

        Args:
            labels: those that the log has (`training_sets.labels`); None: those that the rows tell apart.

        Raises:
            HeuristicError: `names` lacks a feature that the rule reads.
        """
        rule = ALL[name]
        if missing := [column for label in PROBABILITIES for column in rule.reads(label) if column not in names]:
            raise HeuristicError(
                f"the rows have no column {missing[0]}: materialize training_set with the present catalogue"
            )
        if labels is None:
            labels = (*(label for label in PROBABILITIES if has_both(validation, label)), WATCH)
        watched = validation.watch_ms
        is_watched = WATCH in labels and watched.any()
        unfitted = HeuristicRanker(name, tuple(names), fingerprint, {}, {}, float("nan"))
        fitted = replace(
            unfitted,
            calibrations={
                label: calibration.fit(unfitted.signal(validation.inputs, label), getattr(validation, label))
                for label in probabilities(labels)
            },
            mean_watch_seconds=float(watched.mean()) / 1000.0 if is_watched else float("nan"),
        )
        medians = {c: float(np.median(fitted._values(validation.inputs, c))) for c in rule.reads(fitted.aim)}
        return replace(fitted, medians=medians)

    @property
    def labels(self) -> tuple[str, ...]:
        """What it is calibrated for, and watch time where there is any (`training_sets.labels`)."""
        watch = () if np.isnan(self.mean_watch_seconds) else (WATCH,)
        return (*probabilities(self.calibrations), *watch)

    @property
    def aim(self) -> Label:
        """What `score` orders by: long views where the log has them."""
        return aim(self.calibrations)

    def signal(self, inputs: Inputs, label: Label) -> np.ndarray:
        """float64 [n]: what a label's probability is calibrated from."""
        rule = ALL[self.name]
        columns = {name: self._values(inputs, name) for name in rule.reads(label)}
        return rule.signal(columns or {"chance": _chance(inputs)}, label)

    def predict(self, inputs: Inputs) -> Predictions:
        """Predictions of impressions; bit for bit the same alone or among others."""
        return Predictions(**self.predict_only(inputs, PREDICTIONS))

    def predict_only(self, inputs: Inputs, names: Collection[str]) -> dict[str, np.ndarray]:
        """Those of PREDICTIONS by name; `score` is the signal of the aim."""
        made = {
            "p_click": lambda: self._probability(inputs, "click"),
            "p_long_view": lambda: self._probability(inputs, "long_view"),
            "watch_seconds": lambda: np.full(len(inputs), self.mean_watch_seconds),
            "score": lambda: self.signal(inputs, self.aim),
        }
        return {name: made[name]() for name in names}

    def explain(self, inputs: Inputs) -> list[str]:
        """One short reason a row, true of it: the rule's feature where it is above the median, else the rule itself."""
        raised = np.zeros_like(inputs.features)
        for name, median in self.medians.items():
            column = self.feature_names.index(name)
            raised[:, column] = inputs.features[:, column] - np.float32(median)
        return self._reasons.of(raised, inputs.features)

    def save(self, folder: Path) -> None:
        """Write `ranker.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        header = {
            "kind": "heuristic",
            "name": self.name,
            "feature_names": list(self.feature_names),
            "fingerprint": self.fingerprint,
            "calibrations": {label: fitted.to_json() for label, fitted in self.calibrations.items()},
            "medians": dict(self.medians),
            "mean_watch_seconds": None if np.isnan(self.mean_watch_seconds) else self.mean_watch_seconds,
        }
        with replacing(folder / FILE) as temporary:
            temporary.write_text(json.dumps(header, indent=1))

    @staticmethod
    def load(folder: Path) -> HeuristicRanker:
        """The ranker saved in a folder.

        Raises:
            RankerError: when the file is missing, unreadable, or of a rule that is no more.
        """
        header = read_header(folder)
        if header["name"] not in RULES:
            raise RankerError(f"{folder / FILE} orders by {header['name']!r}, which is no rule: run the graph again")
        seconds = header["mean_watch_seconds"]
        return HeuristicRanker(
            name=header["name"],
            feature_names=tuple(header["feature_names"]),
            fingerprint=header["fingerprint"],
            calibrations={label: Calibration.from_json(saved) for label, saved in header["calibrations"].items()},
            medians=header["medians"],
            mean_watch_seconds=float("nan") if seconds is None else float(seconds),
        )

    @cached_property
    def _reasons(self) -> Reasons:
        medians = np.array([self.medians.get(name, np.nan) for name in self.feature_names], np.float32)
        return Reasons(self.feature_names, medians, ALL[self.name].reason)

    def _probability(self, inputs: Inputs, label: Label) -> np.ndarray:
        fitted = self.calibrations.get(label)
        return np.full(len(inputs), np.nan) if fitted is None else fitted(self.signal(inputs, label))

    def _values(self, inputs: Inputs, name: str) -> np.ndarray:
        return inputs.features[:, self.feature_names.index(name)].astype(np.float64)


def _chance(inputs: Inputs) -> np.ndarray:
    """A number in [0, 1) of an impression's own bits, float64 [n]: the same whatever rows are beside it."""
    bits = np.ascontiguousarray(inputs.features).view(np.uint32).astype(np.uint64)
    odd = np.random.default_rng(7).integers(0, 1 << 63, bits.shape[1], np.uint64) * np.uint64(2) + np.uint64(1)
    mixed = (bits * odd).sum(axis=1, dtype=np.uint64) ^ inputs.item_key.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2.0**53
