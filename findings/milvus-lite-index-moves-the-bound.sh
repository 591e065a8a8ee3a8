#!/usr/bin/env bash
# Expected: an index over a scalar field makes a filter faster and changes no answer.
# Happens: in Milvus Lite an INVERTED index over integers cuts the fraction off the number that is asked for: `minutes >=
# 2.5` finds 2, `minutes < 2.5` does not, `minutes == 3.5` finds 3 and `minutes != 3.5` leaves 3 out. Without the index
# all four are right.
# Matters: bounds are computed (half of a length, a mean); with the index, added later for speed, items that the filter
# must keep out are served.
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


def collection(name, indexed):
    schema = client.create_schema()
    schema.add_field("minutes", DataType.INT64)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=2)
    index = client.prepare_index_params()
    index.add_index("embedding", index_type="FLAT", metric_type="IP")
    if indexed:
        index.add_index("minutes", index_type="INVERTED")
    client.create_collection(name, schema=schema, index_params=index)
    client.insert(name, [{"id": n, "minutes": n, "embedding": [1.0, 0.0]} for n in range(1, 6)])
    client.flush(name)


collection("plain", indexed=False)
collection("indexed", indexed=True)
for condition, plain, indexed in (
    ("minutes >= 2.5", [3, 4, 5], [2, 3, 4, 5]),
    ("minutes < 2.5", [1, 2], [1]),
    ("minutes == 3.5", [], [3]),
    ("minutes != 3.5", [1, 2, 3, 4, 5], [1, 2, 4, 5]),
    ("minutes >= 3", [3, 4, 5], [3, 4, 5]),
):
    told = [sorted(r["minutes"] for r in client.query(c, filter=condition, output_fields=["minutes"])) for c in ("plain", "indexed")]
    print(f"{condition}: plain {told[0]}, indexed {told[1]}")
    assert told == [plain, indexed]
PY
