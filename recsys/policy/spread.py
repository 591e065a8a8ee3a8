"""Slates that are spread out: what was shown is damped, what is alike stands apart, and nothing moves far for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

DAMPED: Final = "damped"
LIKE: Final = "like"
REACH: Final = "reach"


@dataclass(frozen=True)
class Spread:
    """How a shelf's slates are spread, in units of the score that orders it. The defaults change nothing.

    Where caps and `reach` leave a place empty, `reach` gives way first, and then the caps.
    """

    damping: float = 0.0  # off a score for each e-fold of the times that the person was shown the item, in any session
    likeness: float = 0.0  # off a score for its cosine with the likest of those above it (MMR, Carbonell 1998)
    reach: int = 10  # places that an item moves for it, up or down, at most

    def __post_init__(self) -> None:
        if self.damping < 0 or self.likeness < 0 or self.reach < 1:
            raise ValueError("spread: damping and likeness are not negative, reach is at least 1")


@dataclass(frozen=True)
class Met:
    """What spreading reads of n candidates."""

    shown: np.ndarray  # float64[n], log(1 + times that the person was shown it)
    vectors: np.ndarray | None = None  # float32[n, d], unit vectors; None: nothing is like another


def spread(
    how: Spread,
    met: Met,
    scores: np.ndarray,
    order: Sequence[int],
    k: int,
    full: Callable[[int], str | None],
    take: Callable[[int], None],
    passed_over: dict[int, str],
) -> tuple[list[int], list[int]]:
    """Candidates for at most k places, first place first, and those that caps left out, best first.

    Args:
        order: candidates by score, best first.
        full: the group of a candidate that has its share; it keeps having it.
        take: told each candidate that is placed.
        passed_over: told why a candidate does not stand where its score would put it.
    """
    worth = scores - how.damping * met.shown
    likest = np.zeros(len(scores))
    rank = {index: place for place, index in enumerate(order)}
    left, chosen, passed = list(order), list[int](), list[int]()
    while left and len(chosen) < k:
        place, near = len(chosen), list[int]()
        for index in list(left):
            if rank[index] > place + how.reach and near:
                break  # where nobody near fits, whoever does comes from afar
            group = full(index)
            if group is None:
                near.append(index)
            else:
                left.remove(index)
                passed.append(index)
                passed_over[index] = group
        if not near:
            break
        best = max(near, key=lambda index: (worth[index] - how.likeness * likest[index], -rank[index]))
        late = rank[near[0]] + how.reach <= place
        pick = near[0] if late else best
        for index in near[: near.index(pick)]:
            passed_over[index] = DAMPED if worth[index] < worth[pick] else LIKE
        if late and pick != best:
            passed_over.setdefault(best, REACH)
        left.remove(pick)
        chosen.append(pick)
        take(pick)
        if how.likeness and met.vectors is not None:
            likest = np.maximum(likest, np.einsum("nd,d->n", met.vectors, met.vectors[pick]).astype(np.float64))
    return chosen, passed
