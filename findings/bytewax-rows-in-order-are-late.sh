#!/usr/bin/env bash
# Expected: a log in the order of its events loses no row in windows of event time, however slowly it is read again.
# Happens: bytewax' EventClock lets the machine's time run on from the newest row, as a sentence of its documentation says.
# A pause of ten minutes before the fourth play of an hour makes the fourth to sixth late, though they are in order: 3 of 6
# are counted. After two hours the same hour is closed twice, with 3 and with 2 plays.
# Matters: a log of last month that is read again counts another number of plays whenever the source stalls, and a table
# with a row per window keeps the second part alone.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: bytewax==0.21.1
cd "$work"
venv/bin/python - <<'PY'
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import windowing
from bytewax.testing import TestingSink, TestingSource, run_main

print("bytewax", version("bytewax"))
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)


def replay(pause):
    # The machine's clock, the default, is set by hand: so nobody waits, and no busy machine is a pause.
    now = datetime(2026, 11, 2, tzinfo=UTC)

    def plays():
        nonlocal now
        for minute in range(6):
            if minute == 3:
                now += pause
            yield "listener", MIDNIGHT + timedelta(minutes=minute)

    counted, late = [], []
    flow = Dataflow("plays")
    rows = op.input("in", flow, TestingSource(plays(), batch_size=1))
    clock = windowing.EventClock(lambda row: row, timedelta(seconds=10), now_getter=lambda: now)
    hours = windowing.TumblingWindower(length=timedelta(hours=1), align_to=MIDNIGHT)
    windows = windowing.collect_window("hours", rows, clock, hours)
    op.output("out", windows.down, TestingSink(counted))
    op.output("late", windows.late, TestingSink(late))
    run_main(flow)
    return [(window, len(plays)) for _, (window, plays) in counted], len(late)


for pause, told in ((0, ([(0, 6)], 0)), (10, ([(0, 3)], 3)), (120, ([(0, 3), (0, 2)], 1))):
    found = replay(timedelta(minutes=pause))
    print(f"pause of {pause} minutes: windows and their plays {found[0]}, late {found[1]}")
    assert found == told
PY
