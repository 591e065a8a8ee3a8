#!/usr/bin/env bash
# Expected: PyNNDescent's metric `dot` finds the largest dot products, as in other libraries of nearest neighbours.
# Happens: `dot` normalises every vector: its neighbours and distances are those of `cosine`. The metric of dot products is
# `inner_product`. Of the five items with the largest dot product `dot` finds a third, and nothing tells.
# Matters: vectors of a recommender carry how popular an item is in their length; that part of the model is gone.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: pynndescent==0.7.0 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata

import numpy as np
from pynndescent import NNDescent

print("pynndescent", importlib.metadata.version("pynndescent"))
rng = np.random.default_rng(0)
items = (rng.normal(size=(500, 16)) * rng.uniform(0.1, 5, size=(500, 1))).astype(np.float32)
users = rng.normal(size=(50, 16)).astype(np.float32)
best = np.argsort(-(users @ items.T), axis=1)[:, :5]
found, recall = {}, {}
for metric in ("dot", "cosine", "inner_product"):
    found[metric], distances = NNDescent(items, metric=metric, random_state=1).query(users, k=5)
    recall[metric] = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found[metric], best)])
    print(f"{metric:13} finds {recall[metric]:.0%} of the five largest dot products; distances of the first user {distances[0].round(2)}")
assert np.array_equal(found["dot"], found["cosine"])
assert recall["dot"] < 0.6 and recall["inner_product"] > 0.9
PY
