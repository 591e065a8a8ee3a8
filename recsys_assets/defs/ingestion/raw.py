"""What the source says, and what the service was told, as raw tables; nothing is judged here."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.cleaned import live as from_service
from recsys.cleaned import people
from recsys.cleaned.said import MOST_LOST, fell, lost_items, shares_of_items
from recsys.cleaned.versions import appended, as_of, starts_at, timeline
from recsys.events import DAY_MS
from recsys.lake import Lake, LakeError
from recsys.privacy.border import Border
from recsys.settings import Settings
from recsys.sources.days import read_day
from recsys.sources.opening import open_source
from recsys.sources.source import SourceError, day_number
from recsys.store.errors import StoreMissing
from recsys.store.online import OnlineStore
from recsys.store.opening import open_store, told_events
from recsys.store.told import TOLD_SCHEMA
from recsys_assets.checks.nothing import nothing
from recsys_assets.content import content, content_of_days
from recsys_assets.defs.automation.conditions import MISSED_DAY
from recsys_assets.partitions import CALENDAR, days_asked
from recsys_assets.resources import Workspace
from recsys_assets.stock import own_source, take_stock

# In a raw day's metadata: how many rows the source had of it then, and their digest.
SOURCE_ROWS = b"source_rows"
SOURCE_DIGEST = b"source_digest"


@dg.asset(
    partitions_def=CALENDAR,
    backfill_policy=dg.BackfillPolicy.single_run(),
    automation_condition=MISSED_DAY,
    kinds={"python", "parquet"},
    owners=["team:recsys"],
    check_specs=[
        dg.AssetCheckSpec("every_source_row_is_accounted_for", asset="raw_events", blocking=True),
        dg.AssetCheckSpec("source_rows_are_readable", asset="raw_events"),
        dg.AssetCheckSpec("no_day_is_a_stray", asset="raw_events"),
        dg.AssetCheckSpec("no_day_changed_since", asset="raw_events"),
    ],
)
def raw_events(
    context: dg.AssetExecutionContext, workspace: Workspace
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Every delivery of an event, by the local day it was received: from the source, and from the service's own log.

    What has left that log is taken from the day as it lies here already.
    """
    settings, lake = workspace.settings, workspace.lake
    source, border = open_source(settings), Border.of(settings)
    stock = take_stock(settings, source)
    offered = source.days() if source.name != "simulator" else {}  # its days are lived anew each time, and never change
    border.keep_mark(lake.home)
    digests = source.digests()
    live = told_events(settings)  # with the positions it gave; read ahead of the lake, which has what leaves meanwhile
    local_day = pc.divide(pc.add(live["received_at"], source.utc_offset_ms), DAY_MS)
    read = kept = refused = told = 0
    reasons: list[str] = []
    for day in sorted(context.partition_keys):
        delivered = read_day(source, day, stock.stray_days)
        try:
            kept_before = from_service.given(lake, day)
        except LakeError as error:
            raise SourceError(str(error)) from None
        answered = from_service.together(kept_before, live.filter(pc.equal(local_day, day_number(day))))
        # the service's events passed the same border when they came in
        given = border.events(delivered.events)
        if source.name != "simulator":  # it lives in its own time: who tells a service of it knows what they do
            _refuse_served(lake, day, given, answered)
        rows = pa.concat_tables([given, answered], promote_options="default")
        noted = {SOURCE_ROWS: str(offered.get(day, 0)), SOURCE_DIGEST: digests.get(day, "")}
        rows = rows.replace_schema_metadata(noted)
        written = _write(lake, rows, lake.day(day, "raw", "events"))
        context.add_asset_metadata({"dagster/row_count": written}, partition_key=day)
        _write(lake, border.rejected(delivered.rejected), lake.day(day, "raw", "rejected"))
        read, kept, told = read + delivered.rows_read, kept + delivered.rows_kept, told + answered.num_rows
        refused += delivered.rejected.num_rows
        reasons += delivered.rejected.slice(0, 3).select(["origin", "reason"]).to_pylist()
    counts = {"source_rows": read, "rows_kept": kept, "rows_rejected": refused, "live_events": told}
    yield dg.MaterializeResult(
        metadata=counts, data_version=content_of_days(lake, context.partition_keys, "raw", "events")
    )
    names = ("every_source_row_is_accounted_for", "source_rows_are_readable")
    if not (read or kept or refused):  # days that only the service has
        yield from (nothing("the source has no row of these days", check_name=name, metadata=counts) for name in names)
    else:
        yield dg.AssetCheckResult(
            check_name=names[0],
            passed=read == kept + refused,
            description=f"{read:,} source rows = {kept:,} kept + {refused:,} rejected",
            metadata=counts,
        )
        first = "".join(f"; {r['origin']}: {r['reason']}" for r in reasons[:3])
        yield dg.AssetCheckResult(
            check_name=names[1],
            passed=refused == 0,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{refused:,} rows in lake/raw/rejected{first}" if refused else f"all {read:,} source rows",
            metadata=counts,
        )
    strays = [stray for stray, home in stock.stray_days.items() if home in context.partition_keys]
    named = f"{', '.join(strays[:3])}{' and more' if len(strays) > 3 else ''}: rows of a wrong clock, in quarantine"
    yield dg.AssetCheckResult(
        check_name="no_day_is_a_stray",
        passed=not strays,
        severity=dg.AssetCheckSeverity.WARN,
        description=named if strays else f"none is kept in {len(context.partition_keys):,} days",
    )
    if not offered:
        yield nothing("days of the simulator never change", check_name="no_day_changed_since")
        return
    compared, changed = _changed(lake, offered, digests)
    words = [f"{day} has {how} when it was taken in" for day, how in changed.items()]
    do = f": make backfill FROM={min(changed)} TO={stock.last_day} AGAIN=1 takes them in" if changed else ""
    yield dg.AssetCheckResult(
        check_name="no_day_changed_since",
        passed=not changed,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(words[:3]) + (f" and {len(words) - 3} days more" if words[3:] else "") + do
        or f"none of {compared:,} days",
    )


