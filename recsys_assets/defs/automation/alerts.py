"""Who is told when a run fails: the log `recsys.alerts`, and a webhook where RECSYS_ALERT_WEBHOOK names one."""

import json
import logging
import urllib.request

import dagster as dg

from recsys.settings import from_environment

SECONDS = 5.0
alerts = logging.getLogger("recsys.alerts")


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Every failed run with its first reason: one line of the log, one call of the webhook.",
)
def tell_of_failure(context: dg.RunFailureSensorContext) -> None:
    run = context.dagster_run
    reason = (context.failure_event.message or "no reason given").splitlines()[0]
    tell({"job": run.job_name, "run_id": run.run_id, "reason": reason, "tags": dict(run.tags)})


def tell(alert: dict[str, object]) -> None:
    """Log an alert, and post it as JSON; a webhook that does not answer is logged and stops nobody."""
    alerts.error("run %s of %s failed: %s", alert["run_id"], alert["job"], alert["reason"])
    webhook = from_environment().alert_webhook
    if webhook is None:
        return
    body = json.dumps({"text": f"{alert['job']} failed: {alert['reason']}", **alert}).encode()
    request = urllib.request.Request(webhook.get_secret_value(), body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS):
            pass
    except (OSError, ValueError) as error:
        alerts.error("the webhook did not take it (%s)", type(error).__name__)
