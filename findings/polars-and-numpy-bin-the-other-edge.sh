#!/usr/bin/env bash
# Expected: a histogram over the same edges counts the same.
# Happens: numpy's bins hold their left edge, polars' `hist` and `cut` and pandas' `cut` their right one. Counts of
# whole numbers, which lie on edges, move by one bin: 0, 1, 2 over the edges 0, 1, 2 is [1, 2] in numpy and [2, 1] in
# polars; pandas' `cut` has no bin for 0.
# Matters: a drift report whose reference was binned by one and whose current day by the other sees a drift of
# everything.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: polars==2.1.0 numpy==2.4.6 pandas==3.0.6
cd "$work"
venv/bin/python - <<'PY'
import numpy as np
import pandas as pd
import polars as pl

print("polars", pl.__version__, "numpy", np.__version__, "pandas", pd.__version__)
clicks, edges = [0, 1, 2], [0, 1, 2]
by_numpy = np.histogram(clicks, edges)[0].tolist()
by_polars = pl.Series(clicks, dtype=pl.Float64).hist(edges)["count"].to_list()
by_pandas = pd.cut(pd.Series(clicks), edges).value_counts(sort=False).tolist()
print("numpy", by_numpy, "polars", by_polars, "pandas", by_pandas)
assert by_numpy == [1, 2] and by_polars == [2, 1] and by_pandas == [1, 1]
PY
