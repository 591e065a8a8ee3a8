#!/usr/bin/env bash
# Expected: asking implicit for more items than there are gives what there is; precision, MAP and NDCG are at most 1.
# Happens: `recommend(N=...)` over the number of items fills the rest with item 0 at score 0.0, time and again, and
# the evaluation counts each of these as a hit for whoever has item 0 among the test items: precision and MAP over 1.
# Matters: per-category or cold-start catalogues are small, and K stays 20 or 50 there; the better of two models is
# then whoever's users hold item 0.
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
from implicit.evaluation import ranking_metrics_at_k

print("implicit", implicit.__version__)
rng = np.random.default_rng(0)
seen = rng.random((20, 8)) < 0.4
later = (rng.random((20, 8)) < 0.3) & ~seen
train, test = (sp.csr_matrix(part.astype(np.float32)) for part in (seen, later))
model = AlternatingLeastSquares(factors=4, iterations=3, random_state=0)
model.fit(train, show_progress=False)

ids, scores = model.recommend(0, train[0], N=12, filter_already_liked_items=False)
print("12 of 8 items:", ids.tolist())
assert ids[8:].tolist() == [0, 0, 0, 0] and scores[8:].tolist() == [0, 0, 0, 0]
assert (ids == 0).sum() == 5

for k in (8, 20):
    metrics = ranking_metrics_at_k(model, train, test, K=k, show_progress=False)
    print(f"K={k}:", {name: round(float(value), 3) for name, value in metrics.items()})
assert metrics["precision"] > 1 and metrics["map"] > 1
PY
