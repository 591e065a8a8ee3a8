#!/usr/bin/env bash
# Expected: `quantile(.5)` is the median.
# Happens: polars' `quantile` takes the nearest value by default and its `median` interpolates: 3 and 2.5 of 1, 2, 3,
# 4. numpy, pandas and DuckDB's quantile_cont give 2.5 for both; DuckDB's `quantile` is the discrete one, 2. Four
# engines, three medians.
# Matters: bins, clipping bounds and drift bounds that are learned in one and applied in another.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: polars==2.1.0 numpy==2.4.6 duckdb==2.0.0 pandas==3.0.6
cd "$work"
venv/bin/python - <<'PY'
import duckdb
import numpy as np
import pandas as pd
import polars as pl

print("polars", pl.__version__, "numpy", np.__version__, "duckdb", duckdb.__version__, "pandas", pd.__version__)
values = [1, 2, 3, 4]
told = {
    "polars quantile": pl.Series(values).quantile(0.5),
    "polars median": pl.Series(values).median(),
    "numpy quantile": float(np.quantile(values, 0.5)),
    "pandas quantile": float(pd.Series(values).quantile(0.5)),
    "duckdb quantile": duckdb.sql("select quantile(v, .5) from (select unnest([1, 2, 3, 4]) v)").fetchall()[0][0],
    "duckdb median": duckdb.sql("select median(v) from (select unnest([1, 2, 3, 4]) v)").fetchall()[0][0],
}
print(told)
assert list(told.values()) == [3.0, 2.5, 2.5, 2.5, 2, 2.5]
PY
