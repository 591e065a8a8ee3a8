#!/usr/bin/env bash
# Expected: `shop=007/` is read as 007 by everyone or as 7 by everyone; `date=2026-11-02` likewise.
# Happens: DuckDB gives the text 007 if one folder has a leading zero, polars and pyarrow the integer 7. The date is a
# date in DuckDB and polars and text in pyarrow.
# Matters: partitions written by one tool and joined in another lose or gain rows, with the same folder on disk.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.0 polars==2.1.0 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import os

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

print("duckdb", duckdb.__version__, "polars", pl.__version__, "pyarrow", pa.__version__)
for day, shop in (("2026-11-02", "007"), ("2026-11-03", "8")):
    os.makedirs(f"log/date={day}/shop={shop}")
    pl.DataFrame({"n": [1]}).write_parquet(f"log/date={day}/shop={shop}/a.parquet")
by_duckdb = duckdb.sql("select date, shop from read_parquet('log/**/*.parquet') order by date")
by_polars = pl.read_parquet("log/").sort("date")
by_pyarrow = pq.read_table("log").sort_by("n")
print("duckdb ", by_duckdb.types, by_duckdb.fetchall())
print("polars ", by_polars.schema, by_polars["shop"].to_list())
print("pyarrow", by_pyarrow["date"].type, by_pyarrow["shop"].type, by_pyarrow["shop"].to_pylist())
assert [row[1] for row in by_duckdb.fetchall()] == ["007", "8"]
assert by_polars["shop"].to_list() == [7, 8] and set(by_pyarrow["shop"].to_pylist()) == {7, 8}
assert str(by_duckdb.types[0]) == "DATE" and by_polars["date"].dtype == pl.Date
assert by_pyarrow["date"].type.value_type == pa.string()
PY
