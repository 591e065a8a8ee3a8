"""Ranking, probability and retrieval metrics, vectorised over every row and user at once.

Conventions (tests/evaluation/test_metrics.py holds each against a hand-made case or scikit-learn):

- Rows with equal scores are tied, never ordered by the row they happen to stand on: `auc` and `gauc` count a tied
  pair as a half, `ndcg_at_k` and `precision_at_k` are the expectation over every order of the tied rows. `map_at_k`
  has no closed form for ties and breaks them by a seeded shuffle.
- `gauc` is the mean of each group's AUC weighted by its rows, over the groups that have both classes.
- A group without a positive counts 0 in `ndcg_at_k` (`empty="zero"`: the public KuaiRand protocol, and comparable
  between models on the same rows) or is left out (`empty="skip"`: 1.0 is then the perfect ranking).
- A metric that is not defined on its rows (one class only, no row) is NaN, never 0 or 0.5.
- Arrays of unequal rows are refused with ValueError: taken in the order of the shorter one they would give a number.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np

Empty = Literal["zero", "skip"]
CALIBRATION_BINS: Final = 15  # equal-width bins, as in Guo et al., ICML 2017
LOG_LOSS_FLOOR: Final = 1e-15


def _one_row_each(*arrays: np.ndarray) -> None:
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) > 1:
        raise ValueError(f"one value a row is needed, not {' and '.join(map(str, lengths))} rows")


def auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Probability that a positive row outranks a negative one. labels 0/1 [n], scores [n], weights >= 0 [n]."""
    by_row = np.ones(len(labels)) if weights is None else weights
    return float(weighted_auc(auc_plan(labels, scores), by_row[None])[0])


class AucPlan(NamedTuple):
    """Rows sorted by score, with the start of every run of ties: sorted once, weighted many times."""

    order: np.ndarray
    starts: np.ndarray
    positive: np.ndarray


def auc_plan(labels: np.ndarray, scores: np.ndarray) -> AucPlan:
    _one_row_each(labels, scores)
    order = np.argsort(scores, kind="stable")
    ordered = np.asarray(scores)[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: len(ordered)])
    return AucPlan(order, starts, np.asarray(labels, dtype=np.float64)[order])


def weighted_auc(plan: AucPlan, weights: np.ndarray) -> np.ndarray:
    """AUC under each row of weights [b, n] -> float64[b]; NaN where a class has no weight."""
    _one_row_each(plan.order, weights.T)
    out = np.full(len(weights), np.nan)
    if not len(plan.order):
        return out
    for i, weight in enumerate(weights):
        ordered = weight[plan.order]
        positive = np.add.reduceat(ordered * plan.positive, plan.starts)
        negative = np.add.reduceat(ordered * (1.0 - plan.positive), plan.starts)
        total = positive.sum() * negative.sum()
        if total > 0:
            below = np.cumsum(negative) - negative
            out[i] = float((positive * (below + negative / 2)).sum() / total)
    return out


