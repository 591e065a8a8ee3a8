#!/usr/bin/env bash
# Expected: a CSV column of ids like 0x1A and 0x1F is text.
# Happens: DuckDB's and pyarrow's readers infer an integer column and give 26 and 31; polars and pandas keep the text.
# Matters: hashed user ids are written so; the file read by two tools of one pipeline gives two sets of users.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.0 pyarrow==26.0.1 polars==2.1.0 pandas==3.0.6
cd "$work"
venv/bin/python - <<'PY'
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv

print("duckdb", duckdb.__version__, "pyarrow", pa.__version__, "polars", pl.__version__, "pandas", pd.__version__)
with open("users.csv", "w") as file:
    file.write("user_id\n0x1A\n0x1F\n")
told = {
    "duckdb": [row[0] for row in duckdb.sql("from 'users.csv'").fetchall()],
    "pyarrow": pyarrow.csv.read_csv("users.csv")["user_id"].to_pylist(),
    "polars": pl.read_csv("users.csv")["user_id"].to_list(),
    "pandas": pd.read_csv("users.csv")["user_id"].tolist(),
}
print(told)
assert told["duckdb"] == told["pyarrow"] == [26, 31]
assert told["polars"] == told["pandas"] == ["0x1A", "0x1F"]
PY
