#!/usr/bin/env bash
# Expected: `binary` refuses labels that are neither 0 nor 1, or learns them as probabilities, as XGBoost's
# `binary:logistic` does.
# Happens: LightGBM takes every label over 0 as a positive: .1 and .9 are one class, and the mean prediction is 1.
# `cross_entropy` is the objective that takes probabilities.
# Matters: distilled, smoothed or watched-share labels train a model that says yes to all, without a warning.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: lightgbm==4.7.0 xgboost==3.2.0 numpy==2.4.6 scipy==1.17.1
cd "$work"
venv/bin/python - <<'PY'
import lightgbm
import numpy as np
import xgboost

print("lightgbm", lightgbm.__version__, "xgboost", xgboost.__version__)
x = np.random.default_rng(0).normal(size=(4000, 1))
share = np.where(x[:, 0] > 0, 0.9, 0.1)  # the watched share of a video


def light(objective):
    data = lightgbm.Dataset(x, share)
    return lightgbm.train({"objective": objective, "verbose": -1}, data, 50).predict(np.array([[-1.0], [1.0]]))


hard, soft = light("binary"), light("cross_entropy")
boost = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(x, share), 50)
boost = boost.predict(xgboost.DMatrix(np.array([[-1.0], [1.0]])))
print("labels .1 and .9 | LightGBM binary", hard.round(3), "| cross_entropy", soft.round(3), "| XGBoost", boost.round(3))
assert (hard > 0.999).all()
assert np.abs(soft - [0.1, 0.9]).max() < 0.02 and np.abs(boost - [0.1, 0.9]).max() < 0.02
PY
