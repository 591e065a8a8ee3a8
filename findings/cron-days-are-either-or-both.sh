#!/usr/bin/env bash
# Expected: a crontab line that names a day of the month and a day of the week (`0 3 1 * 1`) runs on the same days everywhere.
# Happens: croniter and cronsim run on the first and on Mondays; APScheduler's `from_crontab` runs where both hold, on a first
# that is a Tuesday, for its Monday is 0. With `*/2` for the day croniter still runs on either, cronsim on both alone.
# Matters: a weekly retraining moved to another scheduler runs twice a year, and nobody is told that it does not run.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: croniter==7.0.0 cronsim==2.8 apscheduler==3.11.3
cd "$work"
venv/bin/python - <<'PY'
import datetime
import importlib.metadata

from apscheduler.triggers.cron import CronTrigger
from croniter import croniter
from cronsim import CronSim

for name in ("croniter", "cronsim", "apscheduler"):
    print(name, importlib.metadata.version(name))
start = datetime.datetime(2026, 11, 30, 23, tzinfo=datetime.timezone.utc)
end = start + datetime.timedelta(days=365)


def by_apscheduler(line):
    trigger, last = CronTrigger.from_crontab(line, timezone="UTC"), None
    while True:
        last = trigger.get_next_fire_time(last, last or start)
        yield last


def by_croniter(line):
    runs = croniter(line, start)
    while True:
        yield runs.get_next(datetime.datetime)


told = {}
for line in ("0 3 1 * 1", "0 3 */2 * 1"):
    for name, runs in {"croniter": by_croniter(line), "cronsim": CronSim(line, start), "APScheduler": by_apscheduler(line)}.items():
        days = []
        while (run := next(runs)) < end:
            days.append(run)
        told[line, name] = len(days)
        print(f"{line:12} by {name:11} {len(days):3} runs a year, first on {', '.join(f'{day:%a %d %b}' for day in days[:4])}")
        if name == "APScheduler":
            assert all(day.weekday() == 1 and day.day % 2 for day in days)
assert told["0 3 1 * 1", "croniter"] == told["0 3 1 * 1", "cronsim"] > 55 and told["0 3 1 * 1", "APScheduler"] < 4
assert told["0 3 */2 * 1", "croniter"] > 200 and told["0 3 */2 * 1", "cronsim"] < 30
PY
