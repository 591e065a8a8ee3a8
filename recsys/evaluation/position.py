"""What a ranker believes of the place in a slate: the log odds of a click that a place costs, all else equal."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from recsys.ranking.ranker import Ranker
from recsys.training_sets.inputs import Inputs

SLOT: Final = "slot"
ROWS: Final = 2_000  # a mean log odds over so many rows has a standard error of 0.02
MAX_SLOTS: Final = 12


def position_curve(ranker: Ranker, rows: pl.DataFrame) -> dict[str, float]:
    """Mean log odds of a click at each place, less that at the first, by place; empty where places or
    clicks are not known.

    Each row is asked as if it stood at every place: what differs is the place alone, not what is shown there.
    """
    if SLOT not in ranker.feature_names or SLOT not in rows.columns or "click" not in ranker.labels:
        return {}
    places = np.unique(rows[SLOT].to_numpy())
    places = places[places >= 0][:MAX_SLOTS]
    if len(places) < 2:
        return {}
    shown = Inputs.of(rows[:: max(1, rows.height // ROWS)], ranker.feature_names)
    features = shown.features.copy()
    column = ranker.feature_names.index(SLOT)
    odds = []
    for place in places:
        features[:, column] = place
        p = ranker.predict_only(shown.with_features(features), ["p_click"])["p_click"]
        odds.append(float(np.mean(np.log(p) - np.log1p(-p))))
    return {str(int(place)): value - odds[0] for place, value in zip(places, odds, strict=True)}
