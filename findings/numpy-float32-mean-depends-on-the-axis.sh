#!/usr/bin/env bash
# Expected: the mean of ten million float32 values of .1 is .1 to six places, for numpy adds in pairs.
# Happens: pairs are added along the last axis only. Over the rows of a C-ordered table (axis 0) it adds one after the
# other: the mean is .1088, 9 % too high, and a sum of ones stops at 16777216. The transposed table gives the right
# figure.
# Matters: means by column of a float32 feature matrix are what standardization and drift use; the fault grows with
# the rows.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import numpy as np

print("numpy", np.__version__)
table = np.full((10_000_000, 2), 0.1, np.float32)
down, along = table.mean(axis=0)[0], np.ascontiguousarray(table.T).mean(axis=1)[0]
print("mean over rows:", down, "of the transposed:", along, "in float64:", table.mean(axis=0, dtype=np.float64)[0])
assert down > 0.108 and abs(along - 0.1) < 1e-6
ones = np.ones((2**25, 2), np.float32)
print("sum of 2^25 ones:", ones.sum(axis=0)[0], "transposed:", np.ascontiguousarray(ones.T).sum(axis=1)[0])
assert ones.sum(axis=0)[0] == 2**24 and np.ascontiguousarray(ones.T).sum(axis=1)[0] == 2**25
PY
