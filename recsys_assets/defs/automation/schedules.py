"""What runs by the clock. Off until somebody turns it on."""

import dagster as dg

from recsys_assets.partitions import days

OFF = dg.DefaultScheduleStatus.STOPPED
FIRST, LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
OBSERVED = (
    "raw_events",
    "cleaned_events",
    "impressions",
    "impression_features",
    "online_state",
    "feedback",
    "online_metrics",
    "drift_report",
)
DBT = ("stg_events", "judged_events", "duplicates", "quarantine", "sessions")
CATALOGUE = ("raw_items", "raw_users", "stg_items", "items")
JUDGING = ("training_set", "drift_reference", "retrieval_candidates", "evaluation", "verdict", "bundle")
# What sensors, conditions and the night bring after a bundle: in a job that learns they would be made twice.
FOLLOWING = ("drift_report", "slates", "bundle_versions", "bento")

refresh = dg.define_asset_job(
    "refresh", selection=dg.AssetSelection.all(), description="The whole graph for a range of days."
)
observe = dg.define_asset_job(
    "observe",
    selection=dg.AssetSelection.assets(*CATALOGUE, *DBT, *OBSERVED),
    description="Take days in: cleaned, features, feedback, online state, drift. Learns nothing.",
)
take_in = dg.define_asset_job(
    "take_in",
    selection=dg.AssetSelection.assets(*CATALOGUE, *DBT, *OBSERVED[:4]),
    description="Raw to features for a range of days: what a backfill does.",
)
learn = dg.define_asset_job(
    "learn",
    selection=dg.AssetSelection.assets("training_set").downstream() - dg.AssetSelection.assets(*FOLLOWING),
    description="From the training set to a gated bundle, towers and all, on the days that are there.",
)
learn_ranker = dg.define_asset_job(
    "learn_ranker",
    selection=dg.AssetSelection.assets("xgboost_ranker", "mmoe_ranker", "ranker", *JUDGING),
    description="A new ranker to a gated bundle, with the towers and the index that are there.",
)
embed = dg.define_asset_job(
    "embed",
    selection=dg.AssetSelection.assets(*CATALOGUE, "item_embeddings", "item_index"),
    description="The catalogue as it is now, embedded and indexed by the towers that are there.",
)
reindex = dg.define_asset_job(
    "reindex",
    selection=dg.AssetSelection.assets("item_embeddings", "item_index", "bundle"),
    description="Items that came in since, embedded, indexed, and in a bundle of the models that passed their gates.",
)
watch = dg.define_asset_job(
    "watch", selection=dg.AssetSelection.assets("online_metrics"), description="How the champion does in service."
)
release = dg.define_asset_job(
    "release", selection=dg.AssetSelection.assets("bento"), description="The champion as a Bento, ready to ship."
)


@dg.schedule(
    job=observe,
    cron_schedule="0 3 * * *",
    default_status=OFF,
    description="At three, when late events are in: the last two days, so that late outcomes find their rows.",
)
def observe_every_night(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    keys = days().get_partition_keys(current_time=context.scheduled_execution_time)
    if len(keys) < 2:
        return dg.SkipReason("fewer than two days of data so far")
    return dg.RunRequest(run_key=keys[-1], tags={FIRST: keys[-2], LAST: keys[-1]})


@dg.schedule(
    job=learn_ranker,
    cron_schedule="0 4 * * *",
    default_status=OFF,
    description="At four, on what the night has brought.",
)
def learn_ranker_every_day(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    return dg.RunRequest(run_key=f"ranker-{context.scheduled_execution_time:%Y-%m-%d}")


@dg.schedule(
    job=learn,
    cron_schedule="0 5 * * 0",
    default_status=OFF,
    description="On Sundays at five: towers, ranker, index and sources.",
)
def learn_everything_every_week(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    return dg.RunRequest(run_key=f"everything-{context.scheduled_execution_time:%Y-%m-%d}")


@dg.schedule(
    job=embed,
    cron_schedule="10 * * * *",
    default_status=OFF,
    description="Ten past: what was published in the hour can be retrieved in the next.",
)
def embed_items_every_hour(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    return dg.RunRequest(run_key=f"embed-{context.scheduled_execution_time:%Y-%m-%dT%H}")


@dg.schedule(
    job=watch,
    cron_schedule="40 * * * *",
    default_status=OFF,
    description="Twenty to: a bundle that loses clicks is known within the hour.",
)
def watch_every_hour(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    return dg.RunRequest(run_key=f"watch-{context.scheduled_execution_time:%Y-%m-%dT%H}")
