#!/usr/bin/env bash
# Expected: a NaN (a division that failed) and a null (nothing known) stay two things when a table changes hands.
# Happens: DuckDB reads a pandas column's NaN as NULL and a polars column's as NaN. `pl.from_pandas`, pyarrow's
# from_pandas and `to_parquet` make it null, `pl.Series(column.to_numpy())` and `pa.array(column.to_numpy())` keep it.
# Matters: "share of null" and "share of NaN" of one column depend on which hop the table took; a model gets missing
# for broken.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: polars==2.1.0 duckdb==2.0.0 pandas==3.0.6 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

print("polars", pl.__version__, "duckdb", duckdb.__version__, "pandas", pd.__version__, "pyarrow", pa.__version__)
by_pandas = pd.DataFrame({"rate": [1.0, float("nan")]})
by_polars = pl.DataFrame({"rate": [1.0, float("nan")]})
nulls = {
    "duckdb of pandas": duckdb.sql("select count(*) from by_pandas where rate is null").fetchall()[0][0],
    "duckdb of polars": duckdb.sql("select count(*) from by_polars where rate is null").fetchall()[0][0],
    "pl.from_pandas": pl.from_pandas(by_pandas)["rate"].null_count(),
    "pl.Series(to_numpy)": pl.Series(by_pandas["rate"].to_numpy()).null_count(),
    "pa.array(Series)": pa.array(by_pandas["rate"]).null_count,
    "pa.array(to_numpy)": pa.array(by_pandas["rate"].to_numpy()).null_count,
}
by_pandas.to_parquet("rates.parquet")
nulls["to_parquet"] = pq.read_table("rates.parquet")["rate"].null_count
print("nulls of a column with one NaN:", nulls)
assert list(nulls.values()) == [1, 0, 1, 0, 1, 0, 1]
PY
