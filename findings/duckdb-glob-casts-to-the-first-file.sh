#!/usr/bin/env bash
# Expected: a glob over Parquet files whose column is an integer in one and a float in the other gives floats, or
# refuses, as polars does.
# Happens: DuckDB takes the types of the file that comes first by name and casts the others to them: 2.5 becomes 2,
# and 0.4 becomes 0, without a word. With `union_by_name` the column is a double and nothing is lost.
# Matters: durations or prices of the days on which all were whole numbers decide what the other days hold.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.0 polars==2.1.0
cd "$work"
venv/bin/python - <<'PY'
import duckdb
import polars as pl

print("duckdb", duckdb.__version__, "polars", pl.__version__)
pl.DataFrame({"seconds": [1, 2]}).write_parquet("day-1.parquet")
pl.DataFrame({"seconds": [2.5, 0.4]}).write_parquet("day-2.parquet")
plain = duckdb.sql("from read_parquet('day-*.parquet')").fetchall()
united = duckdb.sql("from read_parquet('day-*.parquet', union_by_name = true)").fetchall()
print("glob:", plain, "union_by_name:", united)
assert plain == [(1,), (2,), (2,), (0,)]
assert united == [(1.0,), (2.0,), (2.5,), (0.4,)]
try:
    pl.read_parquet("day-*.parquet")
except pl.exceptions.SchemaError as error:
    print("polars:", str(error).splitlines()[0])
else:
    raise AssertionError("polars took both")
PY
