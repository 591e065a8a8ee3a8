#!/usr/bin/env bash
# Expected: a Delta table gives back the empty text that was written to it.
# Happens: where the column parts the table into folders, '' comes back as null from deltalake's `to_pyarrow_table`, and as '' from
# deltalake's own SQL and from polars, of the same version of the same table. In any other column it is '' to all.
# Matters: rows "of no genre" and rows "of unknown genre" become one, and two jobs on one table count them in two ways.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: deltalake==1.6.6 polars==2.1.0 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake

print("deltalake", importlib.metadata.version("deltalake"), "polars", pl.__version__)
rows = [("", 1), (None, 2), ("jazz", 3)]
table = pa.table({"genre": [genre for genre, _ in rows], "item": [item for _, item in rows]})
told = {}
for path, parts in {"plain": None, "parted": ["genre"]}.items():
    write_deltalake(path, table, partition_by=parts)
    kept = DeltaTable(path)
    query = pa.table(QueryBuilder().register("t", kept).execute("select genre, item from t").read_all())
    read = {"to_pyarrow_table": kept.to_pyarrow_table(), "QueryBuilder": query, "polars": pl.read_delta(path).to_arrow()}
    for reader, found in read.items():
        by_item = {row["item"]: row["genre"] for row in found.to_pylist()}
        told[path, reader] = by_item[1]
        print(f"{path:6} by {reader:16} {by_item}")
        assert by_item[2] is None and by_item[3] == "jazz"
assert [told["plain", reader] for reader in ("to_pyarrow_table", "QueryBuilder", "polars")] == ["", "", ""]
assert [told["parted", reader] for reader in ("to_pyarrow_table", "QueryBuilder", "polars")] == [None, "", ""]
PY
