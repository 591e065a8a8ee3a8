"""Places of a slate that are left to chance: drawn by the request's own key, with the exact chance of what was drawn.

A draw is a MAC (keyed BLAKE2b, by the registry's secret) of our request id, the place and the item: nobody outside can
foretell it, and a replay draws the same. Which places explore is such a hash too, of the request alone. They are filled
one after another, so a propensity is the chance of that item at that place, given that the place explores, the other
places as they stood and the pool. A place that does not explore, and one whose pool is what stood there alone, has 1.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final, Literal

import numpy as np

from recsys.compiled import njit
from recsys.events import DAY_MS

How = Literal["uniform", "softmax", "thompson", "epsilon"]
RANKED: Final = "ranked"  # the policy that leaves nothing to chance
MOST: Final = 50  # items in a pool
# of the integral of a Thompson draw: 64 panels of 16 nodes over 8 deviations on each side
_PANELS, _NODES, _WIDE = 64, 16, 8.0


@dataclass(frozen=True)
class Exploration:
    """How much of a shelf's slates explores, from which pool, and how."""

    share: float = 0.05  # of the places, over all slates
    how: How = "softmax"
    pool: int = 4
    least: float = 0.8  # of the displaced item's chance of a long view
    temperature: float = 0.5  # softmax: scores that differ by so much differ by e in their odds
    deviation: float = 0.5  # Thompson and UCB: standard deviation of the score of an item that nobody was shown
    epsilon: float = 0.5  # epsilon: chance that the pool's best stands there all the same
    optimism: float = 1.0  # UCB: deviations above its score that an item is hoped to be worth
    fresh: float = 1.0  # at most such a part of a pool is items that get in by that hope, ...
    fresh_days: float = 7.0  # ... up to that age, ...
    fresh_budget: int = 30  # ... until they were shown so often, to anybody: their rate is smoothed with 20

    def __post_init__(self) -> None:
        shares = (self.share, self.epsilon, self.fresh)
        if not (all(0 <= share <= 1 for share in shares) and 1 <= self.pool <= MOST):
            raise ValueError(f"exploration: share, epsilon and fresh are from 0 to 1, a pool from 1 to {MOST}")
        if not (self.temperature > 0 and self.deviation > 0):
            raise ValueError("exploration: temperature and deviation are over 0")

    @functools.cached_property
    def policy(self) -> str:
        """Names this policy, and none that differs in anything."""
        text = json.dumps(asdict(self), sort_keys=True)
        return f"{self.how}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


@dataclass(frozen=True)
class Scored:
    """The candidates of a request; arrays have one entry each."""

    scores: np.ndarray  # float64[n]
    item_keys: np.ndarray  # int64[n]
    impressions: np.ndarray  # float64[n], how often anybody was shown it
    age_days: np.ndarray  # float64[n]; nan or below 0 where nobody knows
    units: np.ndarray  # int64[n], what takes a place once: the item, or its show
    groups: Mapping[str, np.ndarray]  # group name -> int64[n], 0 unknown
    caps: Mapping[str, float]  # group name -> largest share of the places
    sure: np.ndarray | None = None  # bool[n]: what keeps its place whatever its score; None: nothing


@dataclass(frozen=True)
class Drawn:
    """A slate, best place first, and by which chance each item stands in its place."""

    chosen: np.ndarray  # int64[k], of the candidates
    propensity: np.ndarray  # float64[k]
    pool_size: np.ndarray  # int32[k]
    explored: np.ndarray  # bool[k]
    policy: str
    pools: dict[int, np.ndarray] = field(default_factory=dict)  # place that explored -> int64[pool_size] candidates

    @staticmethod
    def certain(chosen: np.ndarray, policy: str = RANKED) -> Drawn:
        """Nothing was left to chance."""
        k = len(chosen)
        return Drawn(chosen, np.ones(k), np.ones(k, np.int32), np.zeros(k, bool), policy)

    def of(self, few: np.ndarray) -> Drawn:
        """The same by the places of those few candidates among others, int64[n]."""
        pools = {place: few[pool] for place, pool in self.pools.items()}
        return Drawn(few[self.chosen], self.propensity, self.pool_size, self.explored, self.policy, pools)


