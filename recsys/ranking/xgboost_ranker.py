"""The default ranker: boosted trees, one booster a head. XGBoost is imported by the xgboost_* modules only.

Order and probability are two jobs: logistic heads, calibrated on validation, give P(click) and P(long view); the order
head starts from the head of the aim (long views, where the log has them) and learns what the order inside users and
slates still lacks: `score`. A log without an outcome gives a ranker without its head (`training_sets.labels`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import xgboost as xgb

from recsys.lake import replacing
from recsys.ranking import calibration, tree_shap, trees, xgboost_rows
from recsys.ranking.calibration import Calibration
from recsys.ranking.explain import Reasons
from recsys.ranking.objectives import HEADS, PATIENCE, ROUNDS, SHARED, Head, monotone
from recsys.ranking.ranker import FILE, LABEL_OF, PREDICTIONS, Predictions, RankerError, not_learned, read_header
from recsys.training_sets.examples import Examples, medians, worth_learning
from recsys.training_sets.inputs import Inputs
from recsys.training_sets.labels import aim, labels_of, probabilities

ORDER: Final = "order"


@dataclass(frozen=True)
class XGBoostRanker:
    """Boosters by head, calibrations of the probability heads, and the medians that make reasons true."""

    feature_names: tuple[str, ...]
    fingerprint: str
    boosters: Mapping[str, xgb.Booster]
    calibrations: Mapping[str, Calibration]
    medians: np.ndarray  # float32 [F], of the training rows
    facts: Mapping[str, Any]  # rows, rounds and validation metric of each head
    name: str = "xgboost"

    def predict(self, inputs: Inputs) -> Predictions:
        """Predictions of impressions, of their features alone; bit for bit the same alone or among others."""
        return Predictions(**self.predict_only(inputs, PREDICTIONS))

    def predict_only(self, inputs: Inputs, names: Collection[str]) -> dict[str, np.ndarray]:
        """Those of PREDICTIONS by name; a head that none of them needs is not run."""
        rows = self._checked(inputs.features)
        margin = cache(lambda head: self.margin(head, rows))
        made = {
            "p_click": lambda: self.calibrations["click"](margin("click")),
            "p_long_view": lambda: self.calibrations["long_view"](margin("long_view")),
            "watch_seconds": lambda: np.exp(margin("watch_seconds")),  # the link of its Tweedie objective
            "score": lambda: margin(self.aim) + margin(ORDER) if ORDER in self.boosters else margin(self.aim),
        }
        learned = {"score", *(name for name, label in LABEL_OF.items() if label in self.labels)}
        return {name: made[name]() if name in learned else not_learned(len(rows)) for name in names}

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(head.label for name, head in HEADS.items() if head.label is not None and name in self.boosters)

    @property
    def aim(self) -> str:
        """The head that the order starts from, and whose contributions become reasons."""
        return aim(self.labels)

    def margin(self, head: str, features: np.ndarray) -> np.ndarray:
        """Sum of the head's trees before any link or calibration, float64[n]."""
        return trees.margins(self._trees[head], self._checked(features)).astype(np.float64)

    def contributions(self, features: np.ndarray, head: str | None = None) -> np.ndarray:
        """Exact TreeSHAP values float32 [n, F + 1] of a head's margin (None: the aim's); the last column is the bias.
        Rows add up.
        """
        matrix = xgb.DMatrix(self._checked(features), nthread=1)
        return self.boosters[head or self.aim].predict(matrix, pred_contribs=True)

    def explain(self, inputs: Inputs) -> list[str]:
        """For each row the phrase of its largest positive contribution that is true of it."""
        rows = self._checked(inputs.features)
        return self._reasons.of(tree_shap.contributions(self._forests[self.aim], rows), rows)

    def score_contributions(self, features: np.ndarray) -> tuple[float, np.ndarray]:
        """Score of a row of which nothing is known, and what each feature adds to a row's `score`, float32[n, F]."""
        rows = self._checked(features)
        heads = [head for head in (self.aim, ORDER) if head in self.boosters]
        values = sum((tree_shap.contributions(self._forests[head], rows) for head in heads), np.zeros_like(rows))
        score = sum(self.margin(head, rows) for head in heads)
        rest = score - values.sum(axis=1, dtype=np.float64)
        return (float(rest.mean()) if len(rows) else 0.0), values

    def importances(self, head: str | None = None) -> dict[str, float]:
        """Share of the total gain of a head (None: the aim's) by feature, largest first."""
        gain = self.boosters[head or self.aim].get_score(importance_type="total_gain")
        by_name = {self.feature_names[int(key[1:])]: float(np.sum(value)) for key, value in gain.items()}
        total = sum(by_name.values()) or 1.0
        return {name: value / total for name, value in sorted(by_name.items(), key=lambda pair: -pair[1])}

    def save(self, folder: Path) -> None:
        """Write `ranker.json` and one UBJ a head. UBJ keeps floats exactly; the JSON format rounds base_score."""
        folder.mkdir(parents=True, exist_ok=True)
        for head, booster in self.boosters.items():
            with replacing(folder / f"{head}.ubj") as temporary:
                temporary.write_bytes(bytes(booster.save_raw("ubj")))
        header = {
            "kind": "xgboost",
            "name": self.name,
            "fingerprint": self.fingerprint,
            "feature_names": list(self.feature_names),
            "heads": list(self.boosters),
            "calibrations": {head: fitted.to_json() for head, fitted in self.calibrations.items()},
            "medians": self.medians.astype(np.float64).tolist(),
            "facts": dict(self.facts),
        }
        with replacing(folder / FILE) as temporary:
            temporary.write_text(json.dumps(header, indent=1))

    @staticmethod
    def load(folder: Path) -> XGBoostRanker:
        """The ranker saved in a folder.

        Raises:
            RankerError: when a file is missing or unreadable.
        """
        header = read_header(folder)
        boosters = {}
        for head in header["heads"]:
            try:
                content = (folder / f"{head}.ubj").read_bytes()
                boosters[head] = xgb.Booster({"nthread": 1}, model_file=bytearray(content))
            except (OSError, xgb.core.XGBoostError) as error:
                reason = str(error).splitlines()[0][:120]
                raise RankerError(f"{folder / head}.ubj is not readable ({reason}): materialize ranker again") from None
        return XGBoostRanker(
            feature_names=tuple(header["feature_names"]),
            fingerprint=header["fingerprint"],
            boosters=boosters,
            calibrations={head: Calibration.from_json(saved) for head, saved in header["calibrations"].items()},
            medians=np.asarray(header["medians"], dtype=np.float32),
            facts=header["facts"],
            name=header["name"],
        )

    @cached_property
    def _forests(self) -> Mapping[str, tree_shap.Forest]:
        heads = [head for head in (self.aim, ORDER) if head in self.boosters]
        return {head: tree_shap.forest(self._trees[head]) for head in heads}

    @cached_property
    def _trees(self) -> Mapping[str, trees.Trees]:
        return {head: trees.read(booster) for head, booster in self.boosters.items()}

    @cached_property
    def _reasons(self) -> Reasons:
        return Reasons(self.feature_names, self.medians)

    def _checked(self, features: np.ndarray) -> np.ndarray:
        if features.ndim != 2 or features.shape[1] != len(self.feature_names):
            raise RankerError(
                f"the ranker takes {len(self.feature_names)} features a row, got an array of shape {features.shape}"
            )
        return np.ascontiguousarray(features, dtype=np.float32)


