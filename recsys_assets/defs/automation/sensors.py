"""What runs by itself when something happens. Only the alerts are on before somebody turns the others on.

Each sensor decides from records that stay (check evaluations, the registry, the lake) and keeps in its cursor only what
it has acted on. A run key names the cause, so a tick that is lost, or two that overlap, change nothing.
"""

import json
from datetime import date, timedelta

import dagster as dg

from recsys.lake import Lake
from recsys.registry import Registry
from recsys.settings import from_environment
from recsys_assets.checks.nothing import has_failed
from recsys_assets.defs.automation.schedules import WAITS, is_judging, learn_ranker, reindex, release
from recsys_assets.defs.monitoring.standing import DRIFT, standing

OFF = dg.DefaultSensorStatus.STOPPED
EVERY = 60  # seconds
REGRESSION = dg.AssetCheckKey(dg.AssetKey("online_metrics"), "the_champion_holds_in_service")
# Days of data. One day of a new world is half a day to learn from: a ranker of it did no better than the old one on
# the day after (click AUC .639 and .636, simulator), one of a day and a half did (.671).
CONFIRMED = 2
COOL_DOWN = 7  # windows of a week hold both worlds so long: what drifts meanwhile has the same cause
HELD_OUT_HOURS = 6  # of the newest day: the model has to know the new world, and be judged in it
LEARN_NOW = {"ops": {"training_set": {"config": {"hours": HELD_OUT_HOURS}}}}


@dg.sensor(
    job=learn_ranker,
    minimum_interval_seconds=EVERY,
    default_status=OFF,
    description="One retrain a cause: drift two days in a row, none within a week of the last, no broken day.",
)
def retrain_on_drift(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    drifted, looked = _days_by_verdict(context.instance)
    if not looked:
        return dg.SkipReason("drift was never looked for: materialize drift_report")
    newest = max(looked)
    if newest not in drifted:
        return dg.SkipReason(f"{newest}: features and predictions are stable")
    since = _unbroken(newest, drifted, looked)
    if len(since) < CONFIRMED:
        return dg.SkipReason(f"{newest} has drifted: a second day will tell whether the world has")
    last = json.loads(context.cursor)["through"] if context.cursor else None
    if last is not None and date.fromisoformat(newest) <= date.fromisoformat(last) + timedelta(days=COOL_DOWN):
        return dg.SkipReason(
            f"drift on {newest}, within {COOL_DOWN} days of the retrain through {last}: the same cause"
        )
    broken = [
        f for f in standing(context.instance, Lake(from_environment().home)) if f.check.split(":")[0] != "drift_report"
    ]
    if broken:
        return dg.SkipReason(
            f"drift on {newest}, but the data is not sound, a model would learn the fault: {broken[0]}"
        )
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=f"drift-{newest}",
                run_config=LEARN_NOW,
                tags={"recsys/cause": "drift", "recsys/finding": f"{since[0]} to {newest}"},
            )
        ],
        cursor=json.dumps({"through": newest}),
    )


@dg.sensor(
    job_name="rollback",
    minimum_interval_seconds=EVERY,
    default_status=OFF,
    description="The champion loses clicks against the bundle before it: that one comes back. Once a bundle.",
)
def rollback_on_regression(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    newest = _newest(context.instance, REGRESSION)
    if newest is None or not has_failed(newest):
        return dg.SkipReason("the champion holds in service")
    losing, champion = str(newest.metadata["bundle"].value), Registry(Lake(from_environment().home).registry).alias_id()
    if losing != champion:
        return dg.SkipReason(f"{losing} lost clicks, and is not the champion any more")
    return dg.RunRequest(run_key=f"rollback-{losing}", tags={"recsys/cause": "regression"})


@dg.sensor(
    job=release,
    minimum_interval_seconds=EVERY,
    default_status=OFF,
    description="A bundle became champion: its Bento is built.",
)
def release_on_promotion(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    champion = Registry(Lake(from_environment().home).registry).alias_id()
    if champion is None or champion == context.cursor:
        return dg.SkipReason("no new champion")
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"release-{champion}")], cursor=champion)


@dg.sensor(
    job=reindex,
    minimum_interval_seconds=EVERY,
    default_status=OFF,
    description="Cleaned items without a vector: they are embedded, indexed and put into a bundle.",
)
def reindex_on_new_items(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    import xxhash

    lake = Lake(from_environment().home)
    items, embedded = lake.table("cleaned", "items"), lake.table("embeddings", "items")
    if not items.exists() or not embedded.exists():
        return dg.SkipReason("nothing is embedded yet: materialize item_index")
    ids, known = (set(lake.read(path, ["item_id"])["item_id"].to_pylist()) for path in (items, embedded))
    new = sorted(ids - known)
    if not new:
        return dg.SkipReason(f"all {len(ids):,} items are embedded")
    if is_judging(context.instance):
        return WAITS
    key = xxhash.xxh3_64_hexdigest("\n".join(new).encode())
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"items-{key}", tags={"recsys/cause": "new items"})])


def _newest(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> dg.AssetCheckEvaluation | None:
    record = instance.get_latest_asset_check_evaluation_record(key)
    event = record.event.dagster_event if record and record.event else None
    evaluated = event is not None and event.event_type_value == "ASSET_CHECK_EVALUATION"
    return event.asset_check_evaluation_data if event is not None and evaluated else None


def _days_by_verdict(instance: dg.DagsterInstance, limit: int = 60) -> tuple[set[str], list[str]]:
    """Days whose newest look found drift, and every day that was looked at, in order."""
    verdicts: dict[str, bool] = {}
    for record in instance.event_log_storage.get_asset_check_execution_history(DRIFT, limit=limit):
        event = record.event.dagster_event if record.event else None
        if event is not None and event.event_type_value == "ASSET_CHECK_EVALUATION":
            evaluated = event.asset_check_evaluation_data
            if "day" in evaluated.metadata:
                verdicts.setdefault(str(evaluated.metadata["day"].value), not has_failed(evaluated))  # newest first
            elif evaluated.passed:
                break  # accepted by a person: what was found before is cleared
    return {day for day, passed in verdicts.items() if not passed}, sorted(verdicts)


def _unbroken(newest: str, drifted: set[str], looked: list[str]) -> list[str]:
    """The drifted days that follow one another up to the newest, oldest first."""
    since: list[str] = []
    for day in reversed(looked[: looked.index(newest) + 1]):
        if day not in drifted:
            break
        since.insert(0, day)
    return since
