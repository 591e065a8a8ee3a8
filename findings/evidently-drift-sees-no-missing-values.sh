#!/usr/bin/env bash
# Expected: a column that loses half of its values, or gains infinite ones, has drifted; so has a column of instants
# that moved by years.
# Happens: NaN and infinities are dropped before the distance is taken: with half of the values missing it is as small
# as between twins. A datetime column is left out of the preset without a word; asked for by name it raises.
# Matters: a feature that arrives for half of the requests is the commonest drift in service; it needs a check of its
# own.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: evidently==0.7.23 pandas==3.0.6
cd "$work"
venv/bin/python - <<'PY'
import os

os.environ["DO_NOT_TRACK"] = "1"
import evidently
import numpy as np
import pandas as pd
from evidently import Report
from evidently.metrics import ValueDrift
from evidently.presets import DataDriftPreset

print("evidently", evidently.__version__, "pandas", pd.__version__)
rng = np.random.default_rng(0)
reference = rng.normal(size=5000)


def distance(current):
    run = Report([ValueDrift(column="rate", method="wasserstein")]).run(pd.DataFrame({"rate": current}), pd.DataFrame({"rate": reference}))
    return float(run.dict()["metrics"][0]["value"])


twin, halved, infinite, moved = rng.normal(size=5000), rng.normal(size=5000), rng.normal(size=5000), rng.normal(1, 1, 5000)
halved[rng.random(5000) < 0.5] = np.nan
infinite[:50] = np.inf
told = {"twin": distance(twin), "half missing": distance(halved), "1 % infinite": distance(infinite), "moved": distance(moved)}
print({name: round(value, 3) for name, value in told.items()}, "drift from .1 on")
assert max(told["twin"], told["half missing"], told["1 % infinite"]) < 0.1 < told["moved"]

instants = [pd.DataFrame({"rate": twin, "at": pd.date_range(day, periods=5000, freq="min")}) for day in ("2027-01-01", "2021-01-01")]
metrics = Report([DataDriftPreset()]).run(*instants).dict()["metrics"]
print("the preset's metrics:", [metric["metric_name"].split(",")[0] for metric in metrics])
assert len(metrics) == 2 and not any("column=at" in metric["metric_name"] for metric in metrics)
PY
