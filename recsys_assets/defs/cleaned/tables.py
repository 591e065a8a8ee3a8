"""Raw rows to clean facts by dbt: built and tested in its scratch database, then published."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtCliRuntimeError, DagsterDbtTranslator, DbtCliResource, dbt_assets

from recsys.lake import Lake
from recsys_assets.defs.cleaned.project import DBT, PROJECT, manifest
from recsys_assets.defs.cleaned.publish import CleaningError, publish, publish_items, scratch
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
    variables = {"start": asked[0], "end": asked[-1]}
    yield from _build_then(context, lake, variables, lambda: publish(lake, asked))


@dbt_assets(manifest=manifest(), select=CATALOGUE, name="catalogue", dagster_dbt_translator=Names(), pool="duckdb")
def catalogue(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[Any]:
    """The items, one row each, with their keys."""
    lake = workspace.lake
    yield from _build_then(context, lake, {}, lambda: {"items": publish_items(lake)})


def _build_then(
    context: dg.AssetExecutionContext, lake: Lake, variables: dict[str, str], release: Callable[[], dict[str, int]]
) -> Iterator[Any]:
    """dbt's events, held back until `release` has published what they speak of; of a failed build only its checks."""
    folder = scratch(lake)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["RECSYS_HOME"] = str(lake.home)  # absolute: dbt works in its project's folder
    dbt = DbtCliResource(project_dir=str(PROJECT), profiles_dir=str(PROJECT), dbt_executable=str(DBT))
    # unit tests hold for the SQL, not for the day: they run with the project's tests
    arguments = ["build", "--exclude-resource-type", "unit_test", "--vars", json.dumps(variables)]
    invocation = dbt.cli(arguments, context=context, target_path=folder / "target")
    events = []
    try:
        events += invocation.stream()
    except DagsterDbtCliRuntimeError as error:
        yield from (event for event in events if isinstance(event, dg.AssetCheckResult))
        raise CleaningError(_why(invocation, error)) from None
    rows = release()
    for event in events:
        if isinstance(event, dg.Output) and (name := event.output_name) in rows:
            yield dg.Output(event.value, name, metadata={**event.metadata, "dagster/row_count": rows[name]})
        else:
            yield event


def _why(invocation: Any, error: Exception) -> str:
    """One line: the first model or test that failed and what dbt says of it."""
    try:
        results = invocation.get_artifact("run_results.json")["results"]
    except (OSError, ValueError, KeyError):
        results = []
    for result in results:
        if result["status"] in ("error", "fail"):
            message = " ".join(str(result["message"]).split())
            return f"dbt: {result['unique_id'].split('.')[2]}: {message:.300} (nothing was published)"
    return f"dbt: {' '.join(str(error).split())[-300:]}"
