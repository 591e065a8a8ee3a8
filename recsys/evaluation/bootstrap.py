"""Confidence intervals by resampling users: rows of one user are not independent, users are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.evaluation import metrics

REPLICATES: Final = 200
LEVEL: Final = 0.95


@dataclass(frozen=True)
class Resamples:
    """How often each user is drawn in each replicate, float64 [b, users]; shared by all models, so they are paired."""

    user: np.ndarray  # int64 [n], the user of each row as 0..users - 1
    counts: np.ndarray

    @staticmethod
    def draw(user_keys: np.ndarray, replicates: int = REPLICATES, seed: int = 7) -> Resamples:
        _, user = np.unique(user_keys, return_inverse=True)
        users = int(user.max()) + 1 if len(user) else 0
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(users, np.full(users, 1.0 / users), size=replicates).astype(np.float64)
        return Resamples(user, counts)

    def auc(self, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """AUC of every replicate, float64 [b]."""
        plan = metrics.auc_plan(labels, scores)
        return np.concatenate([metrics.weighted_auc(plan, drawn[self.user][None]) for drawn in self.counts])

    def gauc(self, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """gauc by user of every replicate, float64 [b]."""
        by_user = metrics.auc_by_group(self.user, labels, scores)
        weights = self.counts[:, by_user.group] * by_user.rows
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ by_user.auc) / weights.sum(axis=1)

    def ndcg(self, labels: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
        """ndcg@k by user of every replicate, float64 [b]; a user without positives counts 0."""
        by_user = metrics.ndcg_by_group(self.user, labels, scores, k)
        return self.mean(np.nan_to_num(by_user.value))

    def mean(self, by_user: np.ndarray) -> np.ndarray:
        """Mean of one value a user, [users], of every replicate: float64 [b]."""
        return np.asarray((self.counts @ by_user) / self.counts.sum(axis=1))

    def by_user(self, rows: np.ndarray) -> np.ndarray:
        """Sum of one value a row over each user, float64 [users]."""
        return np.bincount(self.user, rows, self.counts.shape[1])

    def per_row(self, by_user: np.ndarray) -> np.ndarray:
        """Mean over rows of every replicate, of sums by user: float64 [b]."""
        return np.asarray((self.counts @ by_user) / (self.counts @ self.by_user(np.ones(len(self.user)))))

    def log_loss(self, labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        """Log loss of every replicate, float64 [b]."""
        return self.per_row(self.by_user(metrics.row_log_loss(labels, probabilities)))

    def watch_deviance(self, observed: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Tweedie deviance of every replicate, float64 [b]; both in seconds."""
        return self.per_row(self.by_user(metrics.row_tweedie_deviance(observed, predicted)))


def interval(values: np.ndarray) -> tuple[float, float]:
    """The central 95 % of the replicates; NaN without any that is defined."""
    kept = values[~np.isnan(values)]
    if not len(kept):
        return float("nan"), float("nan")
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(kept, [tail, 1 - tail])
    return float(low), float(high)
