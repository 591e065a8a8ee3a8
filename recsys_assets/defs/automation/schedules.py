"""What runs by the clock. Off until somebody turns it on.

`AutomationCondition.on_cron` was tried in their place (Dagster 1.13.27). With static partitions it asks for all 28
days, and the night takes in the last two alone. It asks for what is made from all days as soon as any day is made anew
(2 of 28), so the learning at four would wait for the night no better than the clock does.
"""

from datetime import timedelta

import dagster as dg

from recsys.settings import from_environment
from recsys_assets.stock import fresh

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
    "foreseen",
    "experiments",
    "drift_report",
)
DBT = ("stg_events", "judged_events", "duplicates", "quarantine", "searches", "sessions")
CATALOGUE = ("raw_items", "raw_users", "stg_items", "items")
JUDGED = ("retrieval_candidates", "evaluation", "verdict", "bundle")  # a bundle holds what its verdict is about
JUDGING = ("training_set", "drift_reference", *JUDGED)
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
    selection=dg.AssetSelection.assets(
        "xgboost_ranker", "mmoe_ranker", "factor_ranker", "ranker", "refreshed_factors", "shelf_orders", *JUDGING
    ),
    description="A new ranker to a gated bundle, with the towers and the index that are there.",
)
embed = dg.define_asset_job(
    "embed",
    selection=dg.AssetSelection.assets(*CATALOGUE, "item_embeddings", "item_index"),
    description="The catalogue as it is now, embedded and indexed by the towers that are there.",
)
reindex = dg.define_asset_job(
    "reindex",
    selection=dg.AssetSelection.assets("item_embeddings", "item_index", *JUDGED),
    description="Items that came in since, embedded, indexed, judged with the models that are there, and in a bundle.",
)
watch = dg.define_asset_job(
    "watch",
    selection=dg.AssetSelection.assets("online_metrics", "experiments"),
    description="How the champion and every experiment do in service.",
)
release = dg.define_asset_job(
    "release", selection=dg.AssetSelection.assets("bento"), description="The champion as a Bento, ready to ship."
)


def is_judging(instance: dg.DagsterInstance) -> bool:
    """Whether a run is on its way to a verdict: a new index beneath it would make that verdict one about another."""
    under_way = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    runs = instance.get_runs(dg.RunsFilter(statuses=under_way))
    return any(run.job_name in (job.name for job in (refresh, learn, learn_ranker, reindex)) for run in runs)


WAITS = dg.SkipReason("a bundle is being judged: its index stays as it is until then")


@dg.schedule(
    job=observe,
    cron_schedule="0 3 * * *",
    default_status=OFF,
    description="At three, when late events are in: the last two days, so that late outcomes find their rows.",
)
def observe_every_night(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    stock = fresh(from_environment())  # what came in since the definitions were loaded is taken in all the same
    local = context.scheduled_execution_time + timedelta(milliseconds=stock.utc_offset_ms)
    keys = [day for day in stock.days if day < f"{local:%Y-%m-%d}"]  # a day is whole when it is over
    if len(keys) < 2:
        return dg.SkipReason("fewer than two whole days of data so far")
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
def embed_items_every_hour(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    if is_judging(context.instance):
        return WAITS
    return dg.RunRequest(run_key=f"embed-{context.scheduled_execution_time:%Y-%m-%dT%H}")


@dg.schedule(
    job=watch,
    cron_schedule="40 * * * *",
    default_status=OFF,
    description="Twenty to: a bundle that loses clicks is known within the hour.",
)
def watch_every_hour(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    return dg.RunRequest(run_key=f"watch-{context.scheduled_execution_time:%Y-%m-%dT%H}")
