#!/usr/bin/env bash
# Expected: an item that the model never saw raises KeyError, whatever the type of its id.
# Happens: where ids are integers, one that is not known and smaller than the number of items is taken as a place: item 3
# is `in` the vectors, has a vector and neighbours, those of the item of fourth rank by frequency. Item 20 of 20 raises.
# A known id goes by its name.
# Matters: item2vec over integer ids answers for new, deleted and mistyped items with those of a popular stranger; only
# small ids do so, so tests with real ids do not show it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: gensim==4.4.0 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import gensim
import numpy as np
from gensim.models import Word2Vec

print("gensim", gensim.__version__)
rng = np.random.default_rng(0)
sessions = [rng.choice(np.arange(100, 110) if n % 2 else np.arange(200, 210), 8).tolist() for n in range(1000)]
vectors = Word2Vec(sessions, vector_size=8, min_count=1, workers=1, seed=1).wv
stranger = vectors.index_to_key[3]
print("items", sorted(vectors.index_to_key)[:2], "to", max(vectors.index_to_key), "the fourth by frequency:", stranger)
assert 3 not in vectors.index_to_key and 3 in vectors
assert (vectors[3] == vectors[stranger]).all()
near, known = vectors.most_similar(3, topn=2), vectors.most_similar(stranger, topn=2)
print("neighbours of 3:", near, "of", stranger, known)
assert near == known and vectors.similarity(3, stranger) > 0.999
assert 20 not in vectors
try:
    vectors.most_similar(20)
except KeyError as error:
    print("20:", error)
else:
    raise AssertionError("gensim knows item 20")
PY
