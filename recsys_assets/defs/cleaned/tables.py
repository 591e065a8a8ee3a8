"""Raw rows to clean facts by dbt: built and tested in its scratch database, then published."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
from dagster_dbt import DagsterDbtTranslator, dbt_assets
from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage

from recsys.cleaned.publish import TABLES, CleaningError, publish, publish_items, scratch
from recsys.lake import Lake
from recsys.sources.opening import open_source
from recsys_assets.checks.nothing import nothing
from recsys_assets.content import content
from recsys_assets.defs.automation.conditions import MISSED_DAY
from recsys_assets.defs.cleaned.project import build, manifest
from recsys_assets.partitions import CALENDAR
from recsys_assets.resources import Workspace

CATALOGUE = "stg_items items"  # not by day


class Names(DagsterDbtTranslator):
    """A model is the asset of its name; the source raw.events is the asset raw_events."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        name = str(dbt_resource_props["name"])
        is_source = dbt_resource_props["resource_type"] == "source"
        return dg.AssetKey(f"{dbt_resource_props['source_name']}_{name}" if is_source else name)

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        return str(dbt_resource_props["description"])

    def get_automation_condition(self, dbt_resource_props: Mapping[str, Any]) -> dg.AutomationCondition[Any] | None:
        return None if dbt_resource_props["name"] in CATALOGUE.split() else MISSED_DAY

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> Sequence[str]:
        return ["team:recsys"]


@dbt_assets(
    manifest=manifest(),
    exclude=CATALOGUE,
    name="cleaned_tables",
    partitions_def=CALENDAR,
    backfill_policy=dg.BackfillPolicy.single_run(),
    dagster_dbt_translator=Names(),
    pool="duckdb",
)
def cleaned_tables(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[Any]:
    """Events, impressions with their outcomes, sessions, quarantine and duplicates of the asked days."""
    lake, asked = workspace.lake, sorted(context.partition_keys)
    for day in asked:
        lake.there(lake.day(day, "raw", "events"))
    _require_present_columns(lake)

    def release() -> dict[str, int]:
        publish(lake, asked)
        counted = {
            (model, day): pq.read_metadata(lake.day(day, "cleaned", TABLES[model][0])).num_rows
            for model in TABLES
            for day in asked
        }
        selected = {key.to_user_string() for key in context.selected_asset_keys}
        for (model, day), rows in counted.items():
            if model in selected:
                context.add_asset_metadata({"dagster/row_count": rows}, asset_key=model, partition_key=day)
        return {model: sum(counted[model, day] for day in asked) for model in TABLES}

    offset = str(open_source(workspace.settings).utc_offset_ms)
    variables = {"start": asked[0], "end": asked[-1], "utc_offset_ms": offset}
    files = {model: [lake.day(day, "cleaned", folder) for day in asked] for model, (folder, _, _) in TABLES.items()}
    yield from _build_then(context, lake, ["--exclude", *CATALOGUE.split()], variables, release, files)


def _require_present_columns(lake: Lake) -> None:
    """dbt reads every raw day, and says nothing of use where one was written before a column was added.

    Raises:
        CleaningError: which days, and what to do.
    """
    days = lake.days("raw", "events")
    old = [day for day in days if "event_key" not in pq.read_schema(lake.day(day, "raw", "events")).names]
    if old:
        raise CleaningError(
            f"raw events of {old[0]} to {old[-1]} were written by an older version: take them in again (make run, or "
            f"make backfill FROM={old[0]} TO={old[-1]})"
        )


@dbt_assets(manifest=manifest(), select=CATALOGUE, name="catalogue", dagster_dbt_translator=Names(), pool="duckdb")
def catalogue(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[Any]:
    """The items, one row each, with their keys."""
    lake = workspace.lake
    lake.there(lake.table("raw", "items"))

    def release() -> dict[str, int]:
        items = publish_items(lake)
        if dg.AssetKey("items") in context.selected_asset_keys:
            context.add_asset_metadata({"dagster/row_count": items}, asset_key="items")
        return {"items": items}

    files = {"items": [lake.table("cleaned", "items")]}
    yield from _build_then(context, lake, ["--select", *CATALOGUE.split()], {}, release, files)


def _build_then(
    context: dg.AssetExecutionContext,
    lake: Lake,
    selection: Sequence[str],
    variables: dict[str, str],
    release: Callable[[], Mapping[str, int]],
    files: Mapping[str, Sequence[Path]],
) -> Iterator[Any]:
    """dbt's events, held back until `release` has published what they speak of; of a failed build only its checks.
    `release` gives the rows of each model: a check says how many it looked at.

    Whatever is selected, the models of a day are built together: one of them alone would be built on, and published
    beside, what the scratch database still holds of other days. Told are those that were selected.
    """
    names, folder, contents = Names(), scratch(lake) / "target", json.loads(manifest().read_bytes())
    built = build(lake.home, folder, selection, variables)
    events = [
        event
        for told in built.events
        for event in DbtCoreCliEventMessage(told, {}).to_default_asset_events(contents, names, context, folder)
        if _is_selected(context, event)
    ]
    if built.failure is not None:
        yield from (event for event in events if isinstance(event, dg.AssetCheckResult))
        raise CleaningError(f"dbt: {built.failure} (nothing was published)")
    rows = release()
    yield from (_looking_at(_versioned(event, files), rows) for event in events)


def _versioned(event: Any, files: Mapping[str, Sequence[Path]]) -> Any:
    """An output with the version of what was published of it; a model that stays with dbt has none of its own."""
    if not isinstance(event, dg.Output) or event.output_name not in files:
        return event
    version = content(*files[event.output_name])
    return dg.Output(event.value, event.output_name, metadata=event.metadata, data_version=version)


def _looking_at(event: Any, rows: Mapping[str, int]) -> Any:
    """dbt tells of a test only what it found: its check says of how many rows, too."""
    if not isinstance(event, dg.AssetCheckResult) or event.asset_key is None:
        return event
    model = event.asset_key.to_user_string()
    if model not in rows:
        return event
    said = f"{event.description}; " if event.description else ""
    if event.passed and not rows[model]:
        words = f"{said}{model} has no row of these days"
        return nothing(words, check_name=event.check_name, asset_key=model, metadata=event.metadata)
    return event._replace(
        description=f"{said}looked at {rows[model]:,} rows of {model}",
        metadata={**event.metadata, "looked_at": rows[model]},
    )


def _is_selected(context: dg.AssetExecutionContext, event: Any) -> bool:
    if isinstance(event, dg.AssetCheckResult):
        return dg.AssetCheckKey(event.asset_key, event.check_name) in context.selected_asset_check_keys
    if isinstance(event, dg.Output):
        return event.output_name in {key.to_python_identifier() for key in context.selected_asset_keys}
    return event.asset_key in context.selected_asset_keys  # what dbt tested of it, told beside its checks
