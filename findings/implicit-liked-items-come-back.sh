#!/usr/bin/env bash
# Expected: `filter_already_liked_items=True` and `filter_items` never return such an item; a short list is a short
# list.
# Happens: where fewer than N items are left, ALS fills up with the filtered ones at score -3.4e38. The item-item
# models fill up with them at score 0.0, in a user without history they give an empty array, and in a batch ids of -1.
# Four kinds of filling in one library.
# Matters: code that takes the ids and drops the scores shows what was watched or taken down; `items[-1]` shows the
# last item of the catalogue.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: implicit==0.7.3 numpy==2.4.6 scipy==1.17.1
cd "$work"
venv/bin/python - <<'PY'
import implicit
import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender

print("implicit", implicit.__version__)
rng = np.random.default_rng(0)
train = sp.csr_matrix((rng.random((20, 8)) < 0.4).astype(np.float32))
als, knn = AlternatingLeastSquares(factors=4, iterations=3, random_state=0), CosineRecommender(K=3)
for model in (als, knn):
    model.fit(train, show_progress=False)
heavy = sp.csr_matrix(np.array([[1, 1, 1, 1, 1, 1, 0, 0]], np.float32))  # items 6 and 7 are left
nothing = sp.csr_matrix((1, 8), dtype=np.float32)

ids, scores = als.recommend(0, heavy, N=5)
print("ALS, two left:", ids.tolist(), scores.tolist())
assert set(ids[2:]) <= set(range(6)) and (scores[2:] < -3e38).all()

ids, _ = als.recommend(0, heavy, N=5, filter_items=[6])
print("ALS, item 6 filtered by name, one left:", ids.tolist())
assert len(ids) == 5

ids, scores = knn.recommend(0, heavy, N=5)
print("item-item, two left:", ids.tolist(), scores.tolist())
assert set(ids[2:]) <= set(range(6)) and (scores[2:] == 0).all()

ids, _ = knn.recommend(0, nothing, N=3)
print("item-item, no history, one user:", ids.tolist())
assert len(ids) == 0
ids, _ = knn.recommend([0, 1], sp.vstack([nothing, nothing]).tocsr(), N=3)
print("item-item, no history, a batch:", ids.tolist())
assert (ids == -1).all()
PY
