#!/usr/bin/env bash
# Expected: NDCG@10 of a list is 1 where it could not be better: all that the user has yet to play stands in front.
# Happens: the ideal order of LibRecommender is that of the hits which the list has. One hit of ten that were to be found,
# in the first place, is 1; so is its MAP. A second hit in the tenth place makes both smaller: .79 and .6.
# Matters: a model that finds more is the worse one. The figures are no more comparable with other libraries' than among
# two models of this one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: LibRecommender==1.5.2 gensim==4.4.0 scikit-learn==1.9.1 numpy==2.4.6 pandas==3.1.1
cd "$work"
venv/bin/python - <<'PY'
import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sklearn.metrics import ndcg_score

print("LibRecommender", version("LibRecommender"))
# The module alone: the package around it asks for TensorFlow.
(folder,) = importlib.util.find_spec("libreco").submodule_search_locations
spec = importlib.util.spec_from_file_location("metrics", Path(folder, "evaluation", "metrics.py"))
metrics = sys.modules["metrics"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(metrics)

listed = np.arange(10)
told = {}
for places in ((0,), (0, 9), (0, 1, 2, 9), tuple(range(10))):
    wanted = [*places, *range(100, 110 - len(places))]
    told[places] = round(float(metrics.ndcg_at_k(wanted, listed, 10)), 3), round(float(metrics.average_precision_at_k(wanted, listed, 10)), 3)
    items = np.unique([*listed, *wanted])
    usual = ndcg_score([np.isin(items, wanted)], [np.where(items < 10, 10.0 - items, 0)], k=10, ignore_ties=True)
    print(f"{len(places)} of ten found: NDCG {told[places][0]} (scikit-learn {usual:.3f}), MAP {told[places][1]}")
assert told[(0,)] == (1.0, 1.0)
assert told[(0, 9)] == (0.79, 0.6)
assert told[tuple(range(10))] == (1.0, 1.0)
PY
