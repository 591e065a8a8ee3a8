"""The default ranker: boosted trees, one booster a head. Only it and xgboost_calls.py import xgboost.

Order and probability are two jobs: logistic heads, calibrated on validation, give P(click) and P(long view); the order
head starts from the long-view head and learns what the order inside users and slates still lacks: `score`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import xgboost as xgb

from recsys.lake import replacing
from recsys.ranking import calibration, tree_shap, xgboost_calls
from recsys.ranking.calibration import Calibration
from recsys.ranking.explain import Reasons
from recsys.ranking.objectives import HEADS, PATIENCE, ROUNDS, SHARED, Head
from recsys.ranking.ranker import FILE, PREDICTIONS, Predictions, RankerError, read_header
from recsys.training_sets.examples import Examples

EXPLAINED: Final = "long_view"  # the head whose contributions become reasons: a long view is the aim
STARTS_FROM: Final = "long_view"  # the order head learns what this head's order still lacks


class TrainingError(ValueError):
    """The rows cannot train a ranker; the message says what they lack."""


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

    def predict(self, features: np.ndarray) -> Predictions:
        """Predictions of rows float32 [n, F]; bit for bit the same alone or among others."""
        return Predictions(**self.predict_only(features, PREDICTIONS))

    def predict_only(self, features: np.ndarray, names: Collection[str]) -> dict[str, np.ndarray]:
        """Those of PREDICTIONS by name; a head that none of them needs is not run."""
        rows = self._checked(features)
        margin = cache(lambda head: self.margin(head, rows))
        made = {
            "p_click": lambda: self.calibrations["click"](margin("click")),
            "p_long_view": lambda: self.calibrations["long_view"](margin("long_view")),
            "watch_seconds": lambda: self._raw("watch_seconds", rows, "value"),
            "score": lambda: margin("long_view") + margin("order"),
        }
        return {name: made[name]() for name in names}

    def margin(self, head: str, features: np.ndarray) -> np.ndarray:
        """Sum of the head's trees before any link or calibration, float64[n]."""
        return self._raw(head, features, "margin")

    def contributions(self, features: np.ndarray, head: str = EXPLAINED) -> np.ndarray:
        """Exact TreeSHAP values float32 [n, F + 1] of the head's margin; the last column is the bias. Rows add up."""
        matrix = xgb.DMatrix(self._checked(features), nthread=1)
        return self.boosters[head].predict(matrix, pred_contribs=True)

    def explain(self, features: np.ndarray) -> list[str]:
        """For each row the phrase of its largest positive contribution that is true of it."""
        rows = self._checked(features)
        return self._reasons.of(tree_shap.contributions(self._forest, rows), rows)

    def importances(self, head: str = EXPLAINED) -> dict[str, float]:
        """Share of the head's total gain by feature, largest first."""
        gain = self.boosters[head].get_score(importance_type="total_gain")
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
    def _forest(self) -> tree_shap.Forest:
        return tree_shap.forest(self.boosters[EXPLAINED].save_raw("json"))

    @cached_property
    def _reasons(self) -> Reasons:
        return Reasons(self.feature_names, self.medians)

    def _raw(self, head: str, features: np.ndarray, kind: xgboost_calls.Kind) -> np.ndarray:
        # float32 from the booster, one thread: 500 rows take some 1.5 ms a head
        return xgboost_calls.predict(self.boosters[head], self._checked(features), kind).astype(np.float64)

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
) -> XGBoostRanker:
    """Fit every head on the training rows, stop and calibrate it on the validation rows.

    Raises:
        TrainingError: when a label has one class only, or no user has rows to order.
    """
    for part, rows in (("train", train_rows), ("validation", validation_rows)):
        for label in ("click", "long_view"):
            positives = int(getattr(rows, label).sum())
            if not 0 < positives < len(rows):
                raise TrainingError(
                    f"{part} has {len(rows)} impressions, {positives} with {label}: give days that have both"
                )
    boosters: dict[str, xgb.Booster] = {}
    facts: dict[str, Any] = {"train_rows": len(train_rows), "validation_rows": len(validation_rows)}
    quantiles = xgb.QuantileDMatrix(train_rows.features, nthread=threads, max_bin=SHARED["max_bin"])
    held_out = xgb.QuantileDMatrix(validation_rows.features, nthread=threads, ref=quantiles, max_bin=SHARED["max_bin"])
    for name, head in HEADS.items():
        learned, judged = quantiles, held_out
        if head.is_grouped:
            start = boosters[STARTS_FROM]
            learned = _grouped(train_rows, head, threads, start, None)
            judged = _grouped(validation_rows, head, threads, start, learned)
        else:
            learned.set_label(head.target(train_rows))
            judged.set_label(head.target(validation_rows))
        boosters[name], facts[name] = _fit(head, learned, judged, threads=threads, seed=seed, rounds=rounds)
    ranker = XGBoostRanker(
        feature_names=tuple(feature_names),
        fingerprint=fingerprint,
        boosters=boosters,
        calibrations={},
        medians=np.nanmedian(train_rows.features, axis=0).astype(np.float32),
        facts=facts,
    )
    calibrations = {
        name: calibration.fit(ranker.margin(name, validation_rows.features), head.target(validation_rows))
        for name, head in HEADS.items()
        if head.is_calibrated
    }
    return XGBoostRanker(**{**vars(ranker), "calibrations": calibrations})


def _fit(
    head: Head, rows: xgb.DMatrix, held_out: xgb.DMatrix, *, threads: int, seed: int, rounds: int
) -> tuple[xgb.Booster, dict[str, Any]]:
    booster = xgb.train(
        {
            **SHARED,
            **head.params,
            "objective": head.objective,
            "eval_metric": head.metric,
            "nthread": threads,
            "seed": seed,
        },
        rows,
        num_boost_round=rounds,
        evals=[(held_out, "validation")],
        callbacks=[xgb.callback.EarlyStopping(rounds=PATIENCE, save_best=True)],
        verbose_eval=False,
    )
    facts = {"rounds": booster.num_boosted_rounds(), head.metric: float(booster.best_score)}
    booster.set_param({"nthread": 1})
    return booster, facts


def _grouped(
    rows: Examples, head: Head, threads: int, start: xgb.Booster, ref: xgb.DMatrix | None
) -> xgb.QuantileDMatrix:
    """Rows by user, then by slate: both orders are learned. Groups of one grade teach nothing and stay out."""
    relevance = head.target(rows)
    parts = [_mixed_groups(groups, relevance) for groups in (rows.user, rows.slate)]
    index = np.concatenate([part.index for part in parts])
    if not len(index):
        raise TrainingError("no user has two impressions with different outcomes: there is no order to learn")
    offset = int(parts[0].group.max()) + 1 if len(parts[0].group) else 0
    group = np.concatenate([parts[0].group, parts[1].group + offset])
    chosen = rows.features[index]
    return xgb.QuantileDMatrix(
        chosen,
        relevance[index],
        base_margin=start.inplace_predict(chosen, predict_type="margin", validate_features=False),
        qid=group,
        nthread=threads,
        ref=ref,
        max_bin=SHARED["max_bin"],
    )


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
