#!/usr/bin/env bash
# Expected: a column that a Parquet reader cannot read is refused; a list of lists comes back as one.
# Happens: fastparquet gives None for every row of a list of lists and of a list of structs, without a word, also by
# pandas' `engine="fastparquet"`. Flat lists come back. pandas and DuckDB read all of them.
# Matters: a history as sessions of items, or as items with their times, is the usual nested column. Every user looks
# new, and a check for missing values that allows some passes the batch as thin.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: fastparquet==2026.9.0 pandas==3.1.1 pyarrow==26.0.1 duckdb==2.0.1 numpy==2.4.6
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import duckdb
import fastparquet
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

print(*(f"{name} {version(name)}" for name in ("fastparquet", "pyarrow", "pandas", "duckdb")))
columns = {
    "items": [[1, 2], [3]],
    "sessions": [[[1, 2], [3]], [[4]]],
    "plays": [[{"item": 1, "seconds": 30}], [{"item": 2, "seconds": 5}]],
}
pq.write_table(pa.table(columns), "histories.parquet")
for name, rows in columns.items():
    told = fastparquet.ParquetFile("histories.parquet").to_pandas()[name].tolist()
    by_pandas = pd.read_parquet("histories.parquet", engine="fastparquet")[name].tolist()
    other = [row[0] for row in duckdb.sql(f"select {name} from 'histories.parquet'").fetchall()]
    print(f"{name}: fastparquet {told}, DuckDB {other}")
    assert other == rows and pq.read_table("histories.parquet")[name].to_pylist() == rows
    assert told == by_pandas == (rows if name == "items" else [None, None])
PY
