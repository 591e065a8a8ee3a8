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

    from recsys.monitoring.drift import drift
    from recsys.ranking.ranker import load_ranker
    from recsys.training_sets.examples import matrix

    lake = workspace.lake
    ranker = load_ranker(lake.models / "ranker")
    sides = []
    for part in ("train", "test"):
        frame = pl.DataFrame(lake.read(lake.table("training_sets", part), ranker.feature_names))
        sides.append(frame.with_columns(**ranker.predict(matrix(frame, ranker.feature_names)).columns()))
    found = drift(*sides, columns=sides[0].columns, html=lake.reports / "drift.html")
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
