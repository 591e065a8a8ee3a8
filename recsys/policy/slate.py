"""From scored candidates to what is shown: the best k, with no creator or category taking the whole slate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

UNIT: Final = "unit"
SURE: Final = "sure"


def select(
    scores: np.ndarray,
    item_keys: np.ndarray,
    k: int,
    groups: Mapping[str, np.ndarray] | None = None,
    caps: Mapping[str, float] | None = None,
    passed_over: dict[int, str] | None = None,
    units: np.ndarray | None = None,
    sure: np.ndarray | None = None,
) -> np.ndarray:
    """Indices of at most k candidates, best score first; equal scores are ordered by item key.

    Of candidates of one unit (the episodes of a show) the best takes its place, and the others are none. Those that
    are sure of a place come before all others, and caps do not hold for them.

    A candidate is passed over when its group (a creator, a category) already has its share of the k places; group 0
    means unknown and has no cap. When the caps would leave places empty they are filled by the best passed over: a
    slate is never shorter than it could be.

    Args:
        scores: float64[n]; must be finite.
        item_keys: int64[n].
        groups: group name -> key of each candidate's group, int64[n].
        caps: group name -> largest share of the k places.
        passed_over: told, for each candidate that was passed over, the group that had its share; UNIT where another of
            its unit has the place, SURE where one that is sure of a place has it in spite of its score.
        units: int64[n].
        sure: bool[n].
    """
    sure = np.zeros(len(scores), bool) if sure is None else sure
    order = np.lexsort((item_keys, -scores, ~sure))
    if units is not None:
        _, first = np.unique(units[order], return_index=True)
        if passed_over is not None:
            passed_over.update(dict.fromkeys(np.delete(order, first).tolist(), UNIT))
        order = order[np.sort(first)]
    limits = {name: max(1, math.floor(share * k)) for name, share in (caps or {}).items()}
    taken: dict[tuple[str, int], int] = {}
    chosen: list[int] = []
    passed: list[int] = []
    for index in order:
        if len(chosen) == k:
            break
        places = [(name, int(groups[name][index])) for name in limits] if groups else []
        full = next((name for name, key in places if key != 0 and taken.get((name, key), 0) >= limits[name]), None)
        if full is not None and not sure[index]:
            passed.append(int(index))
            if passed_over is not None:
                passed_over[int(index)] = full
            continue
        chosen.append(int(index))
        for place in places:
            taken[place] = taken.get(place, 0) + 1
    slate = np.array(chosen + passed[: k - len(chosen)], dtype=np.int64)
    if passed_over is not None and sure[slate].any():
        better = set(order[scores[order] > scores[slate].min()].tolist()) - {*slate.tolist(), *passed_over}
        passed_over.update(dict.fromkeys(better, SURE))
    return slate[np.lexsort((item_keys[slate], -scores[slate]))]
