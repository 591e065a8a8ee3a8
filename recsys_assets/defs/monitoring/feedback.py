"""What the service showed and what came of it. Rankers learn from it, and the champion is judged by it."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from recsys_assets.checks.days import days_of_run
from recsys_assets.checks.nothing import nothing
from recsys_assets.content import content, content_of_days
from recsys_assets.defs.automation.conditions import MISSED_DAY
from recsys_assets.partitions import CALENDAR
from recsys_assets.resources import Workspace

if TYPE_CHECKING:
    import polars as pl

JUDGED_DAYS = 7  # newest days of service by which bundles are compared


@dg.asset(
    deps=["impressions"],
    partitions_def=CALENDAR,
    backfill_policy=dg.BackfillPolicy.single_run(),
    automation_condition=MISSED_DAY,
    kinds={"polars", "parquet"},
    owners=["team:recsys"],
)
def feedback(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """Served rows that were seen, with their outcomes, propensities and features as logged; training reads those."""
    import polars as pl

    from recsys.monitoring.feedback import joined
    from recsys.serving import served_log

    lake, served_rows = workspace.lake, 0
    for day in sorted(context.partition_keys):
        before = (date.fromisoformat(day) - timedelta(days=1)).isoformat()  # served before midnight, seen after it
        paths = [path for d in (before, day) for path in served_log.segments(lake.served_log, d)]
        served = pl.DataFrame(served_log.read(paths))
        made = joined(served, pl.read_parquet(lake.there(lake.day(day, "cleaned", "impressions"))))
        rows = lake.write(made.to_arrow(), lake.day(day, "feedback", "slates"))
        context.add_asset_metadata({"dagster/row_count": rows}, partition_key=day)
        served_rows += served.height
    return dg.MaterializeResult(
        metadata={"served_rows_read": served_rows},
        data_version=content_of_days(lake, context.partition_keys, "feedback", "slates"),
    )


@dg.asset_check(asset="feedback", blocking=True)
def features_as_logged_are_features_as_recomputed(
    context: dg.AssetCheckExecutionContext, workspace: Workspace
) -> dg.AssetCheckResult:
    """Every row that will be learned from is read again from the log at its position and instant: the same bytes."""
    from recsys.features.catalog import FEATURES
    from recsys.features.parity import audit_served
    from recsys.store.opening import open_store

    lake = workspace.lake
    asked = days_of_run(context, lake, "feedback", "slates")
    table = lake.read_days(asked, "feedback", "slates") if asked else None
    if table is None or not table.num_rows:
        return nothing("nothing was served and seen on these days")
    store = open_store(workspace.settings)
    try:
        audited = audit_served(store.export()[0], store.items_at, table)
    finally:
        store.close()
    rows = audited.values // len(FEATURES)
    looked_at = f"{rows:,} of {table.num_rows:,} rows that were served and seen"
    if rows < table.num_rows:
        looked_at += ", the others are of other features or bear none"
    metadata = {"values": audited.values, "mismatches": audited.mismatches, "rows": rows, "served": table.num_rows}
    if not rows:
        return nothing(f"nothing was served with these features on these days ({looked_at})", metadata=metadata)
    return dg.AssetCheckResult(passed=audited.holds, description=f"{audited} ({looked_at})", metadata=metadata)


@dg.asset(kinds={"polars"}, owners=["team:recsys"])
def online_metrics(workspace: Workspace) -> dg.MaterializeResult:
    """Clicks an impression by day and bundle, from served log and events told so far: reports/online.parquet."""
    import polars as pl

    from recsys.monitoring import feedback as core
    from recsys.serving import served_log

    lake = workspace.lake
    folders = served_log.days(lake.served_log)[-JUDGED_DAYS:]
    paths = [path for day in folders for path in served_log.segments(lake.served_log, day)]
    seen = core.joined(
        pl.DataFrame(served_log.read(paths)).drop("features"), core.of_events(told_since(workspace, folders[:1]))
    )
    lake.write(seen.to_arrow(), lake.reports / "online.parquet")
    figures = core.by_bundle(seen)
    newest = figures.tail(1).to_dicts()
    lines = ["| day | bundle | impressions | clicks an impression | promised |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {r['day']} | {r['bundle']} | {r['impressions']:,} | {r['ctr']:.4f} | {r['p_click'] or float('nan'):.4f} |"
        for r in figures.to_dicts()
    ]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": seen.height,
            **({"clicks_an_impression": newest[0]["ctr"]} if newest else {}),
            "by_day": dg.MetadataValue.md("\n".join(lines)),
            "exploration": dg.MetadataValue.md(_exploration(core.by_exploration(seen))),
        },
        data_version=content(lake.reports / "online.parquet"),
    )


def _exploration(days: "pl.DataFrame") -> str:
    lines = [
        "| day | explored | items | clicks an impression there | elsewhere | discovered |",
        "| --- |" + " --- |" * 5,
    ]
    nothing = float("nan")
    lines += [
        f"| {r['day']} | {r['explored']:.1%} | {r['items']:,} | {r['ctr_explored'] or nothing:.4f} "
        f"| {r['ctr_ranked'] or nothing:.4f} | {r['discovered']:,} |"
        for r in days.to_dicts()
    ]
    return "\n".join(lines)


@dg.asset_check(asset="online_metrics")
def the_champion_holds_in_service(workspace: Workspace) -> dg.AssetCheckResult:
    """The champion has not lost 10 % of the clicks of the bundle before it, beyond what chance does once in 1,000
    over all hours of its first two days."""
    import polars as pl

    from recsys.monitoring.regression import compare
    from recsys.registry import Registry

    lake = workspace.lake
    promoted = [row for row in Registry(lake.registry).history() if row["alias"] == "champion"]
    if not promoted or promoted[-1]["action"] != "promote" or not promoted[-1]["from"]:
        return nothing("the champion was not promoted over another bundle")
    champion, before = promoted[-1]["bundle_id"], promoted[-1]["from"]
    compared = compare(pl.DataFrame(lake.read(lake.reports / "online.parquet")), champion, before)
    if not compared.enough:
        return nothing(f"{champion}: {compared}", metadata={"bundle": champion, "before": before})
    return dg.AssetCheckResult(
        passed=compared.holds,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{champion}: {compared}",
        metadata={"bundle": champion, "before": before, "users": compared.users},
    )


def told_since(workspace: Workspace, first: Sequence[str]) -> "pl.DataFrame":
    """The events that the service took, wherever they lie now; of the lake's, those of a first day (UTC) and later."""
    import polars as pl

    from recsys.cleaned import live as from_service
    from recsys.store.opening import told_events

    lake = workspace.lake
    live = told_events(workspace.settings)  # ahead of the lake, which has what leaves meanwhile
    before = [(date.fromisoformat(day) - timedelta(days=1)).isoformat() for day in first]  # local days begin earlier
    days = [day for day in lake.days(*from_service.RAW) if before and day >= before[0]]
    for day in days:
        live = from_service.together(from_service.given(lake, day), live)
    return pl.DataFrame(live)
