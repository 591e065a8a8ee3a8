#!/usr/bin/env bash
# Expected: DuckDB's `read_csv(..., columns={'user': ..., 'item': ...})` gives each named column its values, as the files' headers say.
# Happens: `columns` goes by place and passes the header over: a file that says item,user comes back with the two exchanged, where
# the types allow it. `types` goes by name, and so does DuckDB without either, in files of two orders.
# Matters: an export that once moves a column exchanges the ids of users and items, and every query still answers.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.1
cd "$work"
venv/bin/python - <<'PY'
from pathlib import Path

import duckdb

print("duckdb", duckdb.__version__)
Path("1.csv").write_text("user,item\n1,100\n2,200\n")
Path("2.csv").write_text("item,user\n300,3\n")
named = "{'user': 'bigint', 'item': 'bigint'}"
told = {}
for files in ("['1.csv', '2.csv']", "'2.csv'"):
    for way in (f", columns={named}", f", columns={named}, header=true", f", types={named}", ""):
        rows = duckdb.sql(f"select \"user\", item from read_csv({files}{way}) order by all").fetchall()
        print(f"read_csv({files}{way}): {rows}")
        told[files, way.split("=")[0], "header" in way] = rows
for files in ("['1.csv', '2.csv']", "'2.csv'"):
    assert (300, 3) in told[files, ", columns", False] and (300, 3) in told[files, ", columns", True]
    assert (3, 300) in told[files, ", types", False] and (3, 300) in told[files, "", False]
PY