@dg.asset(
    kinds={"python", "parquet"},
    owners=["team:recsys"],
    check_specs=[
        dg.AssetCheckSpec("item_values_are_readable", asset="raw_items"),
        dg.AssetCheckSpec("items_are_still_said", asset="raw_items"),
    ],
)
def raw_items(
    context: dg.AssetExecutionContext, workspace: Workspace
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """The items that the source or the service named, as they are now; beside them every version of them, append-only.

    The later word stands, whoever said it. A changed row of the source that says no instant holds from the start of
    the first day that is taken in with it (recsys.cleaned.versions).
    """
    settings, lake, source = workspace.settings, workspace.lake, own_source(workspace.settings)
    given = source.items()
    told = _from_store(settings, OnlineStore.told_items, TOLD_SCHEMA)
    path = lake.table("raw", "item_versions")
    before = lake.read(path) if path.exists() else None
    asked = days_asked(settings, context.run.tags)
    start = starts_at(lake.days("cleaned", "events"), asked, source.utc_offset_ms)
    versions = appended(before, given, told, start)
    if before is None or versions.num_rows > before.num_rows:
        _write(lake, versions, path)
    items = as_of(timeline(versions), time.time_ns() // 1_000_000)
    named = pa.chunked_array([*given["item_id"].chunks, *told["item_id"].chunks], pa.string())
    items = items.filter(pc.is_in(items["item_id"], value_set=named.combine_chunks()))
    current = lake.table("raw", "items")
    catalogue = lake.read(current) if current.exists() else None
    rows = _write(lake, items, current)
    counts = {"live_items": pc.count_distinct(told["item_id"]).as_py(), "versions": versions.num_rows}
    yield dg.MaterializeResult(
        metadata={"dagster/row_count": rows, **counts},
        data_version=content(current, path),
    )
    yield _still_said(catalogue, items)
    refused = source.refused("items")
    yield _readable("item_values_are_readable", refused, lake.table("raw", "rejected_items"), lake, given.num_rows)


@dg.asset(
    kinds={"python", "parquet"},
    owners=["team:recsys"],
    check_specs=[
        dg.AssetCheckSpec("user_values_are_readable", asset="raw_users"),
        dg.AssetCheckSpec("attributes_are_still_said", asset="raw_users"),
    ],
)
def raw_users(
    context: dg.AssetExecutionContext, workspace: Workspace
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """The users whom the source names; beside them every version of what it says of them, append-only.

    A changed attribute that says no instant holds from the start of the first day that is taken in with it.
    """
    settings, lake, source = workspace.settings, workspace.lake, own_source(workspace.settings)
    border, path = Border.of(settings), lake.table("raw", "user_attributes")
    rows = _write(lake, border.users(source.users()), lake.table("raw", "users"))
    said, before = border.users(source.attributes()), lake.read(path) if path.exists() else None
    if said.num_rows or before is not None:
        asked = days_asked(settings, context.run.tags)
        start = starts_at(lake.days("cleaned", "events"), asked, source.utc_offset_ms)
        _write(lake, people.appended(before, said, start), path)
    told = {"described_users": pc.count_distinct(said["user_id"]).as_py()}
    yield dg.MaterializeResult(
        metadata={"dagster/row_count": rows, **told},
        data_version=content(*filter(Path.exists, (lake.table("raw", "users"), path))),
    )
    shares = people.shares(said)
    less = fell({} if before is None else people.shares(before), shares)
    words = _fallen(less, "users")
    if not (shares or less):
        yield nothing("nothing is said of users", check_name="attributes_are_still_said")
    else:
        yield dg.AssetCheckResult(
            check_name="attributes_are_still_said",
            passed=not less,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(words) or f"all {len(shares)} attributes of {told['described_users']:,} users",
            metadata={name: round(share, 4) for name, share in shares.items()},
        )
    refused = border.rejected(source.refused("users"))
    yield _readable("user_values_are_readable", refused, lake.table("raw", "rejected_users"), lake, rows)


def _fallen(less: list[tuple[str, float, float]], whom: str) -> list[str]:
    return [f"{name} was said of {once:.0%} of the {whom}, and now of {now:.0%}" for name, once, now in less]


def _still_said(before: pa.Table | None, now: pa.Table) -> dg.AssetCheckResult:
    """Whether the catalogue is as whole as it was: what it holds no more can be recommended no more."""
    if before is None or not before.num_rows:
        return nothing("there is no catalogue of before", check_name="items_are_still_said")
    lost = lost_items(before, now)
    words = _fallen(fell(shares_of_items(before), shares_of_items(now)), "items")
    passed = not words and lost <= MOST_LOST * before.num_rows
    gone = f"{lost:,} of {before.num_rows:,} items of before are in the catalogue no more"
    return dg.AssetCheckResult(
        check_name="items_are_still_said",
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join([*words, gone]) + ("" if passed else ": was a file cut, or a column renamed?"),
        metadata={"items_lost": lost},
    )


def _readable(name: str, refused: pa.Table, path: Path, lake: Lake, rows: int) -> dg.AssetCheckResult:
    """Whether every value of a table of so many rows could be read; those that could not are written down."""
    _write(lake, refused, path)
    if not (rows or refused.num_rows):
        return nothing("the source has no row of them", check_name=name)
    first = "".join(f"; {r['origin']}: {r['reason']}" for r in refused.slice(0, 3).to_pylist())
    return dg.AssetCheckResult(
        check_name=name,
        passed=refused.num_rows == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{refused.num_rows:,} values in {path.name}{first}"
        if refused.num_rows
        else f"all of {rows:,} rows",
        metadata={"values_refused": refused.num_rows},
    )


def _changed(lake: Lake, offered: Mapping[str, int], digests: Mapping[str, str]) -> tuple[int, dict[str, str]]:
    """How many days were compared; and those of which the source had other rows when they were taken in, with how they
    differ.

    A row without `received_at` that comes late belongs to a day that is in already, as does one that was corrected:
    nobody would take it in.
    """
    noted = {day: pq.read_schema(lake.day(day, "raw", "events")).metadata or {} for day in lake.days("raw", "events")}
    then = {day: about for day, about in noted.items() if SOURCE_ROWS in about}
    changed = {}
    for day, about in then.items():
        was, now = int(about[SOURCE_ROWS]), offered.get(day, 0)
        digest, due = about.get(SOURCE_DIGEST, b"").decode(), digests.get(day, "")
        if was != now:
            changed[day] = f"{now:,} rows in the source, and had {was:,}"
        elif digest != due and digest.partition(":")[0] == due.partition(":")[0]:
            changed[day] = "other rows in the source than"
    return len(then), changed


def _refuse_served(lake: Lake, day: str, given: pa.Table, answered: pa.Table) -> None:
    """A day comes from the source, or live: rows of it that come in after it was served stand before what was served,
    and whoever was told of an event twice counts it twice. What was taken in before the service began is no news.

    Raises:
        SourceError: in one line.
    """
    if not answered.num_rows or not given.num_rows:
        return
    path = lake.day(day, "raw", "events")
    before = pq.read_table(path, columns=["event_key", "position"]) if path.exists() else None
    if before is not None:
        imported = before.filter(pc.is_null(before["position"]))["event_key"]
        if sorted(map(str, imported.to_pylist())) == sorted(map(str, given["event_key"].to_pylist())):
            return
    raise SourceError(
        f"{day}: the source has {len(given):,} rows of this day, and the service was told {len(answered):,} events"
        " live: a day comes from one of them, so take its rows out of RECSYS_DATA"
    )


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
