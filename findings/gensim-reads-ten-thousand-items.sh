#!/usr/bin/env bash
# Expected: Word2Vec learns from the whole of every history, or says that one is too long.
# Happens: what stands behind the 10,000th item of one list is not trained on, while its items are counted and are in the
# vocabulary: they keep the random vectors that they began with, and have neighbours like any other.
# Matters: one list a user, or the log as one list, cuts the newest items off, those that lie at the end.
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
history = [f"old{n % 50}" for n in range(10_000)] + [f"new{n % 50}" for n in range(10_000)]
moved = {}
for name, sessions in (("one list", [history] * 3), ("two lists", [history[:10_000], history[10_000:]] * 3)):
    model = Word2Vec(vector_size=8, min_count=1, workers=1, seed=1, sample=0)
    model.build_vocab(sessions)
    before = model.wv.vectors.copy()
    model.train(sessions, total_examples=len(sessions), epochs=2)
    changed = (before != model.wv.vectors).any(axis=1)
    moved[name] = [int(sum(changed[n] for n, key in enumerate(model.wv.index_to_key) if key.startswith(w))) for w in ("old", "new")]
    print(f"{name}: {moved[name]} of 50 old and 50 new items learned, new0 counted {model.wv.get_vecattr('new0', 'count')} times")
    assert model.wv.get_vecattr("new0", "count") == 600
assert moved == {"one list": [50, 0], "two lists": [50, 50]}
PY
