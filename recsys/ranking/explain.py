"""Contributions of features into one short reason that is true of the row.

A feature gives a reason only when it raised the prediction and its own value bears the words out: "you often watch
this category" needs an affinity above that of the typical training row. Features of the user or the moment alone move
every candidate of a slate alike, so they are no reason for one of them and have no phrase.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from recsys.features.catalog import DEFAULTS


@dataclass(frozen=True)
class Phrase:
    """Words for the features whose name matches, said when the value lies on `side` of the training median."""

    pattern: str
    words: str
    side: Literal["above", "below"] = "above"


# First match wins. "this category" and "this creator" are there for the service to replace by their names.
PHRASES: Final = (
    Phrase(r"user_item_(clicks|all_long_views)_log_all|user_item_(ctr|long_view_rate)_all", "you enjoyed it before"),
    Phrase(r"user_creator_(affinity|seen)_.*", "you often watch this creator"),
    Phrase(r"user_creator_.*(ctr|long_view_rate)_.*", "you usually enjoy this creator"),
    Phrase(r"user_category_(affinity|seen)_.*", "you often watch this category"),
    Phrase(r"user_category_.*(ctr|long_view_rate)_.*", "you usually enjoy this category"),
    Phrase(r"item_(clicks|impressions)_trend_.*", "it is rising right now"),
    Phrase(r"item_popularity_log_1h|item_ctr_1h", "popular in the last hour"),
    Phrase(r"item_(popularity_log|ctr|long_view_rate)_24h", "popular today"),
    Phrase(r"item_.*long_view_rate_.*|item_mean_watch_.*", "people keep watching it"),
    Phrase(r"item_(ctr|like_rate)_.*", "people like opening it"),
    Phrase(r"item_(popularity|seen|impressions)_log_.*", "many people watch it"),
    Phrase(r"item_skip_rate_.*", "few people skip it", side="below"),
    Phrase(r"item_age_days", "it is new", side="below"),
    Phrase(r"creator_.*(ctr|rate)_.*", "people enjoy this creator"),
    Phrase(r"category_.*(ctr|rate|trend)_.*", "this category is doing well"),
)
OTHERWISE: Final = "a good match overall"


def phrase_of(feature: str) -> Phrase | None:
    """The phrase of a feature, None when it can give no reason."""
    return next((phrase for phrase in PHRASES if re.fullmatch(phrase.pattern, feature)), None)


class Reasons:
    """Reasons over a fixed list of features, with the median of each over the training rows, float32 [F]; `otherwise`
    is said of rows that no feature gives a reason for.
    """

    def __init__(self, feature_names: Sequence[str], medians: np.ndarray, otherwise: str = OTHERWISE) -> None:
        self.otherwise = otherwise
        self.phrases = [phrase_of(name) for name in feature_names]
        self.medians = medians
        self._unknown = np.array([DEFAULTS.get(name, np.nan) for name in feature_names], dtype=np.float32)
        self._sign = np.array(
            [0 if phrase is None else 1 if phrase.side == "above" else -1 for phrase in self.phrases], dtype=np.float32
        )

    def of(self, contributions: np.ndarray, features: np.ndarray) -> list[str]:
        """One phrase a row; contributions and features float32 [n, F]."""
        is_true = (features - self.medians) * self._sign > 0  # NaN is never true
        is_true &= features != self._unknown  # nor is what stands for not known: a stranger has no habits
        told = np.where(is_true, contributions, -np.inf)
        best = told.argmax(axis=1)
        strongest = told[np.arange(len(told)), best]
        told_best = zip(best, strongest, strict=True)
        return [self._words(column) if value > 0 else self.otherwise for column, value in told_best]

    def _words(self, column: int) -> str:
        phrase = self.phrases[column]
        return self.otherwise if phrase is None else phrase.words