class Explorer:
    """Draws with one secret. Safe to use from several threads."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def uniform(self, request_id: str, what: str, names: Iterable[bytes] = (b"",)) -> list[float]:
        """In (0, 1), one for each name: the same for the same words, even over all others."""
        begun = hashlib.blake2b(f"{request_id}\x1f{what}\x1f".encode(), key=self._secret, digest_size=8)
        numbers = []
        for name in names:  # as MACs of what is told and the name; what they share is hashed once
            mac = begun.copy()
            mac.update(name)
            numbers.append(((int.from_bytes(mac.digest(), "little") >> 12) + 0.5) / 2.0**52)
        return numbers

    def places(self, how: Exploration, k: int, request_id: str) -> list[int]:
        """Places of a slate of k that explore, first to last."""
        count = int(how.share * k + self.uniform(request_id, "places")[0])
        if not count:
            return []
        turns = self.uniform(request_id, "turns", (str(place).encode() for place in range(k)))
        return sorted(sorted(range(k), key=turns.__getitem__)[:count])

    def explore(
        self,
        how: Exploration,
        chosen: np.ndarray,
        scored: Scored,
        request_id: str,
        places: Iterable[int] | None = None,
    ) -> Drawn:
        """A ranked slate with some places drawn anew.

        Args:
            chosen: int64[k], places of the ranked slate among the candidates, best first.
            places: what `places` gave for it, where that was asked before.
        """
        drawn = Drawn.certain(chosen.copy(), how.policy)
        for place in self.places(how, len(chosen), request_id) if places is None else places:
            pool = pool_at(how, drawn.chosen, place, scored)
            if len(pool) < 2:
                continue
            drawn.chosen[place], drawn.propensity[place] = self.draw(how, scored, pool, place, request_id)
            drawn.pool_size[place], drawn.explored[place], drawn.pools[place] = len(pool), True, pool
        return drawn

    def draw(
        self, how: Exploration, scored: Scored, pool: np.ndarray, place: int, request_id: str
    ) -> tuple[int, float]:
        """The candidate that stands at a place, of a pool of them, and its chance."""
        keys = scored.item_keys[pool].astype("<i8").tobytes()
        chances = self.uniform(request_id, f"item {place}", (keys[at : at + 8] for at in range(0, len(keys), 8)))
        coin = functools.partial(self.uniform, request_id, f"coin {place}")
        at, propensity = DRAWS[how.how](how, scored, pool, np.array(chances), coin)
        return int(pool[at]), propensity


def deviations(how: Exploration, scored: Scored, rows: np.ndarray | slice) -> np.ndarray:
    """Standard deviation of each item's score: the more often it was shown, the surer, float64[rows]."""
    return np.asarray(_deviation(how.deviation, scored.impressions[rows]))


def pool_at(how: Exploration, slate: np.ndarray, place: int, scored: Scored) -> np.ndarray:
    """Candidates that may stand at a place, the other places as they are.

    These are the one that stands there, fresh ones with some of their budget left that are hoped to be worth nearly as
    much, and others that are. Each kind is the most hopeful first: of equal scores, the one that was shown least.
    """
    if scored.sure is not None and scored.sure[slate[place]]:
        return slate[place : place + 1].copy()
    n, caps = len(scored.scores), scored.caps
    groups = np.array([scored.groups[name] for name in caps], np.int64).reshape(len(caps), n)
    most = np.array([max(1, int(share * len(slate))) for share in caps.values()], np.int64)
    of_each = (scored.scores, scored.item_keys, scored.impressions, scored.age_days, scored.units, groups)
    hoped = (how.deviation, how.optimism, how.fresh_days, how.fresh_budget, how.least)
    return np.asarray(_pool_at(of_each, most, *hoped, how.pool, 1 + int(how.fresh * how.pool), slate, place))


