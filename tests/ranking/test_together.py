"""Who orders the blend's slates, by the asset that decides it: the usual member, or where it is beaten all together."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from recsys.features.catalog import FEATURES, FINGERPRINT
from recsys.lake import Lake
from recsys.ranking.blend import BlendRanker
from recsys.ranking.heuristics import HeuristicRanker
from recsys.ranking.saved import load_ranker
from recsys.training_sets.examples import Examples
from recsys.training_sets.inputs import Inputs
from recsys_assets.defs.ranking.ranker import FITTED, chosen_ranker
from recsys_assets.resources import Workspace
from tests.ranking.rows import write

MEMBERS = {"xgboost": "item_rate", "mmoe": "popular", "factors": "user_category_rate"}  # stand in for those


def shown(n: int, of_item: float, of_person: float) -> Examples:
    """n impressions whose outcome follows the log odds of two rates, each known to one member."""
    rng = np.random.default_rng(5)
    features, rates = np.zeros((n, len(FEATURES)), np.float32), rng.uniform(0.1, 0.9, (n, 2))
    for rate, entity in zip(rates.T, ("item", "user_category"), strict=True):
        for name in ("ctr", "long_view_rate"):
            features[:, FEATURES.index(f"{entity}_{name}_all")] = rate
    features[:, FEATURES.index("item_popularity_log_all")] = rng.normal(size=n)
    odds = (np.log(rates) - np.log1p(-rates)) @ [of_item, of_person]
    view = (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    slate = np.arange(n) // 10
    nothing = np.zeros(n, np.int64)
    return Examples(Inputs.of_strangers(features), view, view, view * 0, nothing, slate % 200, slate, np.ones(n))


@pytest.mark.parametrize(("of_item", "orders"), [(1.0, None), (0.0, 2)], ids=["each knows a part", "one knows all"])
def test_all_members_order_where_they_beat_the_usual_one(
    of_item: float, orders: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    lake, rows = Lake(tmp_path), shown(4_000, of_item, 1.0)
    for part, day in (("train", "2026-01-05"), ("validation", "2026-01-06")):
        path = lake.table("training_sets", part)
        path.parent.mkdir(parents=True, exist_ok=True)
        write(rows, path, FEATURES)
        pl.read_parquet(path).with_columns(date=pl.lit(day)).write_parquet(path)
    for name, rule in MEMBERS.items():
        ranker = HeuristicRanker.fit(rule, rows, FEATURES, FINGERPRINT)
        for folder in (lake.models / "rankers" / name, lake.models / "rankers" / name / FITTED):
            ranker.save(folder)
    assert dg.materialize([chosen_ranker], resources={"workspace": Workspace()}).success
    blend = load_ranker(lake.models / "rankers" / "blend")
    assert isinstance(blend, BlendRanker) and blend.orders == orders
    told = blend.predict(rows.inputs)
    if orders is None:
        assert (np.argsort(told.score, kind="stable") == np.argsort(told.p_long_view, kind="stable")).all()
    else:
        alone = blend.members[orders].predict(rows.inputs)
        assert told.score.tobytes() == alone.score.tobytes()
        assert blend.explain(rows.inputs) == blend.members[orders].explain(rows.inputs)
