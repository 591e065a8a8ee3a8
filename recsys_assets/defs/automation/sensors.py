"""What runs by itself when something happens."""

import json
import logging
import time
from datetime import timedelta

import dagster as dg

from recsys_assets.defs.automation.schedules import learn

COOL_DOWN = timedelta(hours=12)  # a retrain sees a day's data at best: a second one sooner would learn nothing new
DRIFT_CHECK = dg.AssetCheckKey(dg.AssetKey("drift_report"), "features_and_predictions_are_stable")


@dg.sensor(job=learn, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.STOPPED)
def retrain_on_drift(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """One retrain for one finding of drift: the cursor keeps the last finding and the last retrain."""
    record = context.instance.event_log_storage.get_latest_asset_check_execution_by_key([DRIFT_CHECK]).get(DRIFT_CHECK)
    evaluation = record.event.dagster_event.asset_check_evaluation_data if record and record.event else None
    if record is None or evaluation is None:
        return dg.SkipReason("drift was never looked for: materialize drift_report")
    seen = json.loads(context.cursor) if context.cursor else {"finding": None, "retrained_at": 0.0}
    finding, now = record.id, time.time()
    if finding == seen["finding"]:
        return dg.SkipReason("nothing new since the last look")
    if evaluation.passed:
        cursor = json.dumps({**seen, "finding": finding})
        return dg.SensorResult(skip_reason=dg.SkipReason("features and predictions are stable"), cursor=cursor)
    if now - seen["retrained_at"] < COOL_DOWN.total_seconds():
        return dg.SkipReason(f"drift again within {COOL_DOWN} of the last retrain: waiting")
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=f"drift-{finding}", tags={"recsys/cause": "drift"})],
        cursor=json.dumps({"finding": finding, "retrained_at": now}),
    )


@dg.run_failure_sensor(default_status=dg.DefaultSensorStatus.RUNNING)
def tell_of_failure(context: dg.RunFailureSensorContext) -> None:
    """Every failed run, with its first reason, as one line of the log `recsys.alerts`."""
    reason = (context.failure_event.message or "no reason given").splitlines()[0]
    logging.getLogger("recsys.alerts").error(
        "run %s of %s failed: %s", context.dagster_run.run_id, context.dagster_run.job_name, reason
    )
