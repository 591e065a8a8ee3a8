"""The same figures for parts of the test rows: who and what a model serves worse, and whether a day stands out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from recsys.evaluation import metrics
from recsys.ranking.ranker import Predictions

LIGHT_IMPRESSIONS: Final = 20  # a user with fewer of them is light: a session or two
NEW_ITEM_DAYS: Final = 7
LARGEST_CATEGORIES: Final = 5
MIN_ROWS: Final = 200  # below this an AUC moves by 0.04 by chance alone, and a cohort says nothing

Masks = Mapping[str, Mapping[str, np.ndarray]]  # cohort -> its value -> bool[n]


def cohorts(rows: pl.DataFrame, categories: Mapping[int, str] | None = None) -> Masks:
    """Test rows by user activity, item age, device and category, each as known at the row's own instant.

    Args:
        rows: training-set rows; a cohort whose columns are missing is left out.
        categories: names by category_key; a key without one goes by its number.
    """
    masks: dict[str, dict[str, np.ndarray]] = {}
    if {"user_seen_log_all", "user_impressions_log_all"} <= set(rows.columns):
        seen = np.expm1(np.maximum(rows["user_seen_log_all"].to_numpy(), rows["user_impressions_log_all"].to_numpy()))
        masks["user"] = {
            "new": seen < 0.5,
            "light": (seen >= 0.5) & (seen < LIGHT_IMPRESSIONS),
            "heavy": seen >= LIGHT_IMPRESSIONS,
        }
    if "item_age_days" in rows.columns:
        days = np.expm1(rows["item_age_days"].to_numpy())  # -1 when unknown, so below 0 here
        masks["item"] = {"new": (days >= 0) & (days < NEW_ITEM_DAYS), "old": days >= NEW_ITEM_DAYS, "undated": days < 0}
    if "device" in rows.columns:
        device = rows["device"].fill_null("unknown").to_numpy()
        masks["device"] = {str(name): device == name for name in np.unique(device)}
    if "category_key" in rows.columns:
        masks["category"] = _largest(rows["category_key"].to_numpy(), categories or {})
    return {cohort: {name: mask for name, mask in values.items() if mask.any()} for cohort, values in masks.items()}


def windows(rows: pl.DataFrame) -> Masks:
    """Test rows by local day: a model that ages loses on the later ones."""
    date = rows["date"].to_numpy()
    return {"day": {str(day): date == day for day in np.unique(date)}}


def by_cohort(
    masks: Masks, users: np.ndarray, labels: Mapping[str, np.ndarray], predictions: Predictions
) -> dict[str, dict[str, dict[str, Any]]]:
    """Figures of each cohort with at least MIN_ROWS rows; the others only say how many they have."""
    probability = {"click": predictions.p_click, "long_view": predictions.p_long_view}
    figures: dict[str, dict[str, dict[str, Any]]] = {}
    for cohort, values in masks.items():
        figures[cohort] = {}
        for name, mask in values.items():
            told: dict[str, Any] = {"rows": int(mask.sum())}
            if told["rows"] >= MIN_ROWS:
                for label, truth in labels.items():
                    y, p = truth[mask], probability[label][mask]
                    told[label] = {
                        "auc": metrics.auc(y, p),
                        "log_loss": metrics.log_loss(y, p),
                        "ndcg@5": metrics.ndcg_at_k(users[mask], y, predictions.score[mask], 5),
                        "calibration_error": metrics.calibration_error(y, p),
                        "mean_prediction": float(p.mean()),
                        "mean_label": float(y.mean()),
                    }
            figures[cohort][name] = told
    return figures


def _largest(keys: np.ndarray, names: Mapping[int, str]) -> dict[str, np.ndarray]:
    values, counts = np.unique(keys, return_counts=True)
    largest = values[np.argsort(-counts, kind="stable")][:LARGEST_CATEGORIES]
    masks = {str(names.get(int(key), key)): keys == key for key in largest}
    return {**masks, "others": ~np.isin(keys, largest)}
