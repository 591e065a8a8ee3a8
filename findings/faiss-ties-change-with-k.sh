#!/usr/bin/env bash
# Expected: among equal scores an exact search prefers the lower id, or any fixed order, so the first of 20 are the
# first of 3.
# Happens: the flat index keeps the first k that it meets and gives them back in falling id: the best of k = 1, 3 and
# 20 are the items 0, 2 and 19. A vector with NaN is never found at all, and its place is filled with id -1 although k
# is not over the number of vectors.
# Matters: items with equal embeddings (new ones, duplicates) change places when a page asks for more; an index of -1
# is the last item in numpy.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: faiss-cpu==1.15.1 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import faiss
import numpy as np

print("faiss", faiss.__version__)
index = faiss.IndexFlatIP(2)
index.add(np.ones((50, 2), "float32"))
best = {k: index.search(np.ones((1, 2), "float32"), k)[1][0].tolist() for k in (1, 3, 20)}
print({k: ids[:3] for k, ids in best.items()})
assert best[1] == [0] and best[3] == [2, 1, 0] and best[20] == list(range(19, -1, -1))
broken = faiss.IndexFlatIP(2)
broken.add(np.array([[np.nan, 0], [1, 0]], "float32"))
scores, ids = broken.search(np.array([[1, 0]], "float32"), 2)
print("two vectors, one NaN, k = 2:", ids[0].tolist(), scores[0].tolist())
assert ids[0].tolist() == [1, -1]
PY
