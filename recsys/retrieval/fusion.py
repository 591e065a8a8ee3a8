"""One list of what several candidate sources propose, with weights that validation chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from recsys.compiled import njit
from recsys.policy.shelves import GENERAL
from recsys.retrieval.top import fused

DEPTHS: Final = (50, 100, 200)
FEWEST: Final = 100  # candidates, as many as an answer may have: with fewer, sources of no weight fill up
LEAST: Final = 0.03  # weight of a source that proposes, where the best one has 1
NEW: Final = "fresh"  # the source of what nobody met yet
NEW_WEIGHTS: Final = (LEAST, 0.06, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4)
OFTEN: Final = 50  # times that an item was met which is known well
PARITY: Final = 0.9  # of what is known well, as much of what is new is to be found
BEARS: Final = 0.1  # that recall may fall for it, times the share of what is new among what is wanted
BEHIND: Final = 1e-9  # what their ranks count beside a weight, of which the smallest is LEAST


@dataclass(frozen=True)
class Fusion:
    """Weighted reciprocal ranks: an item's score is the sum of weight / (constant + rank) over the sources."""

    weights: Mapping[str, float]
    constant: float = 20.0

    def fused(
        self, proposals: Mapping[str, np.ndarray], n: int, k: int, places: Mapping[str, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """See `top.fused`: the k best of rows below n, best first by source."""
        weights = [self.weights.get(source, 0.0) for source in proposals]
        kept = [(places or {}).get(source, 0) for source in proposals]
        return fused(list(proposals.values()), weights, self.constant, kept, n, k)

    def top(self, proposals: Mapping[str, np.ndarray], n: int, k: int) -> np.ndarray:
        """Rows of the k best; equal scores by item id."""
        return self.fused(proposals, n, k)[0]

    def filling(self, proposals: Mapping[str, np.ndarray]) -> Fusion:
        """This fusion, or where it finds fewer than FEWEST, the one in which sources of no weight come behind.

        Validation may leave a weight to the user's own history alone: then a stranger would be shown nothing.
        """
        weighed = [rows for source, rows in proposals.items() if self.weights.get(source, 0.0) > 0]
        if any(len(rows) >= FEWEST for rows in weighed):  # a source proposes nothing twice
            return self
        if len({row for rows in weighed for row in rows.tolist()}) >= FEWEST:
            return self
        return Fusion({source: self.weights.get(source, 0.0) or BEHIND for source in proposals}, self.constant)


START: Final = Fusion(dict.fromkeys(GENERAL, 1.0))


def fit_fusion(
    proposals: Sequence[Mapping[str, np.ndarray]], wanted: Sequence[np.ndarray], met: np.ndarray | None = None
) -> Fusion:
    """Weights with the highest mean recall@50/100/200 over validation requests: one pass of coordinate ascent.

    A source that brings nothing by recall still proposes, with LEAST, unless recall falls beyond chance: recall counts
    what a policy had shown, and the ranker finds better items in what more than one source proposes. With two towers
    alone the best ten of the candidates were worth .815 to .821 in P(long view), with others beside them .828 to .830
    (validation days of the default world, six towers).

    Args:
        proposals: of each request, rows by source.
        wanted: of each request, the rows engaged with afterwards.
        met: how often each row was met before the requests, int64[n]; what is new then has its places (`_with_new`)
    """

    judged = _Judged.of(proposals, wanted)

    def quality(fusion: Fusion) -> float:
        return float(np.mean(judged.recalls(fusion)))

    alone = {source: quality(Fusion({source: 1.0})) for source in GENERAL}
    order = sorted(GENERAL, key=lambda source: -alone[source])
    weights = dict.fromkeys(GENERAL, 0.0) | {order[0]: 1.0}
    best, reached = Fusion(weights), alone[order[0]]
    for source in order[1:]:
        for weight in (LEAST, 0.1, 0.2, 0.4, 0.8):
            trial = Fusion({**best.weights, source: weight})
            if (worth := quality(trial)) > reached:
                best, reached = trial, worth
    for constant in (5.0, 60.0):
        trial = Fusion(best.weights, constant)
        if (worth := quality(trial)) > reached:
            best, reached = trial, worth
    highest = judged.recalls(best)
    for source in order:
        if not best.weights[source]:
            trial = Fusion({**best.weights, source: LEAST}, best.constant)
            lost = highest - judged.recalls(trial)
            if lost.mean() <= lost.std() / np.sqrt(len(lost)):
                best = trial
    return best if met is None else _with_new(best, judged, proposals, wanted, met)


def _with_new(
    best: Fusion,
    judged: _Judged,
    proposals: Sequence[Mapping[str, np.ndarray]],
    wanted: Sequence[np.ndarray],
    met: np.ndarray,
) -> Fusion:
    """The smallest weight of what is new at which it is found nearly as often as what is known well, as far as recall
    bears it. No model can know how good an item is that nobody was shown, so the known ones stand ahead of it for good.
    What was published after a request counts as not found (a quarter of what is new on the validation days of the
    default world): so much more is found of the rest, a margin that towers learned anew need.
    """
    new, known = (_Judged.of(proposals, [rows[chosen[rows]] for rows in wanted]) for chosen in (met == 0, met >= OFTEN))
    if not new.wanted.sum() or not known.wanted.sum():
        return best
    least = judged.recalls(best).mean() - BEARS * new.wanted.sum() / judged.wanted.sum()
    for weight in NEW_WEIGHTS:
        if new.found(best) >= PARITY * known.found(best):
            break
        trial = Fusion({**best.weights, NEW: weight}, best.constant)
        if judged.recalls(trial).mean() < least:
            break
        best = trial if weight > best.weights[NEW] else best
    return best


class _Judged(NamedTuple):
    """Requests, each over the rows that any source proposed, so that a trial of the fusion costs 5 us a request."""

    sources: tuple[str, ...]
    bounds: np.ndarray  # int64[requests, sources + 1]: where in `place` each source's rows are
    place: np.ndarray  # int64, of a proposed row among those of its request
    sizes: np.ndarray  # int64[requests]: how many rows are proposed
    asked: np.ndarray  # int64[requests + 1]: where in `sought` each request's rows are
    sought: np.ndarray  # int64, places of what is wanted and proposed
    wanted: np.ndarray  # int64[requests]: how many rows are wanted

    @classmethod
    def of(cls, proposals: Sequence[Mapping[str, np.ndarray]], wanted: Sequence[np.ndarray]) -> _Judged:
        sources = tuple(dict.fromkeys(source for proposed in proposals for source in proposed))
        none = np.empty(0, np.int64)
        lists = [[proposed.get(source, none) for source in sources] for proposed in proposals]
        rows = [np.unique(np.concatenate(each)) for each in lists]
        sought = [np.flatnonzero(np.isin(known, want)) for known, want in zip(rows, wanted, strict=True)]
        ends = np.cumsum([[0, *map(len, each)] for each in lists]).reshape(len(lists), -1)
        return cls(
            sources,
            ends,
            np.concatenate([np.searchsorted(k, np.concatenate(each)) for k, each in zip(rows, lists, strict=True)]),
            np.array([len(known) for known in rows]),
            np.cumsum([0, *map(len, sought)]),
            np.concatenate(sought),
            np.array([len(want) for want in wanted]),
        )

    def recalls(self, fusion: Fusion, depths: tuple[int, ...] = DEPTHS) -> np.ndarray:
        """Mean recall at those depths of each request, float64[requests]; 0 where nothing is wanted."""
        weights = np.array([fusion.weights.get(source, 0.0) for source in self.sources])
        _, *known = self
        return np.asarray(_recalls(weights, fusion.constant, np.array(depths), *known))

    def found(self, fusion: Fusion) -> float:
        """Share of all that is wanted that is among the first 200."""
        return float(self.recalls(fusion, DEPTHS[-1:]) @ self.wanted / self.wanted.sum())


@njit(cache=True, nogil=True)
def _recalls(weights, constant, depths, bounds, place, sizes, asked, sought, wanted):  # type: ignore[no-untyped-def]
    """The rank of a row is how many are ahead of it, so nothing is sorted; equal scores are ordered as by `top_k`."""
    recalls = np.zeros(len(sizes))
    for r in range(len(sizes)):
        total = np.zeros(sizes[r])
        for source in range(len(weights)):
            for i in range(bounds[r, source], bounds[r, source + 1]):
                total[place[i]] += weights[source] / (constant + (i - bounds[r, source]))
        hits = 0
        for w in sought[asked[r] : asked[r + 1]]:
            if total[w] > 0.0:
                ahead = 0
                for row in range(sizes[r]):
                    ahead += total[row] > total[w] or (total[row] == total[w] and row < w)
                for depth in depths:
                    hits += ahead < depth
        recalls[r] = hits / max(len(depths) * wanted[r], 1)
    return recalls


def mean_recall(hits: np.ndarray, wanted: int) -> float:
    """Mean of recall at DEPTHS of one request: bool of the first 200, best first, and how many there are."""
    return float(sum(hits[:k].sum() for k in DEPTHS) / (len(DEPTHS) * wanted))
