"""Whether a day still looks like the days that the serving ranker learned from."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from recsys.lake import Lake
from recsys_assets.checks.nothing import nothing
from recsys_assets.content import VERSION, content
from recsys_assets.partitions import CALENDAR
from recsys_assets.resources import Workspace

if TYPE_CHECKING:
    import polars as pl

    from recsys.monitoring.reference import Reference
    from recsys.ranking.ranker import Ranker

CHECKS = ("features_and_predictions_are_stable", "mean_predicted_ctr_is_stable", "features_are_complete")


@dg.asset(deps=["training_set", "verdict"], kinds={"parquet"}, owners=["team:recsys"])
def drift_reference(workspace: Workspace) -> dg.MaterializeResult:
    """What the judged ranker learned from and was judged on, with its predictions: later days are held against it."""
    import polars as pl

    from recsys.features.catalog import FEATURES
    from recsys.monitoring.day import predicted
    from recsys.monitoring.reference import ASKED, DAYS, FILE, KEYS, Reference, reference
    from recsys.ranking.saved import load_ranker
    from recsys.training_sets.assemble import LABELS
    from recsys.training_sets.split import PARTS
    from recsys_assets.defs.evaluation.contenders import judged_ranker

    lake = workspace.lake
    columns = [*LABELS, *FEATURES]
    asked = [*KEYS, *ASKED, *columns]
    parts = pl.concat([pl.scan_parquet(lake.there(lake.table("training_sets", part))).select(asked) for part in PARTS])
    newest = parts.select("date").unique().collect()["date"].sort()[-DAYS:].to_list()
    rows = parts.filter(pl.col("date").is_in(newest)).collect()
    made = Reference(predicted(reference(rows, columns).rows, load_ranker(judged_ranker(lake))))
    made.save(lake.models)
    return dg.MaterializeResult(
        metadata={"dagster/row_count": made.rows.height, "first_day": made.days[0], "last_day": made.days[-1]},
        data_version=content(lake.models / FILE),
    )


@dg.asset(
    deps=["impression_features", "impressions", "feedback", "drift_reference"],
    partitions_def=CALENDAR,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds={"evidently"},
    owners=["team:recsys"],
    check_specs=[dg.AssetCheckSpec(name, asset="drift_report") for name in CHECKS],
    output_required=False,  # of many days asked one is judged: it alone is told as made
)
def drift_report(
    context: dg.AssetExecutionContext, workspace: Workspace
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckResult]:
    """The newest of the asked days against the days that the champion learned from: reports/drift.html."""
    import polars as pl

    from recsys.monitoring import drift_page, drift_summary
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
        judged_day = look(learned.without(day), rows, ranker, settled)
    except DriftError as error:
        words = f"{day} was not judged: {error}"
        yield from (nothing(words, check_name=name, metadata=about) for name in CHECKS)
        return
    page = lake.reports / "drift.html"
    earlier = [name for name in reversed(lake.days(*drift_summary.TABLE)) if name < day]
    before = ((name, pl.read_parquet(lake.day(name, *drift_summary.TABLE))) for name in earlier)
    lake.write(drift_summary.record(judged_day, about["held_against"]).to_arrow(), lake.day(day, *drift_summary.TABLE))
    first = drift_summary.since(day, judged_day, about["held_against"], before)
    head = drift_summary.html(day, judged_day, about["held_against"], first)
    drift_page.write(page, judged_day.drift, judged_day.judged, judged_day.rows, head)
    about |= {"report": dg.MetadataValue.path(page)}
    table = {"columns": dg.MetadataValue.md(judged_day.table)}
    figures = {
        "columns_moved": len(judged_day.drift.drifted),
        "furthest_of_bound": judged_day.drift.columns[0].excess,
        "mean_predicted_ctr": judged_day.mean_predicted_ctr,
    }
    metadata = {"dagster/row_count": rows.height, **about, **figures, **table}
    version = content(lake.day(day, *drift_summary.TABLE)).value
    yield dg.AssetMaterialization("drift_report", partition=day, metadata=metadata, tags={VERSION: version})
    yield _check(CHECKS[0], judged_day.holds, f"{day}: {judged_day.words}", {**about, **table})
    yield _check(CHECKS[1], judged_day.ctr.holds, f"{day}: {judged_day.ctr.words}", about)
    yield _check(CHECKS[2], judged_day.complete.holds, f"{day}: {judged_day.complete.words}", about)


def _check(name: str, passed: bool, words: str, metadata: dict[str, object]) -> dg.AssetCheckResult:
    """A warning, not an error: nothing below is wrong; what must wait is the next promotion (standing.py)."""
    warn = dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(check_name=name, passed=passed, severity=warn, description=words, metadata=metadata)


def _in_force(lake: Lake) -> "tuple[Reference, Ranker, str | None]":
    """Reference and ranker of the champion; of the newest training where there is none of these features yet."""
    from recsys.features.catalog import FINGERPRINT
    from recsys.monitoring.reference import FILE, Reference
    from recsys.ranking.saved import load_ranker
    from recsys.registry import Registry
    from recsys_assets.defs.evaluation.contenders import judged_ranker

    champion = Registry(lake.registry).champion()
    if champion is not None and champion.facts.features == FINGERPRINT and (champion.path / FILE).exists():
        return Reference.load(champion.path), load_ranker(champion.path / "ranker"), champion.bundle_id
    return Reference.load(lake.models), load_ranker(judged_ranker(lake)), None


def _first_days(lake: Lake, champion: str | None) -> list[str]:
    """The days in which a champion settles: its first in the feedback, without those on which it was only tried."""
    from itertools import islice

    import polars as pl

    from recsys.experiments.record import ExperimentError
    from recsys.monitoring.day import SETTLING
    from recsys.monitoring.trials import answered_as_champion
    from recsys.registry import Registry

    if champion is None:
        return []
    kept = Registry(lake.registry).experiments.entries()
    experiments = [entry.experiment for entry in kept if not isinstance(entry, ExperimentError)]
    told = ((day, lake.day(day, "feedback", "slates")) for day in lake.days("feedback", "slates"))
    columns = ["user_id", "served_at", "bundle"]
    days = (d for d, p in told if answered_as_champion(champion, pl.read_parquet(p, columns=columns), experiments))
    return list(islice(days, SETTLING))


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
