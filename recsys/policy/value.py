"""What a prediction is worth: the one mapping that turns predictions into the score a slate is ordered by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

# Weight of each of a ranker's predictions (recsys.ranking.ranker.Predictions). `score` is the long-view margin plus an
# ordering head that learned graded relevance within users and slates, so it stands alone. Within slates it orders about
# as well as p_long_view on the simulator: no more is claimed, and a weight beside it has to be earned on validation
# days.
VALUE: Final[Mapping[str, float]] = {"score": 1.0}


def value(predictions: Mapping[str, np.ndarray], weights: Mapping[str, float] = VALUE) -> np.ndarray:
    """Score of each row: sum of weight x prediction, float64[n].

    Added up in the mapping's order, row by row: a score does not depend on which other rows share the batch.

    Raises:
        KeyError: when a weighted prediction is missing.
    """
    terms = [weight * np.asarray(predictions[name], dtype=np.float64) for name, weight in weights.items()]
    score = terms[0]
    for term in terms[1:]:
        score = score + term
    return score
