"""Contributions of features into one short reason that is true of the row.

A reason is the key of a template, which the service has in several languages (recsys/serving/words). A feature gives
one only when it raised the prediction and its own value bears the words out: `feature.watch_category` needs an affinity
above that of the typical training row. Features of the user or the moment alone move every candidate of a slate alike,
so they are no reason for one of them and have no phrase.
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
    """The reason of the features whose name matches, given when the value lies on `side` of the training median."""

    pattern: str
    key: str
    side: Literal["above", "below"] = "above"


# First match wins.
PHRASES: Final = (
    Phrase(r"user_item_(clicks|all_long_views)_log_all|user_item_(ctr|long_view_rate)_all", "feature.enjoyed_before"),
    Phrase(r"user_creator_(affinity|seen)_.*", "feature.watch_creator"),
    Phrase(r"user_creator_.*(ctr|long_view_rate)_.*", "feature.enjoy_creator"),
    Phrase(r"user_category_(affinity|seen)_.*", "feature.watch_category"),
    Phrase(r"user_category_.*(ctr|long_view_rate)_.*", "feature.enjoy_category"),
    Phrase(r"item_(clicks|impressions)_trend_.*", "feature.rising"),
    Phrase(r"item_popularity_log_1h|item_ctr_1h", "feature.last_hour"),
    Phrase(r"item_(popularity_log|ctr|long_view_rate)_24h", "feature.today"),
    Phrase(r"item_.*long_view_rate_.*|item_mean_watch_.*", "feature.kept_watching"),
    Phrase(r"item_(ctr|like_rate)_.*", "feature.opened"),
    Phrase(r"item_(popularity|seen|impressions)_log_.*", "feature.many"),
    Phrase(r"item_skip_rate_.*", "feature.few_skip", side="below"),
    Phrase(r"item_age_days", "feature.new", side="below"),
    Phrase(r"creator_.*(ctr|rate)_.*", "feature.creator_enjoyed"),
    Phrase(r"category_.*(ctr|rate|trend)_.*", "feature.category_well"),
)
OTHERWISE: Final = "feature.otherwise"


def phrase_of(feature: str) -> Phrase | None:
    """The phrase of a feature, None when it can give no reason."""
    return next((phrase for phrase in PHRASES if re.fullmatch(phrase.pattern, feature)), None)


class Reasons:
    """Reasons over a fixed list of features, with the median of each over the training rows, float32 [F]; `otherwise`
    is that of rows that no feature gives one for.
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
        """The key of one phrase a row; contributions and features float32 [n, F]."""
        is_true = (features - self.medians) * self._sign > 0  # NaN is never true
        is_true &= features != self._unknown  # nor is what stands for not known: a stranger has no habits
        told = np.where(is_true, contributions, -np.inf)
        best = told.argmax(axis=1)
        strongest = told[np.arange(len(told)), best]
        told_best = zip(best, strongest, strict=True)
        return [self._key(column) if value > 0 else self.otherwise for column, value in told_best]

    def _key(self, column: int) -> str:
        phrase = self.phrases[column]
        return self.otherwise if phrase is None else phrase.key