def won_by_group(groups: np.ndarray, labels: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    """Pairs of a positive and a negative row that the AUC counts as won (a tie by half), for the group of each of the
    two: float64 [count]. All arrays [n], groups as 0..count - 1.
    """
    plan = auc_plan(labels, scores)
    if not len(plan.order):
        return np.zeros(count)
    negative = 1.0 - plan.positive
    lost_to = _below(plan, negative)
    won_by = plan.positive.sum() - _below(plan, plan.positive)
    return np.bincount(groups[plan.order], plan.positive * lost_to + negative * won_by, count)


def won_between_groups(groups: np.ndarray, labels: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    """As `won_by_group`, for each two groups: float64 [count, count], the group of the positive row first."""
    plan, won = auc_plan(labels, scores), np.zeros((count, count))
    if len(plan.order):
        group = groups[plan.order]
        up = plan.positive > 0
        for g in range(count):
            below = _below(plan, (1.0 - plan.positive) * (group == g))
            won[:, g] = np.bincount(group[up], below[up], count)
    return won


def _below(plan: AucPlan, weights: np.ndarray) -> np.ndarray:
    """Weight of the rows below each row, and half of that of its tie, [n] in the plan's order."""
    of_tie = np.add.reduceat(weights, plan.starts)
    return np.repeat(np.cumsum(of_tie) - of_tie / 2, np.diff(np.r_[plan.starts, len(weights)]))


class GroupAuc(NamedTuple):
    """AUC of each group that has both classes, and how many rows it has."""

    group: np.ndarray  # the group's value in `groups`
    auc: np.ndarray
    rows: np.ndarray


def auc_by_group(groups: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> GroupAuc:
    """AUC within every group (a user, a slate) that has both classes; all arrays [n]."""
    _one_row_each(groups, labels, scores)
    names, code = np.unique(groups, return_inverse=True)
    order = np.lexsort((scores, code))
    ranks = _average_ranks(code[order], np.asarray(scores)[order])
    positive = np.asarray(labels, dtype=np.float64)[order]
    size = np.bincount(code, minlength=len(names)).astype(np.float64)
    positives = np.bincount(code[order], positive, len(names))
    rank_sum = np.bincount(code[order], positive * ranks, len(names))
    both = (positives > 0) & (positives < size)
    n_positive, n = positives[both], size[both]
    value = (rank_sum[both] - n_positive * (n_positive + 1) / 2) / (n_positive * (n - n_positive))
    return GroupAuc(names[both], value, n)


def _average_ranks(code: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Rank 1..size of each row within its group, ties averaged; rows sorted by (group, score)."""
    n = len(code)
    if not n:
        return np.zeros(0)
    new_group = np.r_[True, code[1:] != code[:-1]]
    new_run = new_group | np.r_[True, scores[1:] != scores[:-1]]
    first_of_group = np.maximum.accumulate(np.where(new_group, np.arange(n), 0))
    run = np.cumsum(new_run) - 1
    starts = np.flatnonzero(new_run)
    middle = starts + (np.diff(np.r_[starts, n]) - 1) / 2
    return middle[run] - first_of_group + 1.0


def gauc(groups: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean AUC within groups, weighted by rows, over the groups that have both classes."""
    by_group = auc_by_group(groups, labels, scores)
    return float(np.average(by_group.auc, weights=by_group.rows)) if len(by_group.auc) else float("nan")


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean negative log likelihood in nats; probabilities are kept 1e-15 away from 0 and 1."""
    return float(row_log_loss(labels, probabilities).mean()) if len(labels) else float("nan")


def row_log_loss(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    _one_row_each(labels, probabilities)
    p = np.clip(np.asarray(probabilities, dtype=np.float64), LOG_LOSS_FLOOR, 1 - LOG_LOSS_FLOOR)
    return -np.where(np.asarray(labels) > 0, np.log(p), np.log1p(-p))


def row_tweedie_deviance(observed: np.ndarray, predicted: np.ndarray, power: float = 1.5) -> np.ndarray:
    """Unit deviance of each row [n], 1 < power < 2: proper for a mean of amounts that are often zero, as watch time is.

    Predictions under a millisecond count as one. Jorgensen, The Theory of Dispersion Models, 1997.
    """
    _one_row_each(observed, predicted)
    y, mu = np.asarray(observed, np.float64), np.maximum(np.asarray(predicted, np.float64), 1e-3)
    up, down = 2 - power, power - 1
    return np.asarray(2 * (mu**up / up + y / (down * mu**down) - y**up / (down * up)))


class GroupMetric(NamedTuple):
    """One value a group; NaN where the group has no positive."""

    group: np.ndarray
    value: np.ndarray


def ndcg_by_group(groups: np.ndarray, relevance: np.ndarray, scores: np.ndarray, k: int) -> GroupMetric:
    """NDCG@k of each group with linear gain; relevance >= 0 [n]. NaN for a group without relevance."""
    _one_row_each(groups, relevance, scores)
    names, code = np.unique(groups, return_inverse=True)
    gain = np.asarray(relevance, dtype=np.float64)
    reached = _discounted(code, gain, np.asarray(scores, dtype=np.float64), k, len(names))
    ideal = _discounted(code, gain, gain, k, len(names))
    with np.errstate(invalid="ignore", divide="ignore"):
        return GroupMetric(names, np.where(ideal > 0, reached / ideal, np.nan))


def ndcg_at_k(groups: np.ndarray, relevance: np.ndarray, scores: np.ndarray, k: int, empty: Empty = "zero") -> float:
    """Mean NDCG@k over groups. See the module's conventions for ties and for groups without a positive."""
    return _mean(ndcg_by_group(groups, relevance, scores, k).value, empty)


def precision_at_k(groups: np.ndarray, labels: np.ndarray, scores: np.ndarray, k: int, empty: Empty = "zero") -> float:
    """Mean over groups of positives among the first min(k, size) rows."""
    _one_row_each(groups, labels, scores)
    names, code = np.unique(groups, return_inverse=True)
    positive = np.asarray(labels, dtype=np.float64)
    place, expected = _placed(code, positive, np.asarray(scores, dtype=np.float64))
    hits = np.bincount(code[place.order], np.where(place.rank < k, expected, 0.0), len(names))
    size = np.minimum(np.bincount(code, minlength=len(names)), k)
    has = np.bincount(code, positive, len(names)) > 0
    return _mean(np.where(has, hits / size, np.nan), empty)


def map_at_k(
    groups: np.ndarray, labels: np.ndarray, scores: np.ndarray, k: int, empty: Empty = "zero", seed: int = 0
) -> float:
    """Mean over groups of average precision among the first k rows, over min(k, positives). Ties: seeded shuffle."""
    _one_row_each(groups, labels, scores)
    names, code = np.unique(groups, return_inverse=True)
    shuffle = np.random.default_rng(seed).permutation(len(code))
    order = np.lexsort((shuffle, -np.asarray(scores, dtype=np.float64), code))
    rank = _rank_in_group(code[order])
    positive = np.asarray(labels, dtype=np.float64)[order]
    so_far = np.cumsum(positive)
    before = so_far - positive
    at_start = before[np.arange(len(order)) - rank] if len(order) else before  # found in the groups before this one
    precision = (so_far - at_start) / (rank + 1)
    summed = np.bincount(code[order], np.where(rank < k, precision * positive, 0.0), len(names))
    positives = np.bincount(code[order], positive, len(names))
    with np.errstate(invalid="ignore"):
        return _mean(np.where(positives > 0, summed / np.minimum(positives, k), np.nan), empty)


class _Places(NamedTuple):
    order: np.ndarray  # rows, best first within each group
    rank: np.ndarray  # 0 first, within the group, in that order


def _rank_in_group(code: np.ndarray) -> np.ndarray:
    n = len(code)
    new_group = np.r_[True, code[1:] != code[:-1]][:n]
    return np.arange(n) - np.maximum.accumulate(np.where(new_group, np.arange(n), 0))


def _placed(code: np.ndarray, gain: np.ndarray, scores: np.ndarray) -> tuple[_Places, np.ndarray]:
    """Rows best first within their group, and the gain expected at each place when ties are shuffled."""
    order = np.lexsort((-scores, code))
    ordered, group = scores[order], code[order]
    n = len(order)
    new_run = np.r_[True, (group[1:] != group[:-1]) | (ordered[1:] != ordered[:-1])][:n]
    run = np.cumsum(new_run) - 1
    mean = np.bincount(run, gain[order]) / np.bincount(run) if n else np.zeros(0)
    return _Places(order, _rank_in_group(group)), mean[run] if n else np.zeros(0)


def _discounted(code: np.ndarray, gain: np.ndarray, scores: np.ndarray, k: int, n_groups: int) -> np.ndarray:
    place, expected = _placed(code, gain, scores)
    discount = np.where(place.rank < k, 1.0 / np.log2(place.rank + 2.0), 0.0)
    return np.bincount(code[place.order], expected * discount, n_groups)


def _mean(by_group: np.ndarray, empty: Empty) -> float:
    if empty == "zero":
        return float(np.nan_to_num(by_group, nan=0.0).mean()) if len(by_group) else float("nan")
    kept = by_group[~np.isnan(by_group)]
    return float(kept.mean()) if len(kept) else float("nan")


class ReliabilityBins(NamedTuple):
    """Mean prediction, share of positives and rows of each bin that has rows."""

    predicted: np.ndarray
    observed: np.ndarray
    rows: np.ndarray


def calibration_bin(probabilities: np.ndarray, bins: int = CALIBRATION_BINS) -> np.ndarray:
    """The equal-width bin of each probability, int64 [n]."""
    return np.minimum((np.asarray(probabilities, dtype=np.float64) * bins).astype(np.int64), bins - 1)


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = CALIBRATION_BINS) -> ReliabilityBins:
    _one_row_each(labels, probabilities)
    which = calibration_bin(probabilities, bins)
    rows = np.bincount(which, minlength=bins).astype(np.float64)
    has = rows > 0
    predicted = np.bincount(which, probabilities, bins)[has] / rows[has]
    observed = np.bincount(which, labels, bins)[has] / rows[has]
    return ReliabilityBins(predicted, observed, rows[has])


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error: |predicted - observed| of each equal-width bin, weighted by its rows."""
    if not len(labels):
        return float("nan")
    curve = reliability(labels, probabilities, bins)
    return float(np.average(np.abs(curve.predicted - curve.observed), weights=curve.rows))


def mean_absolute_error(observed: np.ndarray, predicted: np.ndarray) -> float:
    _one_row_each(observed, predicted)
    return float(np.abs(np.asarray(observed, dtype=np.float64) - predicted).mean()) if len(observed) else float("nan")


def xauc(observed: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the pairs with different observed values that the prediction orders alike, a tied prediction a half.

    The AUC of a value instead of a label (Zhan et al., KDD 2022, for watch time); from Kendall's tau-b in n log n.
    """
    _one_row_each(observed, predicted)
    from scipy.stats import kendalltau

    pairs = len(observed) * (len(observed) - 1) / 2
    differ, told_apart = pairs - _tied_pairs(observed), pairs - _tied_pairs(predicted)
    if not differ:
        return float("nan")
    if not told_apart:
        return 0.5
    tau = float(kendalltau(observed, predicted).statistic)  # (concordant - discordant) / sqrt(differ x told_apart)
    return 0.5 + 0.5 * tau * float(np.sqrt(told_apart / differ))


def _tied_pairs(values: np.ndarray) -> float:
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1) / 2).sum())


