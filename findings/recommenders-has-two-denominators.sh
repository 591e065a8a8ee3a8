#!/usr/bin/env bash
# Expected: the metrics of one library average over the same users; a user of the test set who got no recommendation
# counts as 0.
# Happens: in `recommenders` such a user is left out of precision, recall and MAP, and counts as 0 in NDCG. With one hit,
# one miss and one user without a list, recall is .5 and NDCG .333. RecTools counts all three.
# Matters: a model that serves only the users whom it knows well has the best recall; and one table holds figures about two
# sets of users.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: recommenders==1.2.1 rectools==0.19.0 setuptools==80.9.0
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata
import warnings

warnings.simplefilter("ignore")

import pandas as pd
from rectools.metrics import MAP, Recall
from recommenders.evaluation.python_evaluation import map_at_k, ndcg_at_k, precision_at_k, recall_at_k

print("recommenders", importlib.metadata.version("recommenders"), "RecTools", importlib.metadata.version("rectools"))
test = pd.DataFrame({"userID": [1, 2, 3], "itemID": [10, 20, 30], "rating": 1.0})
lists = pd.DataFrame({"userID": [1, 1, 3, 3], "itemID": [10, 11, 31, 32], "prediction": [2.0, 1.0, 2.0, 1.0]})
told = {f.__name__: f(test, lists, col_prediction="prediction", k=2) for f in (precision_at_k, recall_at_k, map_at_k, ndcg_at_k)}
print("recommenders:", {name: round(value, 4) for name, value in told.items()})
names = {"userID": "user_id", "itemID": "item_id"}
ranked = lists.rename(columns=names).assign(rank=[1, 2, 1, 2])
others = {str(m): m.calc(ranked, test.rename(columns=names)) for m in (Recall(2), MAP(2))}
print("RecTools:", {name.split("(")[0]: round(value, 4) for name, value in others.items()})
assert told["precision_at_k"] == 0.25 and told["recall_at_k"] == told["map_at_k"] == 0.5
assert abs(told["ndcg_at_k"] - 1 / 3) < 1e-12
assert all(abs(value - 1 / 3) < 1e-12 for value in others.values())
PY
