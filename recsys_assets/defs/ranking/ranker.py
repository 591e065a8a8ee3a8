"""The ranker: learns from train, is stopped and calibrated on validation, never sees test."""

import os

import dagster as dg

from recsys.features.catalog import FEATURES, FINGERPRINT
from recsys_assets.resources import Workspace


@dg.asset(name="ranker", deps=["training_set"], kinds={"xgboost"}, owners=["team:recsys"])
def trained_ranker(workspace: Workspace) -> dg.MaterializeResult:
    """Boosted trees that predict click, long view and watch time, calibrated, and an order within users and slates."""
    import polars as pl

    from recsys.ranking import xgboost_ranker
    from recsys.training_sets.examples import examples

    settings, lake = workspace.settings, workspace.lake
    train, validation = (
        examples(pl.from_arrow(lake.read(lake.table("training_sets", part))), FEATURES)
        for part in ("train", "validation")
    )
    ranker = xgboost_ranker.train(train, validation, FEATURES, FINGERPRINT, threads=threads(), seed=settings.seed)
    ranker.save(lake.models / "ranker")
    strongest = list(ranker.importances().items())[:15]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(train),
            "fingerprint": FINGERPRINT,
            "heads": dg.MetadataValue.json(dict(ranker.facts)),
            "share_of_gain": dg.MetadataValue.md("\n".join(f"- {name}: {share:.1%}" for name, share in strongest)),
        }
    )


def threads() -> int:
    """Half the cores: where others compute too, boosting threads that wait for each other in a spin cost more than they
    bring (40 rounds on two busy cores: 3.4 s with one thread, 24 s with two).
    """
    return max(1, (os.cpu_count() or 1) // 2)


@dg.asset_check(asset="ranker", blocking=True)
def ranker_speaks_the_catalogue(workspace: Workspace) -> dg.AssetCheckResult:
    """The saved ranker loads, and was trained on the features that the service derives."""
    from recsys.ranking.ranker import load_ranker

    ranker = load_ranker(workspace.lake.models / "ranker")
    passed = ranker.fingerprint == FINGERPRINT and ranker.feature_names == FEATURES
    return dg.AssetCheckResult(
        passed=passed,
        description=f"{len(ranker.feature_names)} features, fingerprint {ranker.fingerprint}, catalogue {FINGERPRINT}",
    )
