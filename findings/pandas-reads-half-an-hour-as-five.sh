#!/usr/bin/env bash
# Expected: ISO 8601 lets the last part of a duration have a fraction, so PT0.5H is 30 minutes; who does not read that
# raises.
# Happens: pandas takes only the digits before the point for the hours, and gives those behind it to a smaller unit:
# PT0.5H is 5 hours, PT1.5M is 5 minutes and a second, PT1.25H a day. P1M, a month, is a minute. Seconds alone may have
# a fraction. isodate and pydantic read what is written.
# Matters: players, feeds and video interfaces give lengths and positions in this form; the share of a video that was
# watched is wrong by a factor, and no row fails.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: pandas==3.0.6 isodate==0.7.2 pydantic==2.14.3
cd "$work"
venv/bin/python - <<'PY'
import datetime

import isodate
import pandas as pd
import pydantic

print("pandas", pd.__version__, "isodate", isodate.__version__, "pydantic", pydantic.VERSION)
reader = pydantic.TypeAdapter(datetime.timedelta)
told = {}
for text in ("PT1.5S", "PT0.5H", "PT1.5M", "PT1.25H", "PT2.25M"):
    told[text] = pd.Timedelta(text).total_seconds()
    others = isodate.parse_duration(text).total_seconds(), reader.validate_python(text).total_seconds()
    print(f"{text:8} pandas {told[text]:8} s, isodate and pydantic {others} s")
    assert (told[text] == others[0]) == (text == "PT1.5S") and others[0] == others[1]
assert told["PT0.5H"] == 5 * 3600 and told["PT1.5M"] == 301 and told["PT1.25H"] == 86400 + 3600 + 1
assert pd.to_timedelta(pd.Series(["PT0.5H"]))[0] == pd.Timedelta(hours=5)
print("P1M:", pd.Timedelta("P1M"))
assert pd.Timedelta("P1M") == pd.Timedelta(minutes=1)
PY