def train(
    train_rows: Examples,
    validation_rows: Examples,
    feature_names: Sequence[str],
    fingerprint: str,
    *,
    threads: int,
    seed: int,
    rounds: int = ROUNDS,
    params: Mapping[str, Any] = SHARED,
    weighed: bool = False,
) -> XGBoostRanker:
    """Fit every head on the training rows, stop and calibrate it on the validation rows.

    Rows whose features are mapped from a file (`training_sets.on_disk`) are learned from there: to the same trees, but
    for the bins of values that several blocks saw.

    Args:
        params: of every head, below what a head says itself.
        weighed: rows that explored count by their inverse propensity (`Examples.weights`), but in the order, whose
            groups hold others too.

    Raises:
        LabelError: when there is nothing to learn.
    """
    heads = _learnable(train_rows, validation_rows)
    facts: dict[str, Any] = {
        "train_rows": len(train_rows),
        "validation_rows": len(validation_rows),
        "params": dict(params),
        "weighed": weighed,
    }
    boosters, told = _boosters(
        train_rows, feature_names, params, threads, seed, dict.fromkeys(heads, rounds), validation_rows, weighed
    )
    ranker = XGBoostRanker(
        feature_names=tuple(feature_names),
        fingerprint=fingerprint,
        boosters=boosters,
        calibrations={},
        medians=medians(train_rows.features),
        facts={**facts, **told},
    )
    calibrations = {
        name: calibration.fit(ranker.margin(name, validation_rows.features), head.target(validation_rows))
        for name, head in HEADS.items()
        if head.is_calibrated and name in heads
    }
    return replace(ranker, calibrations=calibrations)


