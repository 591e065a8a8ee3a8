#!/usr/bin/env bash
# Expected: an inner join on a float key (ids after a null) gives the same rows everywhere: null joins nothing, NaN
# nothing, -0.0 joins 0.0.
# Happens: four engines, three answers on the keys 1, NaN, null, -0.0, 0.0. DuckDB and polars join NaN with NaN and
# -0.0 with 0.0, and no nulls. pandas joins null and NaN with each other as well. pyarrow joins -0.0 and 0.0 with
# themselves alone, and its group_by makes two groups of them.
# Matters: users without an id are joined with each other, and the number of rows changes with the engine.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: polars==2.1.0 duckdb==2.0.0 pandas==3.0.6 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa

print("polars", pl.__version__, "duckdb", duckdb.__version__, "pandas", pd.__version__, "pyarrow", pa.__version__)
keys = pa.table({"key": [1.0, float("nan"), None, -0.0, 0.0]})
by_polars, by_pandas = pl.from_arrow(keys), keys.to_pandas()
rows = {
    "duckdb": duckdb.sql("select count(*) from keys a join keys b using (key)").fetchall()[0][0],
    "polars": by_polars.join(by_polars, on="key").height,
    "pandas": len(by_pandas.merge(by_pandas, on="key")),
    "pyarrow": keys.join(keys, "key", join_type="inner").num_rows,
}
print("rows of the self-join:", rows)
groups = {
    "duckdb": len(duckdb.sql("select key from keys group by key").fetchall()),
    "polars": by_polars["key"].n_unique(),
    "pandas": by_pandas.groupby("key", dropna=False).ngroups,
    "pyarrow": keys.group_by("key").aggregate([]).num_rows,
}
print("groups:", groups)
assert rows == {"duckdb": 6, "polars": 6, "pandas": 9, "pyarrow": 4}
assert groups == {"duckdb": 4, "polars": 4, "pandas": 3, "pyarrow": 5}
PY
