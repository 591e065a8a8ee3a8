"""What a list is worth beside its hits: how much of the catalogue it shows, how varied, how new, how popular."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from recsys.events import KINDS
from recsys.features.log import EventLog, Items
from recsys.retrieval.engagements import met_by

LIST_K: Final = 10  # what a person sees of a list


@dataclass(frozen=True)
class Catalogue:
    """Items in ascending order of key: category and how often each was shown before the test days, [n] each."""

    item_key: np.ndarray
    category_key: np.ndarray
    shown: np.ndarray  # float64

    @staticmethod
    def of(items: Items, log: EventLog, before: int) -> Catalogue:
        """Counts what was received before an instant (ms), the first of the test days: impressions, or engagements
        where the log has no impressions.
        """
        counted = np.isin(log.kind, [KINDS[kind] for kind in met_by(log)]) & (log.received_at < before)
        keys = log.item_key[counted & items.known(log.item_key)]
        shown = np.bincount(np.searchsorted(items.item_key, keys), minlength=len(items.item_key)).astype(np.float64)
        return Catalogue(items.item_key, items.columns.category_key, shown)


def beyond_accuracy(lists: np.ndarray, catalogue: Catalogue, k: int = LIST_K) -> dict[str, float]:
    """Of the first k of every list, int64[q, K] item keys padded with 0.

    - `coverage`: share of the catalogue in any of them.
    - `diversity`: mean over lists of the share of pairs that differ in category.
    - `novelty`: mean of log2(all impressions / impressions of the item), Laplace smoothed: bits of surprise.
    - `popularity_bias`: mean popularity percentile of what is shown, 0.5 for a draw from the catalogue at random.
    - `concentration`: Gini coefficient of how often each catalogue item is shown, 0 even, 1 one item for all.
    """
    top = lists[:, :k]
    there = (top != 0) & np.isin(top, catalogue.item_key)
    n = len(catalogue.item_key)
    if not there.any() or not n:
        return dict.fromkeys(("coverage", "diversity", "novelty", "popularity_bias", "concentration"), float("nan"))
    row = np.where(there, np.minimum(np.searchsorted(catalogue.item_key, top), n - 1), 0)
    surprise = np.log2((catalogue.shown.sum() + n) / (catalogue.shown + 1.0))
    percentile = _percentiles(catalogue.shown)
    exposure = np.bincount(row[there], minlength=n).astype(np.float64)
    return {
        "coverage": float((exposure > 0).mean()),
        "diversity": _differing_pairs(np.where(there, catalogue.category_key[row], 0), there),
        "novelty": float(surprise[row[there]].mean()),
        "popularity_bias": float(percentile[row[there]].mean()),
        "concentration": _gini(exposure),
    }


def _differing_pairs(category: np.ndarray, there: np.ndarray) -> float:
    both = there[:, :, None] & there[:, None, :]
    pairs = both.sum(axis=(1, 2)) - there.sum(axis=1)  # a slot is no pair with itself
    alike = ((category[:, :, None] == category[:, None, :]) & both).sum(axis=(1, 2)) - there.sum(axis=1)
    has = pairs > 0
    return float((1.0 - alike[has] / pairs[has]).mean()) if has.any() else float("nan")


def _percentiles(values: np.ndarray) -> np.ndarray:
    """Mid-rank of each value as a share of all, so that equal values share one and the mean is 0.5."""
    ordered = np.sort(values)
    below, upto = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return np.asarray((below + upto) / (2.0 * len(values)))


def _gini(values: np.ndarray) -> float:
    ordered = np.sort(values)
    n = len(ordered)
    return float((2.0 * (np.arange(1, n + 1) * ordered).sum() / ordered.sum() - n - 1) / n)
