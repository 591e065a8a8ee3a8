"""One list of what several candidate sources propose, with weights that validation chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from recsys.policy.shelves import GENERAL
from recsys.retrieval.item_index import top_k

FEWEST: Final = 100  # candidates, as many as an answer may have: with fewer, sources of no weight fill up
BEHIND: Final = 1e-9  # what their ranks count beside a weight, of which the smallest is .03


@dataclass(frozen=True)
class Fusion:
    """Weighted reciprocal ranks: an item's score is the sum of weight / (constant + rank) over the sources."""

    weights: Mapping[str, float]
    constant: float = 20.0

    def scores(self, proposals: Mapping[str, np.ndarray], n: int) -> np.ndarray:
        """float64[n] of rows best first by source."""
        total = np.zeros(n)
        for source, rows in proposals.items():
            total[rows] += self.shares(source, len(rows))
        return total

    def shares(self, source: str, length: int) -> np.ndarray:
        """float64[length]: what a source adds to the items of its list."""
        return np.asarray(self.weights.get(source, 0.0) / (self.constant + np.arange(length)))

    def top(self, proposals: Mapping[str, np.ndarray], n: int, k: int) -> np.ndarray:
        """Rows of the k best; equal scores by item id."""
        scores = self.scores(proposals, n)
        best = top_k(scores, k)
        return best[scores[best] > 0]

    def filling(self, proposals: Mapping[str, np.ndarray]) -> Fusion:
        """This fusion, or where it finds fewer than FEWEST, the one in which sources of no weight come behind.

        Validation may leave a weight to the user's own history alone: then a stranger would be shown nothing.
        """
        weighed = [rows for source, rows in proposals.items() if self.weights.get(source, 0.0) > 0]
        if len({row for rows in weighed for row in rows.tolist()}) >= FEWEST:
            return self
        return Fusion({source: self.weights.get(source, 0.0) or BEHIND for source in proposals}, self.constant)


START: Final = Fusion(dict.fromkeys(GENERAL, 1.0))


def fit_fusion(proposals: Sequence[Mapping[str, np.ndarray]], wanted: Sequence[np.ndarray]) -> Fusion:
    """Weights with the highest mean recall@50/100/200 over validation requests: one pass of coordinate ascent.

    Args:
        proposals: of each request, rows by source.
        wanted: of each request, the rows engaged with afterwards.
    """

    judged = [_Judged.of(p, w) for p, w in zip(proposals, wanted, strict=True)]

    def quality(fusion: Fusion) -> float:
        return float(np.mean([request.recall(fusion) for request in judged]))

    alone = {source: quality(Fusion({source: 1.0})) for source in GENERAL}
    order = sorted(GENERAL, key=lambda source: -alone[source])
    weights = dict.fromkeys(GENERAL, 0.0) | {order[0]: 1.0}
    best, reached = Fusion(weights), alone[order[0]]
    for source in order[1:]:
        for weight in (0.03, 0.1, 0.2, 0.4, 0.8):
            trial = Fusion({**best.weights, source: weight})
            if (worth := quality(trial)) > reached:
                best, reached = trial, worth
    for constant in (5.0, 60.0):
        trial = Fusion(best.weights, constant)
        if (worth := quality(trial)) > reached:
            best, reached = trial, worth
    return best


class _Judged(NamedTuple):
    """One request over the rows that any source proposed, so that a trial of the fusion costs 50 us."""

    places: Mapping[str, np.ndarray]  # of each source's rows among those
    is_wanted: np.ndarray  # bool
    wanted: int

    @classmethod
    def of(cls, proposals: Mapping[str, np.ndarray], wanted: np.ndarray) -> _Judged:
        rows = np.unique(np.concatenate(list(proposals.values())))
        places = {source: np.searchsorted(rows, proposed) for source, proposed in proposals.items()}
        return cls(places, np.isin(rows, wanted), len(wanted))

    def recall(self, fusion: Fusion) -> float:
        return mean_recall(self.is_wanted[fusion.top(self.places, len(self.is_wanted), 200)], self.wanted)


def mean_recall(hits: np.ndarray, wanted: int) -> float:
    """Mean of recall@50, @100 and @200 of one request: bool of the first 200, best first, and how many there are."""
    return float(sum(hits[:k].sum() for k in (50, 100, 200)) / (3 * wanted))
