"""Raw rows to clean facts by dbt: built and tested in its scratch database, then published."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
from dagster_dbt import DagsterDbtTranslator, asset_utils, dbt_assets
from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage
from dagster_dbt.dbt_manifest import validate_manifest

from recsys.lake import Lake
from recsys_assets.defs.automation.conditions import MISSED_DAY
from recsys_assets.defs.cleaned.project import build, manifest
from recsys_assets.defs.cleaned.publish import TABLES, CleaningError, publish, publish_items, scratch
from recsys_assets.partitions import days
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
    partitions_def=days(),
    backfill_policy=dg.BackfillPolicy.single_run(),
    dagster_dbt_translator=Names(),
    pool="duckdb",
)
def cleaned_tables(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[Any]:
    """Events, impressions with their outcomes, sessions, quarantine and duplicates of the asked days."""
    lake, asked = workspace.lake, sorted(context.partition_keys)

    def release() -> None:
        publish(lake, asked)
        for model in TABLES.keys() & {key.to_user_string() for key in context.selected_asset_keys}:
            for day in asked:
                rows = pq.read_metadata(lake.day(day, "cleaned", TABLES[model][0])).num_rows
                context.add_asset_metadata({"dagster/row_count": rows}, asset_key=model, partition_key=day)

    yield from _build_then(context, lake, {"start": asked[0], "end": asked[-1]}, release)


@dbt_assets(manifest=manifest(), select=CATALOGUE, name="catalogue", dagster_dbt_translator=Names(), pool="duckdb")
def catalogue(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[Any]:
    """The items, one row each, with their keys."""
    lake = workspace.lake

    def release() -> None:
        context.add_asset_metadata({"dagster/row_count": publish_items(lake)}, asset_key="items")

    yield from _build_then(context, lake, {}, release)


def _build_then(
    context: dg.AssetExecutionContext, lake: Lake, variables: dict[str, str], release: Callable[[], None]
) -> Iterator[Any]:
    """dbt's events, held back until `release` has published what they speak of; of a failed build only its checks."""
    names, folder, contents = Names(), scratch(lake) / "target", validate_manifest(manifest())
    select = context.op.tags.get(asset_utils.DAGSTER_DBT_SELECT_METADATA_KEY)
    exclude = context.op.tags.get(asset_utils.DAGSTER_DBT_EXCLUDE_METADATA_KEY)
    selection, indirect = asset_utils.get_subset_selection_for_context(
        context,
        contents,
        select,
        exclude,
        selector=None,
        dagster_dbt_translator=names,
        current_dbt_indirect_selection_env=None,
    )
    selection += ["--indirect-selection", indirect] if indirect else []
    built = build(lake.home, folder, selection, variables)
    events = [
        event
        for told in built.events
        for event in DbtCoreCliEventMessage(told, {}).to_default_asset_events(contents, names, context, folder)
    ]
    if built.failure is not None:
        yield from (event for event in events if isinstance(event, dg.AssetCheckResult))
        raise CleaningError(f"dbt: {built.failure} (nothing was published)")
    release()
    yield from events
