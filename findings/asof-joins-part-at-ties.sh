#!/usr/bin/env bash
# Expected: of two rows of one instant an as-of join takes the same one, whatever else is asked in the same query; and
# `nearest` takes the past where past and future are equally near.
# Happens: where fewer than 64 rows are asked, DuckDB takes the first of the two, as they were written, from 64 on the
# last; pandas and polars always the last. In `nearest` pandas takes the row before, polars the one after.
# Matters: two events in one millisecond are common, more so where the unit is seconds. A test of ten rows sees other
# features than the training set, and one request than the sweep; and `nearest` with a tolerance sees the future.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.0 polars==2.1.0 pandas==3.0.6 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import duckdb
import pandas as pd
import polars as pl

print("duckdb", duckdb.__version__, "polars", pl.__version__, "pandas", pd.__version__)
plays = pd.DataFrame({"at": [n // 2 for n in range(2000)], "user": 1, "written": ["first", "last"] * 1000})
connection = duckdb.connect()
connection.register("plays", plays)
SQL = "select distinct written from asked asof join plays on asked.user = plays.user and asked.at >= plays.at"
for rows, duck in ((1, "first"), (63, "first"), (64, "last"), (1000, "last")):
    asked = pd.DataFrame({"at": range(rows), "user": 1})
    connection.register("asked", asked)
    told = {
        "DuckDB": [row[0] for row in connection.execute(SQL).fetchall()],
        "pandas": pd.merge_asof(asked, plays, on="at", by="user")["written"].unique().tolist(),
        "polars": pl.from_pandas(asked).join_asof(pl.from_pandas(plays), on="at")["written"].unique().to_list(),
    }
    print(f"{rows} rows asked: {told}")
    assert told == {"DuckDB": [duck], "pandas": ["last"], "polars": ["last"]}
between, sides = pd.DataFrame({"at": [10]}), pd.DataFrame({"at": [8, 12], "side": ["before", "after"]})
near = {
    "pandas": pd.merge_asof(between, sides, on="at", direction="nearest")["side"][0],
    "polars": pl.from_pandas(between).join_asof(pl.from_pandas(sides), on="at", strategy="nearest")["side"][0],
}
print("nearest:", near)
assert near == {"pandas": "before", "polars": "after"}
PY
