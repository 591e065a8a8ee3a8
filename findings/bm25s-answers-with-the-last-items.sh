#!/usr/bin/env bash
# Expected: bm25s finds nothing for a query of no known word, and the title "The The" for "the the".
# Happens: it answers every query with k documents: where no word is known these are the last ones of the corpus, with score 0.
# Its tokenizer leaves out English stopwords and single letters unless it is told otherwise, so "It", "The The" and
# "A to Z" hold no word at all. Neither warns.
# Matters: a search box shows whatever came into the catalogue last, and some titles can never be found by their name.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: bm25s==0.3.16 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata
import warnings

import bm25s

warnings.simplefilter("error")
print("bm25s", importlib.metadata.version("bm25s"))
titles = ["It", "The The", "A to Z", "Blade Runner", "Moon", "Gravity", "Solaris"]
index = bm25s.BM25()
index.index(bm25s.tokenize(titles, show_progress=False), show_progress=False)
told = {}
for query in ("solaris", "it", "the the", "a to z", "qwertz"):
    found, scores = index.retrieve(bm25s.tokenize(query, show_progress=False), corpus=titles, k=3, show_progress=False)
    told[query] = found[0].tolist(), [round(float(score), 2) for score in scores[0]]
    print(f"{query!r:9} -> {told[query][0]}, scores {told[query][1]}")
assert told["solaris"][0][0] == "Solaris" and told["solaris"][1][0] > 0
for query in ("it", "the the", "a to z", "qwertz"):
    assert told[query] == (["Solaris", "Gravity", "Moon"], [0, 0, 0])
PY
