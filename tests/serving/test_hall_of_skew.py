"""Skew that models and their parts brought to other systems, as scenarios of ours; of features: tests/features."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb

from recsys.ranking import xgboost_ranker
from recsys.ranking.saved import load_ranker
from recsys.registry import Registry, RegistryError
from tests.ranking.rows import NAMES, rows
from tests.registry.test_registry import FACTS, parts


def test_xgboost_base_score_a_saved_ranker_keeps_every_bit_of_its_intercept(tmp_path: Path) -> None:
    """XGBoost writes base_score as decimal text; whatever it loses must be lost before training ends, not after."""
    trained = xgboost_ranker.train(rows(800, 1), rows(800, 2), NAMES, "f", threads=1, seed=7, rounds=3)
    fresh = rows(500, 9)
    matrix = xgb.DMatrix(fresh.features, label=fresh.click)
    for base_score in (0.1234567890123, 1 / 3, 0.7000000476837158, 1e-7, 0.99999994):
        settings = {"objective": "binary:logistic", "base_score": base_score, "nthread": 1, "max_depth": 2}
        booster = xgb.train(settings, matrix, num_boost_round=3)
        ranker = dataclasses.replace(trained, boosters=dict.fromkeys(trained.boosters, booster))
        ranker.save(tmp_path / str(base_score))
        again = load_ranker(tmp_path / str(base_score))
        for head in ranker.boosters:
            assert again.margin(head, fresh.features).tobytes() == ranker.margin(head, fresh.features).tobytes()
        for name, values in ranker.predict(fresh.inputs).columns().items():
            assert again.predict(fresh.inputs).columns()[name].tobytes() == np.asarray(values).tobytes(), name
    assert not list(tmp_path.rglob("*.model")) and list(tmp_path.rglob("*.ubj"))


def test_pinterest_2026_a_query_tower_ahead_of_the_item_index_gets_no_bundle(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    serving = registry.register(parts(tmp_path / "one"), FACTS)
    registry.promote(serving.bundle_id)
    ahead = dataclasses.replace(FACTS, tower="t2")  # trained again; the items are still those that t1 embedded
    with pytest.raises(RegistryError, match="embedded by tower t1, the query tower is t2: materialize item_embeddings"):
        registry.register(parts(tmp_path / "two", "two"), ahead)
    assert [bundle.bundle_id for bundle in registry.bundles()] == [registry.alias_id()] == [serving.bundle_id]
    together = registry.register(parts(tmp_path / "two", "two"), dataclasses.replace(ahead, index_tower="t2"))
    assert registry.promote(together.bundle_id).facts.index_tower == "t2"