def near(
    how: Exploration,
    scores: np.ndarray,
    published_at: np.ndarray,
    at: int,
    chosen: np.ndarray,
    places: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates that may stand in those places of a ranked slate, and its own: rising int64[m], and how many days ago
    each was published, float64[m], nan where nobody knows. What a young item is hoped to be worth is at most what it
    would be if nobody had been shown it.

    Args:
        scores: as in `Scored`, of all candidates.
        published_at: int64[n] UTC ms of them, 0 when unknown.
        at: the instant, UTC ms.
        chosen: int64[k], of the ranked slate.
    """
    hoped = max(how.optimism, 0.0) * how.deviation
    bounds = (hoped, how.fresh_days, how.least)
    rows, age_days = _near(scores, published_at, at, *bounds, chosen, np.array(places, np.int64))
    return rows, age_days


@njit(cache=True, nogil=True)
def _near(scores, published_at, at, hoped, fresh_days, least, chosen, places):  # type: ignore[no-untyped-def]
    lowest, count = np.inf, 0
    for place in places:
        lowest = min(lowest, scores[chosen[place]])
    floor = least / (1.0 + math.exp(-lowest)) * (1.0 - 1e-9)  # `_pool_at` decides, whose sums round otherwise
    rows, ages, shown = np.empty(len(scores), np.int64), np.empty(len(scores)), np.zeros(len(scores), np.bool_)
    for other in chosen:
        shown[other] = True
    for i in range(len(scores)):
        age = (at - published_at[i]) / DAY_MS if published_at[i] > 0 else np.nan
        hope = scores[i] + (hoped if 0.0 <= age <= fresh_days else 0.0)
        if shown[i] or 1.0 / (1.0 + math.exp(-hope)) >= floor:
            rows[count], ages[count] = i, age
            count += 1
    return rows[:count], ages[:count]


@njit(cache=True, nogil=True)
def _deviation(of_new, impressions):  # type: ignore[no-untyped-def]
    return of_new / np.sqrt(1.0 + impressions)


@njit(cache=True, nogil=True)
def _pool_at(  # type: ignore[no-untyped-def]
    of_each, most, deviation, optimism, fresh_days, budget, least, size, until_fresh, slate, place
):
    """`pool_at`. Args: arrays of `Scored`, with groups int64[g, n]; of each group how many may stand in a slate; how
    large the pool may be, and with fresh ones alone. Never fresh is one whose age is nan.
    """
    scores, item_keys, impressions, age_days, units, groups = of_each
    n, count = len(scores), 0
    rows, fresh, hopes, shown = np.empty(n, np.int64), np.empty(n, np.bool_), np.empty(n), np.zeros(n, np.bool_)
    for other in slate:
        shown[other] = True
    floor = least * (1.0 / (1.0 + math.exp(-scores[slate[place]])))
    for i in range(n):
        hope = scores[i] + optimism * _deviation(deviation, impressions[i])
        is_fresh = 0.0 <= age_days[i] <= fresh_days and impressions[i] < budget
        if not shown[i] and 1.0 / (1.0 + math.exp(-(hope if is_fresh else scores[i]))) >= floor:
            rows[count], fresh[count], hopes[count] = i, is_fresh, hope
            count += 1
    pool, filled = np.empty(size, np.int64), 1
    pool[0] = slate[place]
    for kind in (True, False):
        while filled < (min(size, until_fresh) if kind else size):
            best = -1
            for j in range(count):
                if rows[j] < 0 or fresh[j] != kind or (best >= 0 and hopes[j] < hopes[best]):
                    continue
                if best < 0 or hopes[j] > hopes[best] or item_keys[rows[j]] < item_keys[rows[best]]:
                    best = j
            if best < 0:
                break
            row, rows[best] = rows[best], -1
            taken, fits = np.zeros(len(most), np.int64), True
            for other in slate:
                if other != slate[place]:
                    fits &= units[other] != units[row]
                    for g in range(len(most)):
                        taken[g] += groups[g, other] == groups[g, row]
            for g in range(len(most)):
                fits &= groups[g, row] == 0 or taken[g] < most[g]
            if fits:
                pool[filled] = row
                filled += 1
    return pool[:filled]


# A draw takes the policy, the candidates and the pool of them, a uniform number of each in it, and what throws a coin
# of the place; it gives the place in the pool and its chance.
Draw = Callable[[Exploration, Scored, np.ndarray, np.ndarray, Callable[[], list[float]]], tuple[int, float]]


def _uniform(how: Exploration, scored: Scored, pool: np.ndarray, chances: np.ndarray, _: object) -> tuple[int, float]:
    return int(chances.argmin()), 1 / len(chances)


def _softmax(how: Exploration, scored: Scored, pool: np.ndarray, chances: np.ndarray, _: object) -> tuple[int, float]:
    """The greatest of the scores with Gumbel noise is drawn as softmax draws."""
    heat = scored.scores[pool] / how.temperature
    at = int((heat - np.log(-np.log(chances))).argmax())
    odds = np.exp(heat - heat.max())
    return at, float(odds[at] / odds.sum())


def _thompson(how: Exploration, scored: Scored, pool: np.ndarray, chances: np.ndarray, _: object) -> tuple[int, float]:
    from scipy import special  # a tenth of a second of a start, for a policy that no shelf has by default

    scores, deviation = scored.scores[pool], deviations(how, scored, pool)
    at = int((scores + deviation * special.ndtri(chances)).argmax())
    return at, chance_of_greatest(scores, deviation, at)


def _epsilon(
    how: Exploration, scored: Scored, pool: np.ndarray, chances: np.ndarray, coin: Callable[[], list[float]]
) -> tuple[int, float]:
    best = int(scored.scores[pool].argmax())
    at = int(chances.argmin()) if coin()[0] < how.epsilon else best
    return at, how.epsilon / len(chances) + (1 - how.epsilon) * (at == best)


DRAWS: Final[Mapping[How, Draw]] = {
    "uniform": _uniform,
    "softmax": _softmax,
    "thompson": _thompson,
    "epsilon": _epsilon,
}


def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Standard normal points and their weights, float64[_PANELS * _NODES] each: Gauss and Legendre's, in panels."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    edges = np.linspace(-_WIDE, _WIDE, _PANELS + 1)
    half = (edges[1] - edges[0]) / 2
    z = ((edges[:-1] + half)[:, None] + half * nodes).ravel()
    return z, np.tile(weights * half, _PANELS) * (np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))


_POINTS, _WEIGHTS = _quadrature()


def chance_of_greatest(mean: np.ndarray, deviation: np.ndarray, at: int) -> float:
    """The chance that one of independent normal draws is the greatest, within 1e-6."""
    from scipy import special

    x = mean[at] + deviation[at] * _POINTS
    others = np.delete(np.arange(len(mean)), at)
    below = special.ndtr((x[:, None] - mean[others]) / deviation[others]).prod(axis=1)
    return float(np.clip((_WEIGHTS * below).sum(), 0.0, 1.0))
