#!/usr/bin/env bash
# Expected: AUC is the chance that a positive has the higher score, where half of a tie counts: a model that gives all
# items one score has .5.
# Happens: Cornac counts a tie as lost: a constant has AUC 0, as the reversed order of a perfect one has. With scores
# of few values (ratings in stars, counts of plays) each tie costs half a pair.
# Matters: popularity and other heuristics tie often; beside them any real-valued model looks good.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: cornac==3.0.1 scikit-learn==1.9.1
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata
import warnings

warnings.simplefilter("ignore")

import numpy as np
from cornac.metrics import AUC
from sklearn.metrics import roc_auc_score

print("cornac", importlib.metadata.version("cornac"))
liked = np.array([1, 0, 0, 1, 0, 0])
told = {}
for name, scores in (("real-valued", [6.0, 5, 4, 3, 2, 1]), ("stars", [2.0, 2, 1, 2, 1, 1]), ("constant", [1.0] * 6)):
    ours = AUC().compute(item_indices=np.arange(6), pd_scores=np.array(scores), gt_pos=np.flatnonzero(liked))
    told[name] = float(ours), roc_auc_score(liked, scores)
    print(f"{name}: Cornac {told[name][0]:.3f}, scikit-learn {told[name][1]:.3f}")
assert told["real-valued"][0] == told["real-valued"][1]
assert told["constant"] == (0.0, 0.5)
assert told["stars"][0] < told["stars"][1]
PY