def hits(candidates: np.ndarray, target_query: np.ndarray, target_item: np.ndarray) -> np.ndarray:
    """bool[q, k]: whether candidate j of query i is one of its targets.

    Args:
        candidates: int64[q, k] item keys, best first; 0 pads a short list and never hits. A candidate named twice
            hits once, at its first place.
        target_query, target_item: int64[t] pairs; a pair named twice is one target.
    """
    if not candidates.size:
        return np.zeros(candidates.shape, dtype=bool)
    keys, code = np.unique(np.r_[candidates.ravel(), target_item], return_inverse=True)
    n = np.int64(len(keys))
    rows = np.repeat(np.arange(len(candidates), dtype=np.int64), candidates.shape[1])
    pair = rows * n + code[: candidates.size]
    wanted = np.unique(np.asarray(target_query, dtype=np.int64) * n + code[candidates.size :])
    first = np.zeros(candidates.size, dtype=bool)
    first[np.unique(pair, return_index=True)[1]] = True
    is_hit = np.isin(pair, wanted) & first & (candidates.ravel() != 0)
    return is_hit.reshape(candidates.shape)


def recall_by_query(hit: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    """Of each query with a target, in their order: targets among the first k, of all its targets. float64.

    Args:
        hit: bool[q, K]
        targets: [q]
    """
    has = targets > 0
    return np.asarray(hit[has, :k].sum(axis=1) / targets[has])


def retrieval_ndcg_by_query(hit: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    """Of each query with a target, in their order: DCG@k over that of a list that begins with all its targets."""
    has, width = targets > 0, min(k, hit.shape[1])
    discount = 1.0 / np.log2(np.arange(k) + 2.0)
    ideal = np.cumsum(discount)[np.minimum(targets[has], k).astype(np.int64) - 1]
    return np.asarray((hit[has, :width] @ discount[:width]) / ideal)


def recall_at_k(hit: np.ndarray, targets: np.ndarray, k: int) -> float:
    """Mean of `recall_by_query`, NaN without a query that has a target."""
    return float(recall_by_query(hit, targets, k).mean()) if (targets > 0).any() else float("nan")


def retrieval_ndcg_at_k(hit: np.ndarray, targets: np.ndarray, k: int) -> float:
    """Mean of `retrieval_ndcg_by_query`, NaN without a query that has a target."""
    return float(retrieval_ndcg_by_query(hit, targets, k).mean()) if (targets > 0).any() else float("nan")
