#!/usr/bin/env bash
# Expected: SQL folds the case of bare names, and a quoted name is exact: `"ID"` is the column ID.
# Happens: DuckDB folds quoted names too. Of a Parquet file with the columns id and ID, `select "ID"` gives id; the
# second is there as "ID_1".
# Matters: exports carry `id` beside `ID` or `ts` beside `TS` often enough, and the wrong one joins without an error.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.0 polars==2.1.0
cd "$work"
venv/bin/python - <<'PY'
import duckdb
import polars as pl

print("duckdb", duckdb.__version__)
pl.DataFrame({"id": [1], "ID": [2]}).write_parquet("items.parquet")
print("columns:", duckdb.sql("from 'items.parquet'").columns)
found = duckdb.sql("""select "ID", "ID_1" from 'items.parquet'""").fetchall()
print('"ID", "ID_1":', found)
assert found == [(1, 2)]
PY
