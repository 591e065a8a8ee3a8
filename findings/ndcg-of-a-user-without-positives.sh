#!/usr/bin/env bash
# Expected: a user without a positive counts 0, or is left out.
# Happens: XGBoost, LightGBM and CatBoost count 1 (a perfect list), scikit-learn's ndcg_score and trec_eval 0, scikit-
# learn's label_ranking_average_precision_score 1 again. XGBoost's "ndcg-" is the one that counts 0.
# Matters: with 60 % of slates without a click, the same lists have NDCG .3 in the report and .9 in the booster's log;
# early stopping watches the .9.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: lightgbm==4.7.0 xgboost==3.2.0 catboost==1.2.10 scikit-learn==1.9.1 pytrec_eval-terrier==0.5.11 numpy==2.4.6 scipy==1.17.1
cd "$work"
venv/bin/python - <<'PY'
import catboost
import lightgbm
import numpy as np
import pytrec_eval
import sklearn
import xgboost
from catboost.utils import eval_metric
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

print("lightgbm", lightgbm.__version__, "xgboost", xgboost.__version__, "catboost", catboost.__version__)
print("scikit-learn", sklearn.__version__)
labels, scores = np.zeros(3), np.array([3.0, 2.0, 1.0])
x = scores[:, None]
told = {}
ranked = {"objective": "lambdarank", "metric": "ndcg", "eval_at": [3], "verbose": -1, "min_data_in_leaf": 1}
lightgbm.train(
    ranked,
    lightgbm.Dataset(np.vstack([x, x]), [1, 0, 0, 0, 0, 0], group=[3, 3]),
    1,
    valid_sets=[lightgbm.Dataset(x, labels, group=[3])],
    callbacks=[lightgbm.record_evaluation(told)],
)
rows = xgboost.DMatrix(x, labels, qid=[0, 0, 0])
boost = {}
for name in ("ndcg", "ndcg-"):
    model = xgboost.train({"objective": "rank:pairwise", "eval_metric": name}, rows, 1)
    boost[name] = float(model.eval(rows).split(":")[1])
trec = pytrec_eval.RelevanceEvaluator({"user": {"a": 0, "b": 0}}, {"ndcg"}).evaluate({"user": {"a": 2.0, "b": 1.0}})
found = {
    "LightGBM": told["valid_0"]["ndcg@3"][0],
    "XGBoost ndcg": boost["ndcg"],
    "CatBoost": eval_metric(labels, scores, "NDCG", group_id=[0, 0, 0])[0],
    "scikit-learn LRAP": float(label_ranking_average_precision_score([labels], [scores])),
    "XGBoost ndcg-": boost["ndcg-"],
    "scikit-learn ndcg_score": float(ndcg_score([labels], [scores])),
    "trec_eval": trec["user"]["ndcg"],
}
print(found)
assert list(found.values()) == [1, 1, 1, 1, 0, 0, 0]
PY
