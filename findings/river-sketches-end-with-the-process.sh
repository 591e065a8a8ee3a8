#!/usr/bin/env bash
# Expected: a count-min sketch or a Bloom filter that was pickled gives in the next process what it gave before, as its
# seed says, and as river's feature hasher and HyperLogLog do.
# Happens: river's `sketch.Counter` and `sketch.Set` take Python's own `hash`, which is salted anew in each process for
# text: all counts are 0 and nothing was seen, though the total is there. Integers keep their counts, so a test by numbers
# passes.
# Matters: after a restart every item of a popularity count is new, every user a stranger, and a filter of seen items lets
# all of them through; two workers' sketches cannot be compared either.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: river==0.26.1 numpy==2.4.6
cd "$work"
unset PYTHONHASHSEED
venv/bin/python - <<'PY'
import pickle
from importlib.metadata import version

from river import sketch

print("river", version("river"))
counts, numbers = (sketch.Counter(epsilon=0.001, seed=7) for _ in range(2))
seen = sketch.Set(capacity=100, fp_rate=0.01, seed=7)
for item, plays in (("jazz", 30), ("rock", 60)):
    counts.update(item, plays)
    numbers.update(plays, plays)
    seen.add(item)
print("before:", counts["jazz"], counts["rock"], "of", counts.total(), "seen:", "jazz" in seen, "numbers:", numbers[30], numbers[60])
assert (counts["jazz"], counts["rock"]) == (numbers[30], numbers[60]) == (30, 60) and "jazz" in seen
with open("sketches", "wb") as file:
    pickle.dump((counts, numbers, seen), file)
PY
venv/bin/python - <<'PY'
import pickle

with open("sketches", "rb") as file:
    counts, numbers, seen = pickle.load(file)
print("after: ", counts["jazz"], counts["rock"], "of", counts.total(), "seen:", "jazz" in seen, "numbers:", numbers[30], numbers[60])
assert (numbers[30], numbers[60]) == (30, 60) and counts.total() == 90
assert (counts["jazz"], counts["rock"]) == (0, 0) and "jazz" not in seen
PY
