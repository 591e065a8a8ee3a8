#!/usr/bin/env bash
# Expected: the plays of the last seven days, up to and with this row, are one number per row in every library:
# pandas' `rolling("7D")`, polars' `rolling_sum_by("7d")` and SQL's `range between interval 7 days preceding and
# current row` say that they do the same.
# Happens: pandas counts of rows of one instant those that stand before this one. polars and DuckDB count all of them,
# also those behind. So pandas' figure depends on the order of ties, and the others' holds the rows that come later.
# `closed="left"` leaves all ties out in polars and pandas; in pandas an empty window is NaN, in polars 0.
# Matters: the ten items of a slate share an instant. A sum of clicks that is moved from pandas to polars suddenly
# knows the other nine outcomes of its own slate, which serving never does.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: polars==2.1.0 duckdb==2.0.0 pyarrow==26.0.1 pandas==3.0.6 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import duckdb
import pandas as pd
import polars as pl

print("pandas", pd.__version__, "polars", pl.__version__, "duckdb", duckdb.__version__)
frame = pl.DataFrame({"ms": [1000, 1000, 1000, 2000], "clicked": [0, 1, 1, 0]}).with_columns(shown=pl.from_epoch("ms", time_unit="ms"))
other = pd.Series([0, 1, 1, 0], index=pd.to_datetime([1000, 1000, 1000, 2000], unit="ms"))
sql = "select sum(clicked) over (order by shown range between interval 7 days preceding and current row) from frame order by ms"
told = {
    "pandas": other.rolling("7D").sum().tolist(),
    "polars rolling_sum_by": frame.select(pl.col("clicked").rolling_sum_by("shown", "7d"))["clicked"].to_list(),
    "polars rolling": frame.rolling("shown", period="7d").agg(pl.col("clicked").sum())["clicked"].to_list(),
    "duckdb": [int(row[0]) for row in duckdb.sql(sql).fetchall()],
    "pandas, left": other.rolling("7D", closed="left").sum().tolist(),
    "polars, left": frame.select(pl.col("clicked").rolling_sum_by("shown", "7d", closed="left"))["clicked"].to_list(),
}
for name, sums in told.items():
    print(f"{name}: {sums}")
assert told["pandas"] == [0, 1, 2, 2]
assert told["polars rolling_sum_by"] == told["polars rolling"] == told["duckdb"] == [2, 2, 2, 2]
assert [str(x) for x in told["pandas, left"]] == ["nan", "nan", "nan", "2.0"] and told["polars, left"] == [0, 0, 0, 2]
PY
