#!/usr/bin/env bash
# Expected: a booster trained on a DataFrame reads the columns of the next DataFrame by name, or refuses other names.
# Happens: LightGBM reads by position without a word: columns in another order, or under wholly other names, are
# scored. XGBoost refuses both.
# Matters: a feature added to the middle of a table shifts all that stand behind it, and the scores stay plausible.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: lightgbm==4.7.0 xgboost==3.2.0 pandas==2.3.3 numpy==2.4.6 scipy==1.17.1
cd "$work"
venv/bin/python - <<'PY'
import lightgbm
import numpy as np
import pandas as pd
import xgboost

print("lightgbm", lightgbm.__version__, "xgboost", xgboost.__version__)
rng = np.random.default_rng(0)
table = pd.DataFrame({"ctr": rng.normal(size=2000), "age": rng.normal(size=2000)})
clicked = (table.ctr > 0).astype(float)
swapped, renamed = table[["age", "ctr"]], table.rename(columns={"ctr": "price", "age": "weight"})

light = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(table, clicked), 5)
print("LightGBM, as trained:", light.predict(table.head(3)).round(3))
print("LightGBM, swapped:   ", light.predict(swapped.head(3)).round(3))
assert np.corrcoef(light.predict(table), clicked)[0, 1] > 0.95
assert abs(np.corrcoef(light.predict(swapped), clicked)[0, 1]) < 0.1
assert (light.predict(renamed) == light.predict(table)).all()

boost = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(table, clicked), 5)
for other in (swapped, renamed):
    try:
        boost.predict(xgboost.DMatrix(other))
    except ValueError as error:
        print("XGBoost:", str(error).splitlines()[0])
    else:
        raise AssertionError("XGBoost took other columns")
PY
