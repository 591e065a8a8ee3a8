#!/usr/bin/env bash
# Expected: an HNSW index over inner products finds about the same share of the best items in whatever order they are
# added.
# Happens: of items in mixed order, whose norms differ as those of popular and rare items do, voyager finds about a tenth
# of the ten best; of the same items sorted by norm, either way, nine tenths. FAISS with the same degree and beam finds
# nine tenths in any order.
# Matters: catalogues come in mixed order. Nothing warns: the scores are right, only the best items are not among them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: voyager==2.2.3 faiss-cpu==1.15.1 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata

import faiss
import numpy as np
import voyager

print("voyager", importlib.metadata.version("voyager"), "faiss", faiss.__version__)
rng = np.random.default_rng(0)
norms = np.exp(rng.normal(0, 1, (4000, 1)))
items = (rng.normal(size=(4000, 16)) * norms).astype(np.float32)
queries = rng.normal(size=(100, 16)).astype(np.float32)
best = np.argsort(-(queries @ items.T), axis=1)[:, :10]


def of_voyager(order):
    index = voyager.Index(voyager.Space.InnerProduct, num_dimensions=16, M=12, ef_construction=200)
    index.add_items(items[order], ids=order.tolist(), num_threads=1)
    found, distances = index.query(queries, k=10, query_ef=10, num_threads=1)
    assert abs(distances[0, 0] - (1 - queries[0] @ items[found[0, 0]])) < 1e-3
    return found


def of_faiss(order):
    faiss.omp_set_num_threads(1)
    index = faiss.IndexHNSWFlat(16, 12, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 200, 10
    index.add(items[order])
    return order[index.search(queries, 10)[1]]


by_norm = np.argsort(np.linalg.norm(items, axis=1))
orders = {f"mixed {seed}": np.random.default_rng(seed).permutation(len(items)) for seed in range(3)}
for name, order in {**orders, "rising": by_norm, "falling": by_norm[::-1]}.items():
    recall = [
        np.mean([len(set(f) & set(b)) / 10 for f, b in zip(found(order).tolist(), best.tolist())])
        for found in (of_voyager, of_faiss)
    ]
    print(f"recall@10, {name}: voyager {recall[0]:.3f}, FAISS {recall[1]:.3f}")
    assert (recall[0] < 0.3) == name.startswith("mixed") and (recall[0] > 0.85) != name.startswith("mixed")
    assert recall[1] > 0.8
PY
