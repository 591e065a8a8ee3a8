#!/usr/bin/env bash
# Expected: the AUC without a negative is undefined: NaN or an error.
# Happens: LightGBM says 1, CatBoost 0, XGBoost and scikit-learn NaN. LightGBM's average precision is 1 as well.
# Matters: a day, a cohort or a shelf with clicks alone is perfect or the worst that there is, and early stopping on
# it keeps the first round or never stops; a mean over cohorts moves with their size.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: lightgbm==4.7.0 xgboost==3.2.0 catboost==1.2.10 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
cd "$work"
venv/bin/python - <<'PY'
import warnings

import catboost
import lightgbm
import numpy as np
import sklearn
import xgboost
from catboost.utils import eval_metric
from sklearn.metrics import roc_auc_score

warnings.simplefilter("ignore")
print("lightgbm", lightgbm.__version__, "xgboost", xgboost.__version__, "catboost", catboost.__version__)
print("scikit-learn", sklearn.__version__)
scores, labels = np.array([0.1, 0.2, 0.3]), np.ones(3)
x = np.random.default_rng(0).normal(size=(200, 1))
told = {}
data, only = lightgbm.Dataset(x, (x[:, 0] > 0) * 1), lightgbm.Dataset(x[:3], labels)
lightgbm.train(
    {"objective": "binary", "metric": ["auc", "average_precision"], "verbose": -1},
    data,
    1,
    valid_sets=[only],
    callbacks=[lightgbm.record_evaluation(told)],
)
rows = xgboost.DMatrix(x[:3], labels)
model = xgboost.train({"objective": "binary:logistic", "eval_metric": "auc", "base_score": 0.5}, rows, 1)
found = {
    "LightGBM": told["valid_0"]["auc"][0],
    "LightGBM average precision": told["valid_0"]["average_precision"][0],
    "CatBoost": eval_metric(labels, scores, "AUC")[0],
    "XGBoost": float(model.eval(rows).split(":")[1]),
    "scikit-learn": float(roc_auc_score(labels, scores)),
}
print(found)
assert found["LightGBM"] == found["LightGBM average precision"] == 1 and found["CatBoost"] == 0
assert np.isnan(found["XGBoost"]) and np.isnan(found["scikit-learn"])
PY
