"""What follows by itself from what changed: assets that no schedule names, and days that no night has taken in.

Schedules own the last two days (`observe_every_night`) and whatever learns; a condition here never asks for those.
"""

from datetime import timedelta

import dagster as dg

AC = dg.AutomationCondition
OFF = dg.DefaultSensorStatus.STOPPED
EVERY = 60  # seconds
NIGHTLY = timedelta(days=2)  # what observe_every_night takes in
LOOKED_BACK = timedelta(days=14)  # older days are a backfill: asked for by a person, in one command

IDLE = (~AC.in_progress() & ~AC.any_deps_in_progress()).with_label("nothing of it is under way")

# A night that did not run (the machine was off, the tick was lost) leaves a day that no later night asks for. Asked for
# once: a day that fails says why, and is not tried every minute.
MISSED_DAY = (
    (
        AC.missing()
        & AC.in_latest_time_window(LOOKED_BACK).with_label("a day of the last two weeks")
        & ~AC.in_latest_time_window(NIGHTLY).with_label("a day that the next night takes in")
    )
    .with_label("a day that no night has taken in")
    .newly_true()
    .since_last_handled()
    .with_label("not asked for yet")
    & IDLE
).with_label("a day of the last two weeks was missed")

AFTER_CHANGE = (
    AC.any_deps_updated().since_last_handled().with_label("what it is made from has changed since")
    & AC.all_deps_blocking_checks_passed().with_label("no blocking check of it failed")
    & IDLE
).with_label("what it is made from is new and sound")


keep_up_with_changes = dg.AutomationConditionSensorDefinition(
    "keep_up_with_changes",
    target=dg.AssetSelection.all(),
    default_status=OFF,
    minimum_interval_seconds=EVERY,
    run_tags={"recsys/cause": "a change"},
    description="Slates and the page of versions after what they are made from; days that no night has taken in.",
)
