#!/usr/bin/env bash
# Expected: the sets of items of two people who played nothing share nothing: their similarity is 0, or undefined.
# Happens: datasketch says 1.0, exactly, and its LSH index gives every such person as a neighbour of every other, though
# none of them as a neighbour of somebody who played something.
# Matters: neighbours by MinHash make one large cluster of all newcomers, with the strongest similarity that there is.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: datasketch==2.0.0 numpy==2.4.6 scipy==1.17.0
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

from datasketch import MinHash, MinHashLSH

print("datasketch", version("datasketch"))


def sketch(items):
    made = MinHash(num_perm=128, seed=7)
    for item in items:
        made.update(item.encode())
    return made


index = MinHashLSH(threshold=0.5, num_perm=128)
people = {"first": [], "second": [], "listener": ["a", "b", "c"]}
for name, items in people.items():
    index.insert(name, sketch(items))
print("similarity of two without items:", sketch([]).jaccard(sketch([])))
print("neighbours of one without items:", sorted(index.query(sketch([]))))
assert sketch([]).jaccard(sketch([])) == 1.0
assert sorted(index.query(sketch([]))) == ["first", "second"]
assert index.query(sketch(["a", "b", "c"])) == ["listener"]
PY
