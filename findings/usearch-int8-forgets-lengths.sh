#!/usr/bin/env bash
# Expected: an index of 8-bit integers holds the vectors a little coarser, so inner products keep their order but for
# near ties.
# Happens: usearch scales every vector to length 1 before it rounds to int8, for every metric. Inner products become
# cosines and Euclidean distances angles: an item of a tenth of the score of another comes first, and the whole order
# turns round.
# Matters: in factor models the length of an item's vector is how popular it is. The index that takes a quarter of the
# memory recommends other items.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: usearch==2.26.6 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import numpy as np
import usearch
from usearch.index import Index

print("usearch", usearch.__version__)
items = np.array([[0.1, 0.0], [0.5, 0.3], [0.9, 0.9]], np.float32)
query = np.array([1, 0], np.float32)
orders = {}
for metric in ("ip", "l2sq"):
    for kind in ("f32", "f16", "bf16", "i8"):
        index = Index(ndim=2, metric=metric, dtype=kind)
        index.add(np.arange(3), items)
        orders[metric, kind] = index.search(query, 3).keys.tolist()
        print(metric, kind, orders[metric, kind], "item 0 is held as", index.get(0).tolist())
print("scores:", (items @ query).tolist())
assert orders["ip", "f32"] == orders["ip", "f16"] == orders["ip", "bf16"] == [2, 1, 0]
assert orders["ip", "i8"] == [0, 1, 2]
assert orders["l2sq", "f32"][0] == 1 and orders["l2sq", "i8"][0] == 0
PY
