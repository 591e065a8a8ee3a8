#!/usr/bin/env bash
# Expected: the uplift of the best 30 % by a model that gives everybody one value is that of all, whoever stands where in the table.
# Happens: scikit-uplift takes the last rows of the table among equals. With one value for all, its uplift_at_k is the
# truth, +.21 or -.26 by the order in which the rows were stored; qini_auc_score is 0 for each order.
# Matters: trees give few values, so the cut lies in a tie; tables come sorted by group or outcome from a query, and then
# the uplift is that of the query's order.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: scikit-uplift==0.5.1 scikit-learn==1.9.1 numpy==2.4.6 pandas==3.1.1
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import numpy as np
from sklift.metrics import qini_auc_score, uplift_at_k

print("scikit-uplift", version("scikit-uplift"))
rng = np.random.default_rng(0)
treated = rng.permutation(np.repeat([0, 1], 1000))
came = (rng.random(2000) < 0.1).astype(int)
same = np.zeros(2000)
print(f"uplift of all: {came[treated == 1].mean() - came[treated == 0].mean():+.3f}")
told = {}
orders = {"by chance": np.arange(2000), "treated who came last": np.argsort(came * treated, kind="stable")}
orders["others who came last"] = np.argsort(came * (1 - treated), kind="stable")
for name, order in orders.items():
    y, t = came[order], treated[order]
    told[name] = [float(uplift_at_k(y, same, t, strategy=strategy, k=0.3)) for strategy in ("overall", "by_group")]
    print(f"{name}: uplift of the best 30 % {told[name][0]:+.3f}, by group {told[name][1]:+.3f}")
    assert qini_auc_score(y, same, t) == 0
for strategy in (0, 1):
    assert abs(told["by chance"][strategy]) < 0.06
    assert told["treated who came last"][strategy] > 0.15 and told["others who came last"][strategy] < -0.15
PY
