#!/usr/bin/env bash
# Expected: `get(ids=[...])` gives what was asked for in the order in which it was asked.
# Happens: Chroma gives it in the order in which it was added, whatever the order of the ids; an id that it lacks is left
# out. Nothing tells.
# Matters: who puts the embeddings beside the ids that they asked for gives each item another one's vector.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: chromadb==1.5.9 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import chromadb
from chromadb.config import Settings

print("chromadb", version("chromadb"))
client = chromadb.EphemeralClient(Settings(anonymized_telemetry=False))
items = client.create_collection("items", embedding_function=None)
items.add(ids=["a", "b", "c"], embeddings=[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
for asked in (["c", "a"], ["c", "x", "a"]):
    told = items.get(ids=asked, include=["embeddings"])
    print("asked", asked, "told", told["ids"], told["embeddings"].tolist())
    assert told["ids"] == sorted(set(asked) - {"x"})
assert items.get(ids=["c", "a"], include=["embeddings"])["embeddings"].tolist() == [[1.0, 0.0], [1.0, 1.0]]
PY
