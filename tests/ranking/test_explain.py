"""A reason is said only where it is true."""

from __future__ import annotations

import re

import numpy as np
import pytest

from recsys.features.catalog import DEFAULTS, FEATURES
from recsys.ranking.explain import OTHERWISE, PHRASES, Reasons, phrase_of

NAMES = ("user_category_affinity_log_7d", "item_age_days", "user_ctr_7d", "item_popularity_log_24h")
CATEGORY, NEW, POPULAR = "feature.watch_category", "feature.new", "feature.today"
MEDIANS = np.array([1.0, 30.0, 0.3, 2.0], np.float32)


def reasons(contributions: list[float], values: list[float]) -> str:
    worded = Reasons(NAMES, MEDIANS).of(np.array([contributions], np.float32), np.array([values], np.float32))
    return worded[0]


def test_the_strongest_contribution_that_its_value_bears_out_speaks() -> None:
    assert reasons([0.5, 0.2, 0.0, 0.1], [2.0, 3.0, 0.3, 5.0]) == CATEGORY
    assert reasons([0.1, 0.2, 0.0, 0.1], [2.0, 3.0, 0.3, 5.0]) == NEW


def test_a_feature_below_the_typical_row_gives_no_reason_even_if_it_raised_the_prediction() -> None:
    assert reasons([0.5, 0.0, 0.0, 0.1], [0.2, 90.0, 0.3, 5.0]) == POPULAR


def test_an_old_item_is_never_new() -> None:
    assert reasons([0.0, 0.9, 0.0, 0.0], [0.0, 300.0, 0.3, 0.0]) == OTHERWISE


def test_what_lowered_the_prediction_and_what_is_the_users_alone_give_no_reason() -> None:
    assert reasons([-0.5, -0.1, 0.9, -0.2], [9.0, 1.0, 0.9, 9.0]) == OTHERWISE


def test_a_stranger_is_not_told_of_habits_nor_an_undated_item_called_new() -> None:
    names = ("user_category_ctr_all", "item_age_days")
    unknown = np.array([[DEFAULTS[name] for name in names]], np.float32)
    worded = Reasons(names, np.array([-1.0, 30.0], np.float32)).of(np.array([[0.5, 0.4]], np.float32), unknown)
    assert worded == [OTHERWISE]


def test_an_unknown_value_gives_no_reason() -> None:
    assert reasons([0.5, 0.0, 0.0, 0.0], [np.nan, 90.0, 0.3, 0.0]) == OTHERWISE


@pytest.mark.parametrize("phrase", PHRASES, ids=lambda phrase: phrase.key)
def test_every_phrase_speaks_for_some_feature_of_the_catalogue(phrase: object) -> None:
    assert phrase in [phrase_of(name) for name in FEATURES]


def test_features_of_the_user_or_the_moment_alone_have_no_phrase() -> None:
    alone = [n for n in FEATURES if re.match(r"user_(?!item|category|creator)|hour|day|shelf|device|slot", n)]
    assert len(alone) > 10
    assert [name for name in alone if phrase_of(name)] == []
