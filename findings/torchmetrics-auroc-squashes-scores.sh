#!/usr/bin/env bash
# Expected: the AUC depends on the order of scores alone, so any monotone scale gives the same figure.
# Happens: `BinaryAUROC` passes a batch through a float32 sigmoid if one of its values lies outside [0, 1]. Scores
# over about 17 all become 1.0 and tie; and where one batch has all its logits within [0, 1] and the next does not,
# two scales are ranked as one.
# Matters: raw margins and dot products are what rankers and towers give; the reported AUC falls to .5 for a perfect
# order.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: torchmetrics==1.9.0 scikit-learn==1.9.1 torch==2.13.0 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import sklearn
import torch
import torchmetrics
from sklearn.metrics import roc_auc_score
from torchmetrics.classification import BinaryAUROC

print("torchmetrics", torchmetrics.__version__, "scikit-learn", sklearn.__version__)


def auc(*batches):
    metric = BinaryAUROC()
    for scores, labels in batches:
        metric.update(torch.tensor(scores), torch.tensor(labels))
    return float(metric.compute())


margins, labels = [18.0, 19.0, 20.0, 21.0], [0, 0, 1, 1]
print("large margins:", auc((margins, labels)), "beside", roc_auc_score(labels, margins))
assert auc((margins, labels)) == 0.5 and roc_auc_score(labels, margins) == 1

first, second = ([0.1, 0.9], [0, 0]), ([1.5, -3.0], [1, 0])  # every positive is above every negative
apart = auc(first, second)
third = ([0.1, 0.2], [0, 1]), ([-1.0, 0.0], [0, 0])
mixed = auc(*third)
together = auc(([0.1, 0.2, -1.0, 0.0], [0, 1, 0, 0]))
print("logits in two batches:", apart, mixed, "in one:", together)
assert together == 1 and mixed < 0.7 and apart < 1
PY
