#!/usr/bin/env bash
# Expected: an item that every user has says nothing, so TF-IDF weighs it 0 and the other items are recommended as
# before.
# Happens: its weight is log(n / (1 + n)), below zero, in tfidf_weight and bm25_weight. Where a whole user consists of
# it, TFIDFRecommender divides by the root of a negative sum: the similarities of other items become NaN, and so do
# the scores of users who have none of this doing.
# Matters: small worlds and tests (an intro video, a trial shelf) have such an item; a NaN score sorts where the next
# library puts it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: implicit==0.7.3 numpy==2.4.6 scipy==1.17.1
cd "$work"
venv/bin/python - <<'PY'
import warnings

import implicit
import numpy as np
import scipy.sparse as sp
from implicit.nearest_neighbours import CosineRecommender, TFIDFRecommender, bm25_weight, tfidf_weight

warnings.simplefilter("ignore")
print("implicit", implicit.__version__)
views = sp.csr_matrix(np.array([[1, 1, 0], [1, 0, 1], [1, 0, 0], [1, 1, 0]], np.float32))
for weigh in (tfidf_weight, bm25_weight):
    weighed = weigh(views).toarray().round(2)
    print(weigh.__name__, weighed.tolist())
    assert (weighed[:, 0] < 0).all()
for recommender in (CosineRecommender, TFIDFRecommender):
    model = recommender(K=3)
    model.fit(views, show_progress=False)
    ids, scores = model.recommend(2, views[2], N=2)
    print(recommender.__name__, ids.tolist(), scores.tolist())
assert np.isnan(scores).all() and np.isnan(model.similarity.toarray()).any()
PY
