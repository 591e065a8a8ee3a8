"""What follows by itself from what changed: assets that no schedule names, and days that no night has taken in.

Schedules own the last two days (`observe_every_night`) and whatever learns; a condition here never asks for those.
"""

from datetime import date, timedelta

import dagster as dg

AC = dg.AutomationCondition
OFF = dg.DefaultSensorStatus.STOPPED
EVERY = 60  # seconds
NIGHTLY = 2  # whole days on offer that observe_every_night takes in
LOOKED_BACK = timedelta(days=14)  # older days are a backfill: asked for by a person, in one command


class LeftByTheNight(dg.AutomationCondition):  # type: ignore[type-arg]
    """Days on offer of the last two weeks, but for those that the next night takes in, and today.

    Written here, since `in_latest_time_window` knows no partitions but those of the clock.
    """

    @property
    def name(self) -> str:
        return "left_by_the_night"

    @property
    def description(self) -> str:
        return "a day of the last two weeks, and none that the next night takes in"

    def evaluate(self, context: dg.AutomationContext) -> dg.AutomationResult:  # type: ignore[type-arg]
        offered = sorted(context.candidate_subset.partitions_def.get_partition_keys())
        whole = [day for day in offered if day < f"{context.evaluation_time:%Y-%m-%d}"]
        newest = date.fromisoformat(whole[-1]) if whole else date.min + LOOKED_BACK
        left = {day for day in whole[:-NIGHTLY] if date.fromisoformat(day) > newest - LOOKED_BACK}
        return dg.AutomationResult(context, context.candidate_subset.compute_intersection_with_partition_keys(left))


IDLE = (~AC.in_progress() & ~AC.any_deps_in_progress()).with_label("nothing of it is under way")

# A night that did not run (the machine was off, the tick was lost) leaves a day that no later night asks for. Asked for
# once: a day that fails says why, and is not tried every minute.
MISSED_DAY = (
    (AC.missing() & LeftByTheNight())
    .with_label("a day that no night has taken in")
    .newly_true()
    .since_last_handled()
    .with_label("not asked for yet")
    & IDLE
).with_label("a day of the last two weeks was missed")

AFTER_CHANGE = (
    AC.any_deps_match(AC.data_version_changed())
    .since_last_handled()
    .with_label("what it is made from has other bytes than before")
    & AC.all_deps_blocking_checks_passed().with_label("no blocking check of it failed")
    & IDLE
).with_label("what it is made from is new and sound")


keep_up_with_changes = dg.AutomationConditionSensorDefinition(
    "keep_up_with_changes",
    target=dg.AssetSelection.all(),
    default_status=OFF,
    minimum_interval_seconds=EVERY,
    use_user_code_server=True,  # where LeftByTheNight is known
    run_tags={"recsys/cause": "a change"},
    description="Slates and the page of versions after what they are made from; days that no night has taken in.",
)
