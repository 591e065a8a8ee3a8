#!/usr/bin/env bash
# Expected: clicks divided by impressions is a rate, whoever summed them. `1 / 3` of two integer columns is .333 in
# polars and in DuckDB.
# Happens: a sum of integers is a HUGEINT in DuckDB, which leaves it as a decimal(38, 0), and polars divides decimals
# to the places of the one with more of them: none. So each rate up to one half is 0 and each above it is 1; counts,
# which are int64, divide as they should. pyarrow's mean of such a column is rounded likewise: 1 and 2 have the mean
# 2. DuckDB itself, and pandas, have .333 and 1.5.
# Matters: "aggregate in SQL, the ratio in polars" gives click rates of 0 for all items. Warehouses that write each
# integer as NUMBER(38, 0) bring the same into Parquet.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: polars==2.1.0 duckdb==2.0.0 pyarrow==26.0.1 numpy==2.4.6 pandas==3.0.6
cd "$work"
venv/bin/python - <<'PY'
from decimal import Decimal

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

print("duckdb", duckdb.__version__, "polars", pl.__version__, "pyarrow", pa.__version__)
sums = duckdb.sql(
    "select item, sum(click) clicks, sum(impression) impressions, count(*) n, sum(click) / sum(impression) rate"
    " from (values ('a', 1, 3), ('b', 2, 3)) t(item, click, impression) group by item order by item"
)
frame = sums.pl()
print("types:", {name: str(dtype) for name, dtype in frame.schema.items()})
assert frame.schema["clicks"] == frame.schema["impressions"] == pl.Decimal(38, 0)
told = frame.with_columns(in_polars=pl.col("clicks") / pl.col("impressions"))
print("rate of DuckDB:", told["rate"].to_list(), "of polars:", told["in_polars"].to_list())
assert [float(r) for r in told["in_polars"]] == [0, 1]
assert [round(r, 3) for r in told["rate"]] == [0.333, 0.667]
counts = frame.with_columns(pl.col("clicks", "impressions").cast(pl.Int64)).select(pl.col("clicks") / pl.col("impressions"))
print("cast to int64 first:", counts["clicks"].to_list())
assert [round(r, 3) for r in counts["clicks"]] == [0.333, 0.667]
pandas = sums.df()
assert [round(r, 3) for r in pandas["clicks"] / pandas["impressions"]] == [0.333, 0.667]

values = pa.array([Decimal(1), Decimal(2)], pa.decimal128(38, 0))
grouped = pa.table({"item": ["a", "a"], "value": values}).group_by("item").aggregate([("value", "mean")])
means = pc.mean(values).as_py(), grouped["value_mean"][0].as_py()
others = pl.from_arrow(values).mean(), duckdb.sql("select avg(x::decimal(38, 0)) from (values (1), (2)) t(x)").fetchall()[0][0]
print("mean of 1 and 2: pyarrow", means, "polars, duckdb", others)
assert means == (2, 2) and others == (1.5, 1.5)
PY
