#!/usr/bin/env bash
# Expected: `30 2 * * *` in a zone of its own runs once a day, also on the days of 23 and 25 hours.
# Happens: on the long day croniter and APScheduler run twice, at both 2:30; cronsim runs at the first, Dagster at the
# second. On the short day APScheduler gives 2:30 of a night without one, which is 3:30; the others run at 3:00. There
# `0 */2 * * *` runs at 3 and again at 4 in all but cronsim, which goes from 0 to 4.
# Matters: a job that appends the day's events appends them twice, and one that waits for the job of another scheduler
# starts an hour before its input is there. Both happen on one night a year, and no test of another night shows them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: croniter==7.0.0 cronsim==2.8 apscheduler==3.11.3 dagster==1.13.27 tzdata==2026.6
cd "$work"
venv/bin/python -W ignore - <<'PY'
from datetime import datetime
from importlib.metadata import version
from itertools import islice
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from croniter import croniter
from cronsim import CronSim
from dagster._utils.schedules import cron_string_iterator

ZONE = "Europe/Berlin"
BERLIN = ZoneInfo(ZONE)


def by_apscheduler(rule, start):
    trigger, last, now = CronTrigger.from_crontab(rule, timezone=BERLIN), None, start
    while True:
        last = trigger.get_next_fire_time(last, now)
        yield last
        now = datetime.fromtimestamp(last.timestamp() + 1, BERLIN)


schedulers = {
    "croniter": lambda rule, start: croniter(rule, start).all_next(datetime),
    "APScheduler": by_apscheduler,
    "cronsim": CronSim,
    "Dagster": lambda rule, start: cron_string_iterator(start.timestamp(), rule, ZONE),
}
print(*(f"{name} {version(name)}" for name in ("croniter", "APScheduler", "cronsim", "dagster")))
nights = {
    "long": ("30 2 * * *", datetime(2026, 10, 24, 12, tzinfo=BERLIN), 2),
    "short": ("30 2 * * *", datetime(2026, 3, 28, 12, tzinfo=BERLIN), 2),
    "short, every other hour": ("0 */2 * * *", datetime(2026, 3, 28, 23, tzinfo=BERLIN), 3),
}
told = {}
for night, (rule, start, count) in nights.items():
    for name, runs in schedulers.items():
        told[night, name] = [run.strftime("%d. %H:%M%z") for run in islice(runs(rule, start), count)]
        print(f"{night}: {name} {', '.join(told[night, name])}")
assert told["long", "croniter"] == told["long", "APScheduler"] == ["25. 02:30+0200", "25. 02:30+0100"]
assert told["long", "cronsim"] == ["25. 02:30+0200", "26. 02:30+0100"]
assert told["long", "Dagster"] == ["25. 02:30+0100", "26. 02:30+0100"]
assert told["short", "APScheduler"][0] == "29. 02:30+0100"
assert all(told["short", name][0] == "29. 03:00+0200" for name in ("croniter", "cronsim", "Dagster"))
hours = {name: told["short, every other hour", name] for name in schedulers}
assert hours["croniter"] == hours["Dagster"] == ["29. 00:00+0100", "29. 03:00+0200", "29. 04:00+0200"]
assert hours["APScheduler"] == ["29. 00:00+0100", "29. 02:00+0100", "29. 04:00+0200"]
assert hours["cronsim"] == ["29. 00:00+0100", "29. 04:00+0200", "29. 06:00+0200"]
PY
