#!/usr/bin/env bash
# Expected: NDCG is 1 for a list that has all of a user's items at its top.
# Happens: RecTools divides by the gain of k hits, however many items the user has: the perfect list of a user with one
# item has NDCG@5 = .339. `divide_by_achievable=True` gives 1, as MAP does by default.
# Matters: most test sets have few items a user, so figures are a third of those of other libraries, less as k grows, and
# models are chosen by the users with many items.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: rectools==0.19.0
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata

import numpy as np
import pandas as pd
from rectools.metrics import MAP, NDCG

print("RecTools", importlib.metadata.version("rectools"))
seen = pd.DataFrame({"user_id": [1], "item_id": [10]})
listed = pd.DataFrame({"user_id": 1, "item_id": [10, 11, 12, 13, 14], "rank": [1, 2, 3, 4, 5]})
for k in (1, 5):
    plain, achievable = NDCG(k).calc(listed, seen), NDCG(k, divide_by_achievable=True).calc(listed, seen)
    print(f"NDCG@{k} of a perfect list: {plain:.4f}, divide_by_achievable {achievable:.4f}, MAP {MAP(k).calc(listed, seen):.4f}")
    assert achievable == MAP(k).calc(listed, seen) == 1
assert abs(plain - 1 / sum(1 / np.log2(np.arange(2, 7)))) < 1e-12
PY