def _learnable(train_rows: Examples, validation_rows: Examples) -> tuple[str, ...]:
    """The heads whose outcome both parts have: the order's, where users or slates of both hold rows to tell apart."""
    labels = labels_of(train_rows, validation_rows)
    has_order = all(_has_order(rows) for rows in (train_rows, validation_rows))
    return tuple(name for name, head in HEADS.items() if (has_order if head.label is None else head.label in labels))


def refit(chosen: XGBoostRanker, rows: Examples, *, threads: int, seed: int) -> XGBoostRanker:
    """Train anew on train and validation rows together, for as many rounds as validation chose.

    The calibrations stay those of `chosen`. They were measured on days that it had not learned from, and no such days
    are left for a model that has learned them all. Where the validation rows are too few to teach anything, it is
    `chosen` itself.
    """
    train_rows, validation_rows = (int(chosen.facts[f"{part}_rows"]) for part in ("train", "validation"))
    if not worth_learning(validation_rows, train_rows):
        return replace(chosen, facts={**chosen.facts, "refit_rows": train_rows})
    rounds = {name: int(chosen.facts[name]["rounds"]) for name in chosen.boosters}
    params, weighed = chosen.facts["params"], bool(chosen.facts.get("weighed"))
    boosters, _ = _boosters(rows, chosen.feature_names, params, threads, seed, rounds, weighed=weighed)
    return replace(
        chosen,
        boosters=boosters,
        medians=medians(rows.features),
        facts={**chosen.facts, "refit_rows": len(rows)},
    )


def judged(
    train_rows: Examples,
    validation_rows: Examples,
    params: Mapping[str, Any],
    *,
    threads: int,
    seed: int,
    rounds: int = ROUNDS,
    on_round: Callable[[int, float], None] | None = None,
) -> float:
    """Mean validation AUC of the probability heads under these parameters; `on_round` hears each round's AUC so far,
    head after head, and may raise to stop.
    """
    learned = xgb.QuantileDMatrix(train_rows.features, nthread=threads, max_bin=params["max_bin"])
    held_out = xgb.QuantileDMatrix(validation_rows.features, nthread=threads, ref=learned, max_bin=params["max_bin"])
    scores: list[float] = []
    for name in probabilities(labels_of(train_rows, validation_rows)):
        head = HEADS[name]
        learned.set_label(head.target(train_rows))
        held_out.set_label(head.target(validation_rows))
        told = None if on_round is None else _Telling(on_round, head.metric, rounds * len(scores))
        _, facts = _fit(head, params, learned, held_out, threads=threads, seed=seed, rounds=rounds, telling=told)
        scores.append(facts[head.metric])
    return float(np.mean(scores))


class _Telling(xgb.callback.TrainingCallback):
    """Says each round's validation metric to somebody who may stop the training by raising."""

    def __init__(self, on_round: Callable[[int, float], None], metric: str, first: int) -> None:
        super().__init__()
        self.on_round, self.metric, self.first = on_round, metric, first

    def after_iteration(self, model: xgb.Booster, epoch: int, evals_log: Any) -> bool:
        self.on_round(self.first + epoch, float(evals_log["validation"][self.metric][-1]))
        return False


