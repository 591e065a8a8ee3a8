#!/usr/bin/env bash
# Expected: within one library, the largest score and the first of the scores in falling order are the same item.
# Happens: with one NaN among the scores polars' `max` and `arg_max` leave it out, its `sort` and `top_k` put it
# first. In DuckDB it is first and largest, in numpy it is `max` and the last of `argsort`, in pandas never. pyarrow's
# `max` leaves it out and its sort puts it behind all numbers in either direction.
# Matters: one broken score is the first item of the slate in one path and invisible in the other, and both are
# "sorted by score".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: polars==2.1.0 duckdb==2.0.0 numpy==2.4.6 pandas==3.0.6 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

print("polars", pl.__version__, "duckdb", duckdb.__version__, "numpy", np.__version__, "pyarrow", pa.__version__)
scores = pl.DataFrame({"item": ["a", "broken", "c"], "score": [1.0, float("nan"), 3.0]})
column, array = scores["score"], scores["score"].to_numpy()
arrow = scores["score"].to_arrow()
told = {
    "polars arg_max": scores["item"][column.arg_max()],
    "polars sort": scores.sort("score", descending=True)["item"][0],
    "polars top_k": scores.top_k(1, by="score")["item"][0],
    "duckdb order by": duckdb.sql("select item from scores order by score desc").fetchall()[0][0],
    "duckdb arg_max": duckdb.sql("select arg_max(item, score) from scores").fetchall()[0][0],
    "numpy argmax": scores["item"][int(array.argmax())],
    "numpy argsort[::-1]": scores["item"][int(array.argsort()[::-1][0])],
    "pandas nlargest": scores["item"][int(pd.Series(array).nlargest(1).index[0])],
    "pyarrow sort": scores["item"][pc.array_sort_indices(arrow, order="descending")[0].as_py()],
}
for name, item in told.items():
    print(f"{name:20} {item}")
assert column.max() == 3 and pc.max(arrow).as_py() == 3
assert [told[name] for name in ("polars arg_max", "pandas nlargest", "pyarrow sort")] == ["c"] * 3
assert all(told[name] == "broken" for name in told if name not in ("polars arg_max", "pandas nlargest", "pyarrow sort"))
PY
