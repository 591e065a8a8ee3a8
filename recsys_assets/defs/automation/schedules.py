"""What runs by the clock."""

import dagster as dg

from recsys_assets.partitions import days

refresh = dg.define_asset_job(
    "refresh",
    selection=dg.AssetSelection.all(),
    description="The whole graph for a range of days.",
)
learn = dg.define_asset_job(
    "learn",
    selection=dg.AssetSelection.assets("training_set").downstream(),
    description="From the training set to a gated bundle, on the days that are there.",
)


@dg.schedule(job=refresh, cron_schedule="0 3 * * *", default_status=dg.DefaultScheduleStatus.STOPPED)
def refresh_every_night(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """At three, when the late events of the evening are in: the two last days in one run."""
    keys = days().get_partition_keys(current_time=context.scheduled_execution_time)
    if len(keys) < 2:
        return dg.SkipReason("fewer than two days of data so far")
    return dg.RunRequest(
        run_key=keys[-1],
        tags={"dagster/asset_partition_range_start": keys[-2], "dagster/asset_partition_range_end": keys[-1]},
    )
