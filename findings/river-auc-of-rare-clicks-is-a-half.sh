#!/usr/bin/env bash
# Expected: river's ROCAUC is near the exact AUC; that it works without the scores of the past costs a little accuracy.
# Happens: it knows ten thresholds, evenly from 0 to 1. Where clicks are rare, a good model's probabilities all lie below
# the second one: the AUC is .5 for a perfect order, and .5 for its mirror image.
# Matters: the running figure of a click model says that it knows nothing, or that nothing changed when it broke.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: river==0.26.1 scikit-learn==1.9.1 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata

import numpy as np
from river import metrics
from sklearn.metrics import roc_auc_score

print("river", importlib.metadata.version("river"))
rng = np.random.default_rng(0)
clicked = rng.random(5000) < 0.02
chance = np.where(clicked, rng.uniform(0.03, 0.08, 5000), rng.uniform(0.001, 0.03, 5000))
for name, score in (("perfect", chance), ("mirrored", 0.1 - chance)):
    told = {}
    for thresholds in (10, 1000):
        metric = metrics.ROCAUC(n_thresholds=thresholds)
        for label, p in zip(clicked.tolist(), score.tolist(), strict=True):
            metric.update(label, p)
        told[thresholds] = metric.get()
    exact = roc_auc_score(clicked, score)
    print(f"{name}: river {told[10]:.3f}, with 1,000 thresholds {told[1000]:.3f}, exact {exact:.3f}")
    assert abs(told[10] - 0.5) < 0.01 and abs(told[1000] - exact) < 0.02
    assert exact in (0.0, 1.0)
metric = metrics.ROCAUC()
assert metric.n_thresholds == 10
PY
