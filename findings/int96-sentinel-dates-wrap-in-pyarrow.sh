#!/usr/bin/env bash
# Expected: an INT96 timestamp (as Spark and Hive write them) is read alike, or refused where it does not fit.
# Happens: pyarrow reads INT96 as nanoseconds in 64 bits, and dates outside 1677 to 2262 wrap round in silence: the
# sentinel 9999-12-31 becomes 1816. DuckDB and polars read the date that was written.
# Matters: `valid_to = 9999-12-31` ends every subscription in the nineteenth century.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.0 polars==2.1.0 pyarrow==26.0.1 pandas==3.0.6
cd "$work"
venv/bin/python - <<'PY'
import datetime

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

print("duckdb", duckdb.__version__, "polars", pl.__version__, "pyarrow", pa.__version__)
sentinel = datetime.datetime(9999, 12, 31)
table = pa.table({"valid_to": pa.array([sentinel], pa.timestamp("us"))})
pq.write_table(table, "users.parquet", use_deprecated_int96_timestamps=True)
print(pq.ParquetFile("users.parquet").schema.column(0).physical_type)
read = pq.read_table("users.parquet")["valid_to"]
print("pyarrow", read.type, read[0])
assert str(read[0]).startswith("1816-")
assert pl.read_parquet("users.parquet")["valid_to"][0] == sentinel
assert duckdb.sql("from 'users.parquet'").fetchall() == [(sentinel,)]
kept = pq.read_table("users.parquet", coerce_int96_timestamp_unit="us")["valid_to"][0].as_py()
print("pyarrow with coerce_int96_timestamp_unit:", kept)
assert kept == sentinel
PY
