"""Who is served how well: the challenger on each shelf, for new users, on each device; and who gets shown at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from recsys.evaluation.bootstrap import Resamples, interval
from recsys.ranking.ranker import Predictions
from recsys.training_sets.labels import PROBABILITIES, Label

LEAST_ROWS: Final = 300  # of a slice, and LEAST_OF_A_CLASS with and without the label: fewer judge nobody
LEAST_OF_A_CLASS: Final = 30
NEW_USER: Final = 10  # exposures before: a user of fewer is new
FRESH_DAYS: Final = 7.0
TOP: Final = 3  # places of a slate that count as shown


def masks(test: pl.DataFrame, labels: Sequence[Label] = PROBABILITIES) -> dict[str, np.ndarray]:
    """bool[n] by name of the slice; slices that are too small are left out."""
    by_slice = {
        f"{column} {value}": (test[column] == value).fill_null(False).to_numpy()
        for column in ("shelf", "device")
        if column in test.columns
        for value in test[column].drop_nulls().unique().sort().to_list()
    }
    if "user_seen_log_all" in test.columns:
        by_slice["new users"] = test["user_seen_log_all"].to_numpy() < np.log1p(NEW_USER)
    return {name: mask for name, mask in by_slice.items() if large_enough(test.filter(pl.Series(mask)), labels)}


def large_enough(rows: pl.DataFrame, labels: Sequence[Label]) -> bool:
    """Whether these rows judge anybody: enough of them, with and without each label."""
    with_label = [int((rows[label] > 0).sum()) for label in labels]
    return rows.height >= LEAST_ROWS and all(min(n, rows.height - n) >= LEAST_OF_A_CLASS for n in with_label)


def judged(
    test: pl.DataFrame,
    predicted: Mapping[str, Predictions],
    challenger: str,
    previous: str | None,
    labels: Sequence[Label] = PROBABILITIES,
) -> dict[str, Any]:
    """By slice: rows, predicted over observed rate of each label with its 95 % interval, the same rate of all others
    (None where they are too few to be a slice); and, where there is a previous champion, the paired interval of
    challenger minus previous in AUC. Users are resampled whole, and alike for both. Intervals are those of `claims`
    looked at together: of 24 at 95 % each, one misses the truth on most days.
    """
    figures: dict[str, Any] = {}
    parts = masks(test, labels)
    claims = max(1, len(parts) * len(labels) * (1 if previous is None else 2))
    for name, mask in parts.items():
        rows, others = test.filter(pl.Series(mask)), test.filter(pl.Series(~mask))
        comparable = large_enough(others, labels)
        drawn = Resamples.draw(rows["user_key"].to_numpy())
        told: dict[str, Any] = {"rows": rows.height, "users": rows["user_key"].n_unique(), "claims": claims}
        for label in labels:
            truth = rows[label].to_numpy().astype(np.float64)
            probability = _probability(predicted[challenger], label)
            mine = probability[mask]
            told[f"others_{label}"] = float(probability[~mask].sum() / others[label].sum()) if comparable else None
            told[f"calibration_{label}"] = [
                float(mine.sum() / truth.sum()),
                *interval(drawn.ratio(mine, truth), claims),
            ]
            if previous is not None:
                theirs = _probability(predicted[previous], label)[mask]
                told[f"auc_{label}"] = list(interval(drawn.auc(truth, mine) - drawn.auc(truth, theirs), claims))
        figures[name] = told
    return figures


def exposure(
    test: pl.DataFrame, slate: np.ndarray, scores: Mapping[str, np.ndarray], models: Sequence[str], claims: int = 1
) -> dict[str, dict[str, Any]]:
    """Of the TOP places of each slate, the share that goes to small creators and to fresh items with its interval, of
    `claims` that hold together in 95 %, by model; `offered` is their share of all rows. Small creators are the less
    shown half of the creators.
    """
    groups = _providers(test)
    if not groups or len(_top(slate, np.zeros(len(slate)))) < TOP * LEAST_OF_A_CLASS:
        return {}
    shares: dict[str, dict[str, Any]] = {"offered": {name: float(mask.mean()) for name, mask in groups.items()}}
    drawn = Resamples.draw(test["user_key"].to_numpy())
    for model in models:
        shown = np.zeros(len(slate))
        shown[_top(slate, scores[model])] = 1.0
        shares[model] = {
            name: [float(mask[shown > 0].mean()), *interval(drawn.ratio(mask * shown, shown), claims)]
            for name, mask in groups.items()
        }
    return shares


def _providers(test: pl.DataFrame) -> dict[str, np.ndarray]:
    groups = {}
    if "creator_key" in test.columns:
        shown = test.group_by("creator_key").len().sort("len", "creator_key")
        small = shown.head(shown.height // 2)["creator_key"]
        groups["small creators"] = test["creator_key"].is_in(small.implode()).to_numpy()
    if "item_age_days" in test.columns:
        age = test["item_age_days"].to_numpy()
        groups["fresh items"] = (age >= 0) & (age < np.log1p(FRESH_DAYS))
    return {name: mask for name, mask in groups.items() if mask.sum() >= LEAST_OF_A_CLASS}


def _top(slate: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Rows among the TOP of their slate, of slates that had a choice."""
    order = np.lexsort((-score, slate))
    _, start, size = np.unique(slate[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(start, size)
    return order[(rank < TOP) & np.repeat(size > TOP, size)]


def _probability(predicted: Predictions, label: str) -> np.ndarray:
    return predicted.p_click if label == "click" else predicted.p_long_view
