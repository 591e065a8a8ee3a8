"""Confidence intervals by resampling users: rows of one user are not independent, users are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np

from recsys.compiled import njit
from recsys.evaluation import metrics

REPLICATES: Final = 4_000  # of 41 comparisons that hold together in 95 %, 2.4 lie beyond each end
LEVEL: Final = 0.95
MATRIX: Final = 512  # users of whom a replicate's AUC is exact
BLOCK: Final = 256  # replicates that are multiplied at once: counts are bytes, 110 MB for 27,000 users


@dataclass(frozen=True)
class Resamples:
    """How often each user is drawn in each replicate; shared by all models, so they are paired."""

    user: np.ndarray  # int64 [n], the user of each row as 0..users - 1
    counts: np.ndarray  # uint8 [b, users]

    @staticmethod
    def draw(user_keys: np.ndarray, replicates: int = REPLICATES, seed: int = 7) -> Resamples:
        _, user = np.unique(user_keys, return_inverse=True)
        return Resamples(user, _counts(int(user.max()) + 1 if len(user) else 0, replicates, seed))

    def auc(self, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """AUC of every replicate, float64 [b]; NaN without both classes.

        A replicate counts a pair (a positive row of one user, a negative row of another) as often as both users were
        drawn. Above MATRIX users the won pairs are approximated to the first order in how often each user was drawn,
        and all pairs to the second: with 2,000 users the ends of an interval move by 1 % of its width. One pass over
        all rows for each replicate took 5 to 150 times as long.
        """
        positives, negatives = self.by_user(labels), self.by_user(1.0 - labels)
        drawn = self.sums(np.stack([positives, negatives], axis=1))
        if len(positives) <= MATRIX:
            won = self._pairs(metrics.won_between_groups(self.user, labels, scores, len(positives)))
        else:
            wins = metrics.won_by_group(self.user, labels, scores, len(positives))
            share = wins.sum() / 2.0 / max(positives.sum() * negatives.sum(), 1.0)  # a win counts for both its users
            more = drawn - [positives.sum(), negatives.sum()]
            won = share * (positives.sum() * negatives.sum() + more.prod(axis=1)) + self.sums(wins) - wins.sum()
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(drawn.prod(axis=1) > 0, won / drawn.prod(axis=1), np.nan)

    def _pairs(self, between: np.ndarray) -> np.ndarray:
        """Sum over pairs of users drawn of one value a pair, [users, users], of every replicate: float64 [b]."""
        blocks = (block.astype(np.float64) for block in np.split(self.counts, range(BLOCK, len(self.counts), BLOCK)))
        return np.concatenate([((block @ between) * block).sum(axis=1) for block in blocks])

    def gauc(self, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """gauc by user of every replicate, float64 [b]."""
        by_user = metrics.auc_by_group(self.user, labels, scores)
        rows, users = np.zeros(self.counts.shape[1]), by_user.group
        above = rows.copy()
        rows[users], above[users] = by_user.rows, by_user.rows * by_user.auc
        return self._ratio(above, rows)

    def ndcg(self, labels: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
        """ndcg@k by user of every replicate, float64 [b]; a user without positives counts 0."""
        by_user = metrics.ndcg_by_group(self.user, labels, scores, k)
        return self.mean(np.nan_to_num(by_user.value))

    def mean(self, by_user: np.ndarray) -> np.ndarray:
        """Mean of one value a user, [users], of every replicate: float64 [b]."""
        return self.sums(by_user) / self.counts.shape[1]

    def sums(self, by_user: np.ndarray) -> np.ndarray:
        """Sum of one value a user, [users] or [users, m], over those drawn in each replicate: float64 [b] or [b, m]."""
        columns = np.asarray(by_user, np.float64).reshape(self.counts.shape[1], -1)
        out = np.empty((len(self.counts), columns.shape[1]))
        _multiply(self.counts, np.ascontiguousarray(columns.T), out)
        return out.reshape(len(out), *by_user.shape[1:])

    def by_user(self, rows: np.ndarray) -> np.ndarray:
        """Sum of one value a row over each user, float64 [users]."""
        return np.bincount(self.user, rows, self.counts.shape[1])

    def per_row(self, by_user: np.ndarray) -> np.ndarray:
        """Mean over rows of every replicate, of sums by user: float64 [b]."""
        return self._ratio(by_user, self.by_user(np.ones(len(self.user))))

    def log_loss(self, labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Log loss of every replicate, float64 [b]."""
        return self.per_row(self.by_user(metrics.row_log_loss(labels, probabilities)))

    def ratio(self, above: np.ndarray, below: np.ndarray) -> np.ndarray:
        """Sum of one value a row over that of another, of every replicate: float64 [b]; NaN over nothing."""
        return self._ratio(self.by_user(above), self.by_user(below))

    def _ratio(self, above: np.ndarray, below: np.ndarray) -> np.ndarray:
        drawn = self.sums(np.stack([above, below], axis=1))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(drawn[:, 0] / drawn[:, 1])

    def chance_of_calibration(self, labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Calibration error that chance alone would give right probabilities, float64 [b]: what each bin is off by,
        resampled around its own mean.
        """
        which, bins = metrics.calibration_bin(probabilities), metrics.CALIBRATION_BINS
        cells = np.bincount(self.user * bins + which, labels - probabilities, self.counts.shape[1] * bins)
        off = self.sums(cells.reshape(-1, bins)) - cells.reshape(-1, bins).sum(axis=0)
        return np.asarray(np.abs(off).sum(axis=1) / self.sums(self.by_user(np.ones(len(self.user)))))

    def watch_deviance(self, observed: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Tweedie deviance of every replicate, float64 [b]; both in seconds."""
        return self.per_row(self.by_user(metrics.row_tweedie_deviance(observed, predicted)))


@njit(cache=True, nogil=True, fastmath={"reassoc"})  # else each sum is one chain of additions
def _multiply(counts, columns, out):  # type: ignore[no-untyped-def]
    """counts @ columns.T, without the counts as doubles: these took eight tenths of the product's time."""
    for b in range(len(counts)):
        for c in range(len(columns)):
            total = 0.0
            for u in range(columns.shape[1]):
                total += counts[b, u] * columns[c, u]
            out[b, c] = total


@lru_cache(maxsize=4)  # one evaluation draws of the same few numbers of users a hundred times
def _counts(users: int, replicates: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    counts = np.empty((replicates, users), np.uint8)
    for i in range(replicates):
        counts[i] = np.bincount(rng.integers(0, users, users), minlength=users) if users else 0
    counts.flags.writeable = False
    return counts


def interval(values: np.ndarray, claims: int = 1) -> tuple[float, float]:
    """The central 95 % of the replicates; NaN without any that is defined.

    Args:
        claims: intervals that are looked at for one failure. Of several the reach is wider, so that all of them hold
            the truth together in 95 % (Bonferroni); and normal where fewer than two replicates lie beyond an end.
    """
    kept, tail = values[~np.isnan(values)], (1 - LEVEL) / (2 * claims)
    if not len(kept):
        return float("nan"), float("nan")
    if claims > 1 and tail * len(kept) < 2:
        reach = NormalDist().inv_cdf(1 - tail) * float(kept.std(ddof=min(1, len(kept) - 1)))
        return float(kept.mean()) - reach, float(kept.mean()) + reach
    low, high = np.quantile(kept, [tail, 1 - tail])
    return float(low), float(high)
