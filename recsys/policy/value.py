"""What a prediction is worth: the one mapping that turns predictions into the score a slate is ordered by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

# Weight of each prediction, in units of one satisfied watch. A long view is the aim; a click alone is worth less, since
# a click that ends in a skip is a disappointment; a second watched adds a little, so that of two equally likely long
# views the longer one wins (20 s, the typical watch, is a tenth of a long view).
VALUE: Final[Mapping[str, float]] = {
    "p_click": 0.5,
    "p_long_view": 1.0,
    "watch_seconds": 0.005,
}


def value(predictions: Mapping[str, np.ndarray]) -> np.ndarray:
    """Score of each row: sum of weight x prediction over VALUE, float64[n].

    Added up in the mapping's order, row by row: a score does not depend on which other rows share the batch.

    Raises:
        KeyError: when a prediction that VALUE weighs is missing.
    """
    terms = [weight * np.asarray(predictions[name], dtype=np.float64) for name, weight in VALUE.items()]
    score = terms[0]
    for term in terms[1:]:
        score = score + term
    return score
