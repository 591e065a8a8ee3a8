#!/usr/bin/env bash
# Expected: the ISO 8601 basic form "20261102" is the 2nd of November, or an error, in a datetime field.
# Happens: text of digits is a number of seconds: August 1970. Over 20,000,000,000 it is a number of milliseconds
# instead, so one field holds both units and the two meet at a cliff: 20000000000 is the year 2603 and 20000000001 is
# 1970.
# Matters: milliseconds before 20 August 1970 and basic dates pass validation and become instants that an event log
# may hold.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: pydantic==2.14.3
cd "$work"
venv/bin/python - <<'PY'
import datetime

import pydantic

print("pydantic", pydantic.VERSION)


class Event(pydantic.BaseModel):
    at: datetime.datetime


def read(value):
    at = Event(at=value).at
    print(repr(value), "->", at.isoformat())
    return at


assert read("20261102").year == 1970
assert read("2026-11-02").year == 2026
assert read(20_000_000_000).year == 2603
assert read(20_000_000_001).year == 1970
PY
