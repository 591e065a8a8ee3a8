#!/usr/bin/env bash
# Expected: of two words of a query the rarer one weighs more, or as much where weights are kept from going below zero.
# Happens: rank_bm25 weighs a word of exactly half of the titles 0 and lifts those of more than half to a quarter of the
# mean weight: `the news` finds by `the`. The titles with `news` alone have score 0, as those without either word.
# Matters: small catalogues, shelves and tests are full of words in half of the titles; what fuses the ranks of words and
# vectors gets the titles with filler words first.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: rank-bm25==0.2.2 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata

from rank_bm25 import BM25Okapi

print("rank-bm25", importlib.metadata.version("rank-bm25"))
titles = ["the news", "the news", "news tonight", "the sport", "jazz live", "the quiz"]
index = BM25Okapi([title.split() for title in titles])
weights = {word: round(index.idf[word], 3) for word in ("the", "news", "jazz")}
having = {word: sum(word in title.split() for title in titles) for word in weights}
scores = index.get_scores(["the", "news"]).round(3).tolist()
print("titles with a word:", having, "weights:", weights)
print("the news:", dict(zip(enumerate(titles), scores, strict=True)))
assert having == {"the": 4, "news": 3, "jazz": 1}
assert weights["the"] > weights["news"] == 0
assert scores[titles.index("the quiz")] > scores[titles.index("news tonight")] == scores[titles.index("jazz live")] == 0
PY
