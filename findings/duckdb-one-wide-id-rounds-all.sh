#!/usr/bin/env bash
# Expected: integers that DuckDB's CSV reader reads exactly come out of `copy ... to parquet` exactly.
# Happens: one id over 2^63 - 1 makes the column HUGEINT, and Parquet has no such type: every id of the column is
# written as a double, and neighbours become one id. No warning. The same column goes to Arrow as decimal(38, 0),
# exactly. `sum()` of integers is HUGEINT as well, so summed counts leave as doubles.
# Matters: one 64-bit hash among the user ids merges users that were two, and only past the file.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.0 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

print("duckdb", duckdb.__version__)
with open("users.csv", "w") as file:
    file.write("user_id\n9007199254740992\n9007199254740993\n18446744073709551615\n")
users = duckdb.sql("from 'users.csv'")
print("sniffed as", users.types[0], users.fetchall())
assert str(users.types[0]) == "HUGEINT"
assert len(set(users.fetchall())) == 3

duckdb.sql("copy (from 'users.csv') to 'users.parquet'")
stored = pq.read_table("users.parquet")["user_id"]
print("in Parquet:", stored.type, [int(x) for x in stored.to_pylist()])
assert stored.type == pa.float64()
assert len(set(stored.to_pylist())) == 2

through_arrow = users.to_arrow_table()["user_id"]
print("through Arrow:", through_arrow.type)
assert len(set(through_arrow.to_pylist())) == 3

total = duckdb.sql("select sum(n) from (values (9007199254740992), (1)) v(n)")
duckdb.sql("copy (select sum(n) s from (values (9007199254740992), (1)) v(n)) to 'sum.parquet'")
print("a sum:", total.fetchall(), "in Parquet:", int(pq.read_table("sum.parquet")["s"][0].as_py()))
assert total.fetchall()[0][0] - int(pq.read_table("sum.parquet")["s"][0].as_py()) == 1
PY
