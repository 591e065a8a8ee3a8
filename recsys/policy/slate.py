"""From scored candidates to what is shown: the best k, with no creator or category taking the whole slate."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np


def select(
    scores: np.ndarray,
    item_keys: np.ndarray,
    k: int,
    groups: Mapping[str, np.ndarray] | None = None,
    caps: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Indices of at most k candidates, best score first; equal scores are ordered by item key.

    A candidate is passed over when its group (a creator, a category) already has its share of the k places; group 0
    means unknown and has no cap. When the caps would leave places empty they are filled by the best passed over: a
    slate is never shorter than it could be.

    Args:
        scores: float64[n]; must be finite.
        item_keys: int64[n].
        groups: group name -> key of each candidate's group, int64[n].
        caps: group name -> largest share of the k places.
    """
    order = np.lexsort((item_keys, -scores))
    limits = {name: max(1, math.floor(share * k)) for name, share in (caps or {}).items()}
    taken: dict[tuple[str, int], int] = {}
    chosen: list[int] = []
    passed: list[int] = []
    for index in order:
        if len(chosen) == k:
            break
        places = [(name, int(groups[name][index])) for name in limits] if groups else []
        if any(key != 0 and taken.get((name, key), 0) >= limits[name] for name, key in places):
            passed.append(int(index))
            continue
        chosen.append(int(index))
        for place in places:
            taken[place] = taken.get(place, 0) + 1
    slate = np.array(chosen + passed[: k - len(chosen)], dtype=np.int64)
    return slate[np.lexsort((item_keys[slate], -scores[slate]))]
