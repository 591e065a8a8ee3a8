"""Slates that are spread out: what was shown is damped, what is alike stands apart, and nothing moves far for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.experiments.assignment import place_of

DAMPED: Final = "damped"
MIXED: Final = "mixed"
LIKE: Final = "like"
REACH: Final = "reach"


@dataclass(frozen=True)
class Spread:
    """How a shelf's slates are spread, in units of the score that orders it. The defaults change nothing.

    Where caps and `reach` leave a place empty, `reach` gives way first, and then the caps.
    """

    damping: float = 0.0  # off a score for each e-fold of the times that the person was shown the item, in any session
    likeness: float = 0.0  # off a score for its cosine with the likest of those above it (MMR, Carbonell 1998)
    mix: float = 0.0  # between a person's first genre and their last, by a hash: each leans to others, at every request
    reach: int = 10  # places that an item moves for it, up or down, at most

    def __post_init__(self) -> None:
        if min(self.damping, self.likeness, self.mix) < 0 or self.reach < 1:
            raise ValueError("spread: damping, likeness and mix are not negative, reach is at least 1")


@dataclass(frozen=True)
class Met:
    """What spreading reads of n candidates."""

    shown: np.ndarray  # float64[n], log(1 + times that the person was shown it)
    vectors: np.ndarray | None = None  # float32[n, d], unit vectors; None: nothing is like another
    lean: np.ndarray | None = None  # float64[n], of `leaning`; None: to nothing


def leaning(user_id: str, genres: np.ndarray) -> np.ndarray:
    """Where each genre, int64[n], stands for a person by a hash of both, in [-.5, .5): float64[n]. An unknown one (0)
    stands in the middle.
    """
    known, place = np.unique(genres, return_inverse=True)
    lean = [place_of(f"genre {genre}", user_id) - 0.5 if genre else 0.0 for genre in known.tolist()]
    return np.array(lean, np.float64)[place]


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
    damped = scores - how.damping * met.shown
    worth = damped if met.lean is None else damped + how.mix * met.lean
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
            lost = MIXED if worth[index] < worth[pick] else LIKE
            passed_over[index] = DAMPED if damped[index] < damped[pick] else lost
        if late and pick != best:
            passed_over.setdefault(best, REACH)
        left.remove(pick)
        chosen.append(pick)
        take(pick)
        if how.likeness and met.vectors is not None:
            likest = np.maximum(likest, np.einsum("nd,d->n", met.vectors, met.vectors[pick]).astype(np.float64))
    return chosen, passed
