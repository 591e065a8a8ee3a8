#!/usr/bin/env bash
# Expected: a test that gave no p-value (NaN: a metric without variance) is left out of a correction for many tests, or
# raises; it is surely not significant, and the others keep their values.
# Happens: NaN counts as one more test. Where all the others are significant, Holm and Holm-Sidak call the missing one
# significant too. Benjamini-Hochberg, Hochberg and Hommel make all corrected values NaN; the first two still reject,
# Hommel rejects nothing.
# Matters: an experiment's empty segment or unused metric is reported as an effect, or hides the real ones.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: statsmodels==0.15.0 scipy==1.17.1 numpy==2.4.6 pandas==3.0.6
cd "$work"
venv/bin/python - <<'PY'
import warnings

import numpy as np
import scipy
import statsmodels
from scipy.stats import false_discovery_control, ttest_ind
from statsmodels.stats.multitest import multipletests

warnings.simplefilter("ignore")
print("statsmodels", statsmodels.__version__, "scipy", scipy.__version__)
nobody_bought = ttest_ind([0, 0, 0], [0, 0, 0]).pvalue
values = [0.001, 0.01, nobody_bought]
assert np.isnan(nobody_bought)
rejects, corrected = {}, {}
for method in ("bonferroni", "holm", "holm-sidak", "simes-hochberg", "fdr_bh", "hommel"):
    reject, p, *_ = multipletests(values, method=method)
    rejects[method], corrected[method] = reject.tolist(), p
    print(f"{method:15} rejects {reject.tolist()}, corrected {p.round(4).tolist()}")
assert rejects["bonferroni"] == [True, True, False]
assert rejects["holm"] == rejects["holm-sidak"] == [True, True, True]
assert rejects["hommel"] == [False, False, False] and rejects["fdr_bh"] == [True, True, False]
assert all(np.isnan(corrected[m]).all() for m in ("simes-hochberg", "fdr_bh", "hommel"))
try:
    false_discovery_control(values)
except ValueError as error:
    print("scipy:", error)
else:
    raise AssertionError("scipy took NaN")
PY
