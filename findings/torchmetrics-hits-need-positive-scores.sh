#!/usr/bin/env bash
# Expected: ranking metrics depend on the order of the scores: a perfect order has MAP 1, with logits or log probabilities
# as with probabilities.
# Happens: in torchmetrics a liked item counts in MAP, MRR, precision and recall only where its score is above 0: for the
# same order with all scores below, they are 0. NDCG, hit rate and R-precision of the same class of metrics are 1.
# Matters: dot products, logits and negative distances are what retrieval gives. The figure moves with the bias, and a
# model looks better that shifts all its scores upwards.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import torch
import torchmetrics
from torchmetrics.retrieval import (
    RetrievalHitRate,
    RetrievalMAP,
    RetrievalMRR,
    RetrievalNormalizedDCG,
    RetrievalPrecision,
    RetrievalRecall,
    RetrievalRPrecision,
)

print("torchmetrics", torchmetrics.__version__)
liked, user = torch.tensor([1, 1, 0, 0]), torch.zeros(4, dtype=torch.long)
SIGNED = RetrievalMAP, RetrievalMRR, RetrievalPrecision, RetrievalRecall
ORDERED = RetrievalNormalizedDCG, RetrievalHitRate, RetrievalRPrecision
told = {}
for name, scores in (("probabilities", [0.8, 0.6, 0.4, 0.2]), ("their logarithms", [-0.2, -0.5, -0.9, -1.6]), ("logits", [1.4, -0.1, -0.4, -1.4])):
    told[name] = {metric.__name__: round(float(metric()(torch.tensor(scores), liked, indexes=user)), 3) for metric in SIGNED + ORDERED}
    print(f"{name}: {told[name]}")
for metric in SIGNED:
    right, negative = told["probabilities"][metric.__name__], told["their logarithms"][metric.__name__]
    assert right == (0.5 if metric is RetrievalPrecision else 1) and negative == 0
assert all(row[metric.__name__] == 1 for row in told.values() for metric in ORDERED)
assert told["logits"]["RetrievalRecall"] == 0.5
PY
