#!/usr/bin/env bash
# Expected: a NaN in a column that was complete in training goes to the larger child, or somewhere in the middle, and
# alike in every library.
# Happens: XGBoost sends it right: it is larger than any number. LightGBM reads it as 0.0, whatever 0 means there.
# scikit-learn's histogram trees send it to the child with more training rows.
# Matters: a feature that is late in service for the first time moves all scores to one end, to the left of a bundle
# and to the right of its twin.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: lightgbm==4.7.0 xgboost==3.2.0 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
cd "$work"
venv/bin/python - <<'PY'
import lightgbm
import numpy as np
import sklearn
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier

print("lightgbm", lightgbm.__version__, "xgboost", xgboost.__version__, "scikit-learn", sklearn.__version__)
rng = np.random.default_rng(0)
# Small values click, the threshold is at 5, and 70 % of the rows lie above it.
x = np.where(rng.random((4000, 1)) < 0.7, rng.uniform(5, 10, (4000, 1)), rng.uniform(1, 5, (4000, 1)))
clicked = (x[:, 0] < 5).astype(float)
ask = np.array([[np.nan], [0.0], [1.0], [9.0]])

boost = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(x, clicked), 5).predict(xgboost.DMatrix(ask))
light = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(x, clicked), 5).predict(ask)
forest = {}
for name, sign in (("as is", 1), ("mirrored", -1)):
    model = HistGradientBoostingClassifier(max_iter=5, early_stopping=False).fit(sign * x, clicked)
    forest[name] = model.predict_proba(sign * ask)[:, 1]
print("values NaN, 0, 1, 9")
print("XGBoost      ", boost.round(3))
print("LightGBM     ", light.round(3))
print("scikit-learn ", forest["as is"].round(3), "mirrored", forest["mirrored"].round(3))
assert boost[0] == boost[3] and boost[0] < 0.3
assert light[0] == light[1] and light[0] > light[3]
assert all(p[0] == p[3] for p in forest.values())  # the larger child, on either side
PY
