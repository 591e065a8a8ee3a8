"""Slates precomputed for the users of the last day, by the core that answers over HTTP and gRPC."""

from collections.abc import Iterator

import dagster as dg

from recsys_assets.content import content
from recsys_assets.defs.automation.conditions import AFTER_CHANGE
from recsys_assets.resources import Workspace

USERS = 200  # the most active; some seconds, and enough for what e-mails and notifications start from


@dg.asset(
    deps=["bundle", "impressions"],
    automation_condition=AFTER_CHANGE,
    kinds={"parquet"},
    owners=["team:recsys"],
    output_required=False,  # without a champion there is nothing to make, and nothing is told as made
)
def slates(context: dg.AssetExecutionContext, workspace: Workspace) -> Iterator[dg.MaterializeResult]:
    """The feed of each of the last day's most active users, ten items, as the service would answer now."""
    from recsys.registry import Registry
    from recsys.serving import batch
    from recsys.serving.opening import open_recommender
    from recsys_assets.defs.serving.parts import example_users

    lake = workspace.lake
    if Registry(lake.registry).champion() is None:
        context.log.info("no bundle passed its gates yet")
        return
    recommender = open_recommender(workspace.settings, follow=False, logged=False)
    try:
        table = batch.slates(recommender, example_users(lake, USERS))
    finally:
        recommender.close()
    path = lake.table("serving", "slates")
    yield dg.MaterializeResult(
        metadata={
            "dagster/row_count": lake.write(table, path),
            "full": table["rung"].to_pylist().count("full"),
            "path": dg.MetadataValue.path(path),
        },
        data_version=content(path),
    )
