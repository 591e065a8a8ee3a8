"""What the source says, and what the service was told, as raw tables; nothing is judged here."""

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from recsys.events import DAY_MS, EVENT_SCHEMA, ITEM_SCHEMA
from recsys.features.privacy import Border
from recsys.features.store import OnlineStore, StoreMissing, open_store
from recsys.lake import Lake
from recsys.settings import Settings
from recsys.sources.source import SourceError, day_number, open_source
from recsys_assets.defs.automation.conditions import MISSED_DAY
from recsys_assets.partitions import days
from recsys_assets.resources import Workspace


@dg.asset(
    partitions_def=days(),
    backfill_policy=dg.BackfillPolicy.single_run(),
    automation_condition=MISSED_DAY,
    kinds={"python", "parquet"},
    owners=["team:recsys"],
    check_specs=[
        dg.AssetCheckSpec("every_source_row_is_accounted_for", asset="raw_events", blocking=True),
        dg.AssetCheckSpec("source_rows_are_readable", asset="raw_events"),
    ],
)
def raw_events(
    context: dg.AssetExecutionContext, workspace: Workspace
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Every delivery of an event, by the local day it was received: from the source, and from the service's own log."""
    settings, lake = workspace.settings, workspace.lake
    source, border = open_source(settings), Border.of(settings)
    live = _from_store(settings, lambda store: store.tail(0), EVENT_SCHEMA)  # with the positions it gave
    local_day = pc.divide(pc.add(live["received_at"], source.utc_offset_ms), DAY_MS)
    read = kept = refused = told = 0
    reasons: list[str] = []
    for day in sorted(context.partition_keys):
        found = source.read_day(day)
        answered = live.filter(pc.equal(local_day, day_number(day)))
        # the service's events passed the same border when they came in
        events = pa.concat_tables([border.events(found.events), answered])
        written = _write(lake, events, lake.day(day, "raw", "events"))
        context.add_asset_metadata({"dagster/row_count": written}, partition_key=day)
        _write(lake, border.rejected(found.rejected), lake.day(day, "raw", "rejected"))
        read, kept, told = read + found.rows_read, kept + found.rows_kept, told + answered.num_rows
        refused += found.rejected.num_rows
        reasons += found.rejected.slice(0, 3).select(["origin", "reason"]).to_pylist()
    counts = {"source_rows": read, "rows_kept": kept, "rows_rejected": refused, "live_events": told}
    yield dg.MaterializeResult(metadata=counts)
    yield dg.AssetCheckResult(
        check_name="every_source_row_is_accounted_for",
        passed=read == kept + refused,
        description=f"{read:,} source rows = {kept:,} kept + {refused:,} rejected",
        metadata=counts,
    )
    first = "".join(f"; {r['origin']}: {r['reason']}" for r in reasons[:3])
    yield dg.AssetCheckResult(
        check_name="source_rows_are_readable",
        passed=refused == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{refused:,} rows in lake/raw/rejected{first}" if refused else "all",
        metadata=counts,
    )


@dg.asset(kinds={"python", "parquet"}, owners=["team:recsys"])
def raw_items(workspace: Workspace) -> dg.MaterializeResult:
    """The catalogue as the source gives it; where the service was told of an item, its word stands."""
    lake, given = workspace.lake, open_source(workspace.settings).items()
    told = _from_store(workspace.settings, OnlineStore.told_items, ITEM_SCHEMA)
    own = given.filter(pc.invert(pc.is_in(given["item_id"], value_set=told["item_id"].combine_chunks())))
    rows = _write(lake, pa.concat_tables([own, told.cast(given.schema)]), lake.table("raw", "items"))
    return dg.MaterializeResult(metadata={"dagster/row_count": rows, "live_items": told.num_rows})


@dg.asset(kinds={"python", "parquet"}, owners=["team:recsys"])
def raw_users(workspace: Workspace) -> dg.MaterializeResult:
    """The users whom the source names."""
    lake = workspace.lake
    users = Border.of(workspace.settings).users(open_source(workspace.settings).users())
    rows = _write(lake, users, lake.table("raw", "users"))
    return dg.MaterializeResult(metadata={"dagster/row_count": rows})


def _from_store(settings: Settings, ask: Callable[[OnlineStore], pa.Table], schema: pa.Schema) -> pa.Table:
    """What the service accepted: a later day's input, never an import."""
    try:
        store = open_store(settings)
    except StoreMissing:  # no service has run on these features yet
        return schema.empty_table()
    try:
        return ask(store)
    finally:
        store.close()


def _write(lake: Lake, table: pa.Table, path: Path) -> int:
    try:
        return lake.write(table, path)
    except OSError as error:
        raise SourceError(f"cannot write {path.name} ({error}): free space below {lake.home}, then run again") from None
