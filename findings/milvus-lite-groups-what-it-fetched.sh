#!/usr/bin/env bash
# Expected: a search grouped by creator with limit 5 gives the best item of the five best creators; a search within a
# range of scores gives the best 5 within it.
# Happens: Milvus Lite fetches ten times the limit and groups or cuts what it has: where one creator has the 100 best
# items, a limit of 10 gives one hit, though 20 other creators follow. A range below the best scores gives none, though
# 20 items lie in it.
# Matters: grouping is how a slate gets more than one creator, and it fails just where one creator rules; the range is how
# the next page or "not quite the same" is asked.
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
schema = client.create_schema()
schema.add_field("id", DataType.INT64, is_primary=True)
schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=2)
schema.add_field("creator", DataType.INT64)
index = client.prepare_index_params()
index.add_index("embedding", index_type="FLAT", metric_type="IP")
client.create_collection("items", schema=schema, index_params=index)
# Scores fall from 1 to .881; the first 100 items are of creator 0, the next 20 have one each.
rows = [{"id": n, "embedding": [1 - n / 1000, 0.0], "creator": max(0, n - 99)} for n in range(120)]
client.insert("items", rows)
found = {}
for limit in (5, 10, 12):
    hits = client.search("items", data=[[1.0, 0.0]], limit=limit, group_by_field="creator", output_fields=["creator"])[0]
    found[limit] = [hit["entity"]["creator"] for hit in hits]
    print(f"limit {limit}: creators {found[limit]}")
assert found[5] == found[10] == [0] and found[12] == list(range(12))
within = {"params": {"radius": 0.5, "range_filter": 0.9}}
in_range = {limit: len(client.search("items", data=[[1.0, 0.0]], limit=limit, search_params=within)[0]) for limit in (5, 20, 30)}
print("within .5 to .9, by limit:", in_range, "of", sum(row["embedding"][0] <= 0.9 for row in rows))
assert in_range[5] == 0 and in_range[30] == 20
PY
