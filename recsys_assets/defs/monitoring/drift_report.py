"""Whether the test days still look like the days that were learned from."""

from collections.abc import Iterator

import dagster as dg

from recsys_assets.resources import Workspace


@dg.asset(
    deps=["training_set", "ranker"],
    kinds={"evidently"},
    owners=["team:recsys"],
    check_specs=[dg.AssetCheckSpec("features_and_predictions_are_stable", asset="drift_report")],
)
def drift_report(workspace: Workspace) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Features and predictions of the test days against those of the training days: reports/drift.html."""
    import polars as pl

    from recsys.features.catalog import FEATURE_DEFINITIONS
    from recsys.monitoring.drift import drift, stationary
    from recsys.ranking.ranker import load_ranker
    from recsys.training_sets.examples import matrix

    lake = workspace.lake
    ranker = load_ranker(lake.models / "ranker")
    columns = [name for name in stationary(FEATURE_DEFINITIONS) if name in ranker.feature_names]
    sides, predicted = [], dict[str, object]()
    for part in ("train", "test"):
        frame = pl.DataFrame(lake.read(lake.table("training_sets", part), ranker.feature_names))
        predicted = ranker.predict(matrix(frame, ranker.feature_names)).columns()
        sides.append(frame.with_columns(**predicted))
    found = drift(*sides, columns=[*columns, *predicted], html=lake.reports / "drift.html")
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(found.scores),
            "drifted_share": found.share,
            "psi": dg.MetadataValue.json(dict(found.scores)),
            "report": dg.MetadataValue.path(lake.reports / "drift.html"),
        }
    )
    yield dg.AssetCheckResult(
        check_name="features_and_predictions_are_stable",
        passed=found.holds,
        severity=dg.AssetCheckSeverity.WARN,
        description=str(found),
    )
