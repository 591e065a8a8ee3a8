"""Whether a day still looks like the days that the serving ranker learned from."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from recsys.lake import Lake
from recsys_assets.partitions import days
from recsys_assets.resources import Workspace

if TYPE_CHECKING:
    import polars as pl

    from recsys.monitoring.reference import Reference
    from recsys.ranking.ranker import Ranker

CHECKS = ("features_and_predictions_are_stable", "mean_predicted_ctr_is_stable", "features_are_complete")


@dg.asset(deps=["training_set", "ranker"], kinds={"parquet"}, owners=["team:recsys"])
def drift_reference(workspace: Workspace) -> dg.MaterializeResult:
    """What the ranker learned from and was judged on, with its predictions: later days are held against it."""
    import polars as pl

    from recsys.features.catalog import FEATURES
    from recsys.monitoring.day import predicted
    from recsys.monitoring.reference import ASKED, KEYS, Reference, reference
    from recsys.ranking.ranker import load_ranker
    from recsys.training_sets.assemble import LABELS
    from recsys.training_sets.split import PARTS

    lake = workspace.lake
    columns = [*LABELS, *FEATURES]
    asked = [*KEYS, *ASKED, *columns]
    rows = pl.concat([pl.DataFrame(lake.read(lake.table("training_sets", part), asked)) for part in PARTS])
    made = Reference(predicted(reference(rows, columns).rows, load_ranker(lake.models / "ranker")))
    made.save(lake.models)
    return dg.MaterializeResult(
        metadata={"dagster/row_count": made.rows.height, "first_day": made.days[0], "last_day": made.days[-1]}
    )


@dg.asset(
    deps=["impression_features", "impressions", "feedback", "drift_reference"],
    partitions_def=days(),
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"evidently"},
    owners=["team:recsys"],
    check_specs=[dg.AssetCheckSpec(name, asset="drift_report") for name in CHECKS],
)
def drift_report(
    context: dg.AssetExecutionContext, workspace: Workspace
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """The newest of the asked days against the days that the champion learned from: reports/drift.html."""
    import polars as pl

    from recsys.monitoring import drift_page
    from recsys.monitoring.day import SETTLING, look
    from recsys.monitoring.drift import DriftError

    lake, day = workspace.lake, max(context.partition_keys)
    learned, ranker, champion = _in_force(lake)
    rows, service = _rows(lake, day), _first_days(lake, champion)
    about = {"day": day, "held_against": f"bundle {champion}" if champion else "the newest training"}
    try:
        if day in service:
            raise DriftError(f"{champion} settles in its first {SETTLING} days of service")
        settled = pl.concat([_rows(lake, before) for before in service]) if service else None
        found = look(learned.without(day), rows, ranker, settled)
    except DriftError as error:
        context.add_asset_metadata({"dagster/row_count": rows.height, **about}, partition_key=day)
        yield dg.MaterializeResult()
        yield from (_check(name, True, f"{day} was not judged: {error}", about) for name in CHECKS)
        return
    page = lake.reports / "drift.html"
    drift_page.write(page, found.drift, found.judged, found.rows)
    about |= {"report": dg.MetadataValue.path(page)}
    table = {"columns": dg.MetadataValue.md(found.table)}
    figures = {
        "columns_moved": len(found.drift.drifted),
        "furthest_of_bound": found.drift.columns[0].excess,
        "mean_predicted_ctr": found.mean_predicted_ctr,
    }
    context.add_asset_metadata({"dagster/row_count": rows.height, **about, **figures, **table}, partition_key=day)
    yield dg.MaterializeResult()
    yield _check(CHECKS[0], found.holds, f"{day}: {found.words}", {**about, **table})
    yield _check(CHECKS[1], found.ctr.holds, f"{day}: {found.ctr.words}", about)
    yield _check(CHECKS[2], found.complete.holds, f"{day}: {found.complete.words}", about)


def _check(name: str, passed: bool, words: str, metadata: dict[str, object]) -> dg.AssetCheckResult:
    """A warning, not an error: nothing below is wrong; what must wait is the next promotion (checks/standing.py)."""
    warn = dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(check_name=name, passed=passed, severity=warn, description=words, metadata=metadata)


def _in_force(lake: Lake) -> "tuple[Reference, Ranker, str | None]":
    """Reference and ranker of the champion; of the newest training where there is none of these features yet."""
    from recsys.features.catalog import FINGERPRINT
    from recsys.monitoring.reference import FILE, Reference
    from recsys.ranking.ranker import load_ranker
    from recsys.registry import Registry

    champion = Registry(lake.registry).champion()
    if champion is not None and champion.facts.features == FINGERPRINT and (champion.path / FILE).exists():
        return Reference.load(champion.path), load_ranker(champion.path / "ranker"), champion.bundle_id
    return Reference.load(lake.models), load_ranker(lake.models / "ranker"), None


def _first_days(lake: Lake, champion: str | None) -> list[str]:
    """The days in which a champion settles: its first in the feedback."""
    import polars as pl

    from recsys.monitoring.day import SETTLING

    if champion is None:
        return []
    files = [(day, lake.day(day, "feedback", "slates")) for day in lake.days("feedback", "slates")]
    served = [day for day, path in files if (pl.read_parquet(path, columns=["bundle"])["bundle"] == champion).any()]
    return served[:SETTLING]


def _rows(lake: Lake, day: str) -> "pl.DataFrame":
    import polars as pl

    from recsys.training_sets.assemble import LABELS
    from recsys_assets.defs.training_sets.training_set import with_logged

    shown = pl.read_parquet(lake.day(day, "cleaned", "impressions"))
    recomputed = pl.scan_parquet(lake.day(day, "features", "impressions"))
    features = with_logged(recomputed, lake, [day], history=True).collect()
    # a few came in after midnight: they are of this delivery, and no day of their own
    delivered = shown.select("impression_id", "user_key", "item_key", pl.lit(day).alias("date"), *LABELS)
    return features.join(delivered, on="impression_id", how="inner")
