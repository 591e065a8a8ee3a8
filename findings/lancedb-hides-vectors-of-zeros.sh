#!/usr/bin/env bash
# Expected: a search for the ten nearest of four rows gives four; a vector of zeros has some place among them, or is refused
# when it is stored.
# Happens: by cosine LanceDB leaves it out of every list, and answers a query of zeros with no row and no word. By dot and
# l2 it has a place; Qdrant's local mode gives it the score 0, before what points away.
# Matters: an item whose words are all unknown, or a person without a history, is a vector of zeros: the one is never shown
# and the other sees an empty page, though k rows were asked for.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: lancedb==0.40.0 qdrant-client==1.20.0 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import lancedb
from qdrant_client import QdrantClient, models

print("lancedb", version("lancedb"), "qdrant-client", version("qdrant-client"))
VECTORS = [[1.0, 0.0], [0.5, 0.5], [-1.0, 0.0], [0.0, 0.0]]
table = lancedb.connect("here").create_table("items", [{"id": n, "vector": v} for n, v in enumerate(VECTORS)])
qdrant = QdrantClient(":memory:")
qdrant.create_collection("items", vectors_config=models.VectorParams(size=2, distance=models.Distance.COSINE))
qdrant.upsert("items", points=[models.PointStruct(id=n, vector=v) for n, v in enumerate(VECTORS)])
told = {}
for name, query in (("east", [1.0, 0.0]), ("zeros", [0.0, 0.0])):
    for metric in ("cosine", "dot", "l2"):
        told[name, metric] = [row["id"] for row in table.search(query).distance_type(metric).limit(10).to_list()]
    told[name, "Qdrant"] = [point.id for point in qdrant.query_points("items", query=query, limit=10).points]
for asked, ids in told.items():
    print(*asked, ids)
assert told["east", "cosine"] == [0, 1, 2] and told["zeros", "cosine"] == []
assert told["east", "dot"] == told["east", "l2"] == told["east", "Qdrant"] == [0, 1, 3, 2]
assert all(len(told["zeros", other]) == 4 for other in ("dot", "l2", "Qdrant"))
PY
