#!/usr/bin/env bash
# Expected: `rating != "explicit"` and `rating not in ["explicit"]` are one condition, for items without a rating too.
# Happens: in Milvus Lite `!=` and `not (==)` leave items without a rating out; `not in` and `not (in)` find them. Both
# hold for fields of the schema and for dynamic ones.
# Matters: a filter for children that is written with a list serves every item that nobody has rated yet.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: milvus-lite==3.2.2 pymilvus==3.0.2
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata
import logging

from pymilvus import DataType, MilvusClient

logging.disable(logging.CRITICAL)
print("milvus-lite", importlib.metadata.version("milvus-lite"), "pymilvus", importlib.metadata.version("pymilvus"))
client = MilvusClient("items.db")
schema = client.create_schema(enable_dynamic_field=True)
schema.add_field("id", DataType.INT64, is_primary=True)
schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=2)
schema.add_field("rating", DataType.VARCHAR, max_length=20, nullable=True)
index = client.prepare_index_params()
index.add_index("embedding", index_type="FLAT", metric_type="IP")
client.create_collection("items", schema=schema, index_params=index)
CLEAN, EXPLICIT, UNRATED = 1, 2, 3
ratings = {CLEAN: {"rating": "clean", "told": "clean"}, EXPLICIT: {"rating": "explicit", "told": "explicit"}, UNRATED: {"rating": None}}
client.insert("items", [{"id": n, "embedding": [1.0, 0.0], **said} for n, said in ratings.items()])
for field in ("rating", "told"):
    for condition, found in (
        ('{} != "explicit"', [CLEAN]),
        ('not ({} == "explicit")', [CLEAN]),
        ('{} not in ["explicit"]', [CLEAN, UNRATED]),
        ('not ({} in ["explicit"])', [CLEAN, UNRATED]),
    ):
        hits = client.search("items", data=[[1.0, 0.0]], limit=5, filter=condition.format(field))[0]
        told = sorted(hit["id"] for hit in hits)
        print(f"{condition.format(field)}: {told}")
        assert told == found
PY
