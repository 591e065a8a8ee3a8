"""Coverage, diversity, novelty, popularity and concentration against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.evaluation.beyond_accuracy import Catalogue, beyond_accuracy
from tests.evaluation.world import catalogue, log_of

FOUR = Catalogue(np.array([1, 2, 3, 4]), np.array([10, 10, 20, 30]), np.array([8.0, 2.0, 2.0, 0.0]))


def test_lists_by_hand() -> None:
    figures = beyond_accuracy(np.array([[1, 2, 3], [1, 3, 0]]), FOUR, k=3)
    assert figures["coverage"] == 3 / 4
    assert figures["diversity"] == pytest.approx((2 / 3 + 1) / 2)  # pairs (1, 2) alike, (1, 3), (2, 3) and (1, 3) not
    bits = np.log2(16 / np.array([9, 3, 3, 1]))  # 12 impressions and one for each item
    assert figures["novelty"] == pytest.approx(np.mean(bits[[0, 1, 2, 0, 2]]))
    percentile = np.array([0.875, 0.5, 0.5, 0.125])  # mid-ranks: the two alike share the middle
    assert figures["popularity_bias"] == pytest.approx(np.mean(percentile[[0, 1, 2, 0, 2]]))
    exposure = np.array([0, 1, 2, 2])
    mean_gap = np.abs(exposure[:, None] - exposure[None, :]).mean()
    assert figures["concentration"] == pytest.approx(mean_gap / (2 * exposure.mean()))


def test_only_the_first_k_count_and_one_item_for_all_is_as_concentrated_as_can_be() -> None:
    figures = beyond_accuracy(np.array([[1, 2], [1, 3], [1, 4]]), FOUR, k=1)
    assert figures["coverage"] == 0.25 and figures["concentration"] == pytest.approx(0.75)
    assert np.isnan(figures["diversity"]), "one item has no pair"


def test_nothing_shown_is_not_a_number_instead_of_zero() -> None:
    figures = beyond_accuracy(np.zeros((2, 3), np.int64), FOUR)
    assert all(np.isnan(value) for value in figures.values())
    assert np.isnan(beyond_accuracy(np.array([[77]]), FOUR)["coverage"]), "an item that the catalogue does not have"


def test_popularity_is_counted_before_the_test_days_only() -> None:
    log = log_of([("impression", 1, 1, 5), ("exposure", 2, 1, 6), ("click", 2, 1, 7), ("impression", 1, 2, 10)])
    assert Catalogue.of(catalogue(3), log, before=10).shown.tolist() == [2.0, 0.0, 0.0]
    assert Catalogue.of(catalogue(3), log, before=11).shown.tolist() == [2.0, 1.0, 0.0]
