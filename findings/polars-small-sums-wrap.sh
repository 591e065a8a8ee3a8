#!/usr/bin/env bash
# Expected: a sum over int8 to int32 is int64, as in DuckDB, numpy and pandas.
# Happens: polars widens int8 and int16, and leaves int32 and uint32: their sums wrap round in silence, in `sum`, in
# `group_by` and in `cum_sum`. What it counts (`len`, `n_unique`) is uint32, so a difference of counts wraps too: 2 -
# 3 is 4294967295.
# Matters: watch times in ms pass 2^31 after 25 days of one item's plays; clicks minus impressions is a common
# feature.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: polars==2.1.0 duckdb==2.0.0 numpy==2.4.6 pandas==3.0.6 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import duckdb
import numpy as np
import polars as pl

print("polars", pl.__version__, "duckdb", duckdb.__version__, "numpy", np.__version__)
plays = pl.DataFrame({"item": [1, 1], "watch_ms": pl.Series([2**31 - 1, 1], dtype=pl.Int32)})
total = plays["watch_ms"].sum()
by_item = plays.group_by("item").agg(pl.col("watch_ms").sum())["watch_ms"][0]
print("polars int32:", total, "by item:", by_item)
assert total == by_item == -(2**31)
small = pl.Series([100, 100], dtype=pl.Int8).sum()
print("polars int8:", small)
assert small == 200
others = duckdb.sql("select sum(watch_ms) from plays").fetchall()[0][0], int(plays["watch_ms"].to_numpy().sum())
print("duckdb, numpy:", others)
assert others == (2**31, 2**31)
missing = plays.select(pl.len() - 3).item()
print("2 rows - 3:", missing)
assert missing == 2**32 - 1
PY