def _boosters(
    rows: Examples,
    feature_names: Sequence[str],
    params: Mapping[str, Any],
    threads: int,
    seed: int,
    rounds: Mapping[str, int],
    validation: Examples | None = None,
    weighed: bool = False,
) -> tuple[dict[str, xgb.Booster], dict[str, Any]]:
    """A head for each of `rounds`, stopped early where there are rows to stop it on; and the facts of each."""
    boosters: dict[str, xgb.Booster] = {}
    facts: dict[str, Any] = {}
    bins = params["max_bin"]
    plain = xgboost_rows.binned(rows.features, bins=bins, threads=threads)
    if weighed:
        plain.set_weight(rows.weights)
    held_out = None
    if validation is not None:
        held_out = xgboost_rows.binned(validation.features, bins=bins, threads=threads, ref=plain)
    for name in rounds:
        head, learned, judge = HEADS[name], plain, held_out
        if head.is_grouped:
            start = boosters[aim(boosters)]
            learned = _grouped(rows, head, threads, start, None, bins)
            judge = None if validation is None else _grouped(validation, head, threads, start, learned, bins)
        else:
            learned.set_label(head.target(rows))
            if judge is not None and validation is not None:
                judge.set_label(head.target(validation))
        constrained = {**params, "monotone_constraints": monotone(feature_names, name)}
        boosters[name], facts[name] = _fit(
            head, constrained, learned, judge, threads=threads, seed=seed, rounds=rounds[name]
        )
    return boosters, facts


def _fit(
    head: Head,
    params: Mapping[str, Any],
    rows: xgb.DMatrix,
    held_out: xgb.DMatrix | None,
    *,
    threads: int,
    seed: int,
    rounds: int,
    telling: xgb.callback.TrainingCallback | None = None,
) -> tuple[xgb.Booster, dict[str, Any]]:
    callbacks: list[xgb.callback.TrainingCallback] = [] if telling is None else [telling]
    if held_out is not None:
        callbacks.append(xgb.callback.EarlyStopping(rounds=PATIENCE, save_best=True))
    booster = xgb.train(
        {
            **params,
            **head.params,
            "objective": head.objective,
            "eval_metric": head.metric,
            "nthread": threads,
            "seed": seed,
        },
        rows,
        num_boost_round=rounds,
        evals=[] if held_out is None else [(held_out, "validation")],
        callbacks=callbacks,
        verbose_eval=False,
    )
    facts: dict[str, Any] = {"rounds": booster.num_boosted_rounds()}
    if held_out is not None:
        facts[head.metric] = float(booster.best_score)
    booster.set_param({"nthread": 1})
    return booster, facts


def _grouped(
    rows: Examples, head: Head, threads: int, start: xgb.Booster, ref: xgb.DMatrix | None, bins: int
) -> xgb.DMatrix:
    """Rows by user, then by slate: both orders are learned. Groups of one grade teach nothing and stay out."""
    relevance = head.target(rows)
    parts = [_mixed_groups(groups, relevance) for groups in (rows.user, rows.slate)]
    index = np.concatenate([part.index for part in parts])
    offset = int(parts[0].group.max()) + 1 if len(parts[0].group) else 0
    group = np.concatenate([parts[0].group, parts[1].group + offset])
    matrix = xgboost_rows.binned(rows.features, bins=bins, threads=threads, ref=ref, rows=index)
    matrix.set_info(label=relevance[index], base_margin=xgboost_rows.margins(start, rows.features, index), qid=group)
    return matrix


def _has_order(rows: Examples) -> bool:
    """Whether any user or slate has rows of different relevance."""
    return any(len(_mixed_groups(groups, rows.relevance).index) for groups in (rows.user, rows.slate))


@dataclass(frozen=True)
class _Groups:
    index: np.ndarray  # rows, group by group
    group: np.ndarray  # 0.. in order


def _mixed_groups(groups: np.ndarray, relevance: np.ndarray) -> _Groups:
    order = np.argsort(groups, kind="stable")
    _, code = np.unique(groups[order], return_inverse=True)
    grade = relevance[order]
    n = int(code[-1]) + 1 if len(code) else 0
    low, high = np.full(n, np.iinfo(np.int64).max), np.full(n, -1)
    np.minimum.at(low, code, grade)
    np.maximum.at(high, code, grade)
    kept = (low < high)[code]
    _, dense = np.unique(code[kept], return_inverse=True)
    return _Groups(order[kept], dense.astype(np.int64))
