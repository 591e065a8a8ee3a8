#!/usr/bin/env bash
# Expected: the log loss of a wrong certainty is infinite, or the same large number everywhere.
# Happens: scikit-learn clips at the epsilon of the array's type: 36.04 for float64, 15.94 for the same probabilities
# in float32. XGBoost's logloss gives a third figure for the same predictions.
# Matters: one certain mistake among a thousand rows moves the mean by .036 or by .016: casting the predictions
# changes which model wins.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: scikit-learn==1.9.1 numpy==2.4.6 xgboost==3.2.0
cd "$work"
venv/bin/python - <<'PY'
import numpy as np
import sklearn
import xgboost
from sklearn.metrics import log_loss

print("scikit-learn", sklearn.__version__, "xgboost", xgboost.__version__)
labels = [1, 0]
wide, narrow = log_loss(labels, np.array([0.0, 1.0])), log_loss(labels, np.array([0.0, 1.0], np.float32))
rows = xgboost.DMatrix(np.zeros((2, 1)), labels, base_margin=[-1000.0, 1000.0])
model = xgboost.train({"objective": "binary:logistic", "eval_metric": "logloss", "eta": 0.0}, rows, 1)
boost = float(model.eval(rows).split(":")[1])
print("float64", wide, "float32", narrow, "XGBoost", boost)
assert abs(wide - 36.04) < 0.01 and abs(narrow - 15.94) < 0.01
assert abs(boost - wide) > 0.5 and abs(boost - narrow) > 0.5
PY
