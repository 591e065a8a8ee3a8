#!/usr/bin/env bash
# Expected: RePlay's splitters give the same two sets for one table, in pandas or in polars.
# Happens: the last fifth by TimeSplitter goes by the time in pandas and by the place in polars. Where the row of the cut
# has the instant of those before it, they are all of the test set in pandas, the training set is even empty, and in polars
# rows of one instant lie on both sides.
# Matters: dates without hours and imported histories share instants. What the model learns from is another tenth, half or
# nothing of the log once the table is handed over in polars.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: replay-rec==0.22.0 pandas==2.3.3 polars==1.44.2
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import pandas as pd
import polars as pl
from replay.splitters import TimeSplitter

print("replay-rec", version("replay-rec"), "pandas", pd.__version__, "polars", pl.__version__)
told = {}
for name, days in (("all apart", list(range(10))), ("two days", [1] * 5 + [2] * 5), ("an import and a play", [1] * 9 + [2])):
    log = pd.DataFrame({"query_id": 1, "item_id": range(10), "timestamp": days})
    told[name] = [tuple(len(part) for part in TimeSplitter(time_threshold=0.2).split(table)) for table in (log, pl.from_pandas(log))]
    print(f"{name}: training and test rows {told[name][0]} in pandas, {told[name][1]} in polars")
assert told["all apart"] == [(8, 2), (8, 2)]
assert told["two days"] == [(5, 5), (8, 2)]
assert told["an import and a play"] == [(0, 10), (8, 2)]
PY
