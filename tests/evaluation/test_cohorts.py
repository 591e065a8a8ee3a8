"""Cohorts: every row is in one of each kind, told by what was known at its own instant."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys.evaluation import cohorts, metrics
from recsys.ranking.ranker import Predictions


@pytest.fixture
def rows() -> pl.DataFrame:
    rng = np.random.default_rng(3)
    n = 1200
    seen = np.repeat([0, 5, 400], n // 3)
    return pl.DataFrame(
        {
            "user_seen_log_all": np.log1p(seen).astype(np.float32),
            "user_impressions_log_all": np.log1p(np.where(seen == 5, 2, 0)).astype(np.float32),
            "item_age_days": np.tile(np.float32([np.log1p(1.0), np.log1p(80.0), -1.0]), n // 3),
            "device": np.tile(["phone", None], n // 2),
            "category_key": np.tile(np.arange(8), n // 8),
            "date": np.repeat(["2024-10-01", "2024-10-02"], [n - 100, 100]),
            "user_key": rng.integers(0, 50, n),
        }
    )


def test_cohorts_part_the_rows(rows: pl.DataFrame) -> None:
    masks = cohorts.cohorts(rows, {0: "news"})
    assert {cohort: list(values) for cohort, values in masks.items()} == {
        "user": ["new", "light", "heavy"],
        "item": ["new", "old", "undated"],
        "device": ["phone", "unknown"],
        "category": ["news", "1", "2", "3", "4", "others"],
    }
    for cohort, values in masks.items():
        assert (sum(mask.astype(int) for mask in values.values()) == 1).all(), cohort
    assert [int(mask.sum()) for mask in masks["user"].values()] == [400, 400, 400]
    assert int(masks["category"]["others"].sum()) == 450
    assert "user" not in cohorts.cohorts(rows.drop("user_seen_log_all")), "left out, not an error"


def test_figures_are_those_of_the_rows_alone_and_a_small_cohort_only_says_its_size(rows: pl.DataFrame) -> None:
    rng = np.random.default_rng(4)
    label = (rng.random(1200) < 0.4).astype(float)
    p = np.clip(0.4 + 0.2 * (label - 0.4) + 0.2 * rng.normal(size=1200), 0.01, 0.99)
    told = cohorts.by_cohort(
        {**cohorts.windows(rows), **cohorts.cohorts(rows)},
        rows["user_key"].to_numpy(),
        {"click": label, "long_view": label},
        Predictions(p, 1 - p, p, p),
    )
    heavy = np.arange(1200) >= 800
    assert told["user"]["heavy"]["click"]["auc"] == pytest.approx(metrics.auc(label[heavy], p[heavy]))
    assert told["user"]["heavy"]["long_view"]["auc"] == pytest.approx(metrics.auc(label[heavy], 1 - p[heavy]))
    assert told["day"]["2024-10-02"] == {"rows": 100}
    assert told["day"]["2024-10-01"]["rows"] == 1100
