#!/usr/bin/env bash
# Expected: a user counts once, wherever the sketches were made that are united.
# Happens: to Apache DataSketches 7 and 7.0 are two values, as are 7 and "7", in each of its sketches of distinct values.
# pandas makes a column of integers floats as soon as one id is missing, so the union of two days that share all users
# counts them twice, and the intersection is empty. polars' and DuckDB's estimates over both columns say one. An empty
# text is not counted at all, though one user may be it.
# Matters: reach and the overlap of two audiences jump on the day on which the first signed-out row came, and a merge of
# kept sketches cannot be mended.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: datasketches==5.2.0 pandas==3.1.1 polars==2.1.0 duckdb==2.0.1 pyarrow==26.0.1 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import datasketches as ds
import duckdb
import pandas as pd
import polars as pl

print(*(f"{name} {version(name)}" for name in ("datasketches", "pandas", "polars", "duckdb")))
days = [pd.Series(range(1, 1001)), pd.Series([*range(1, 1001), None])]
print("pandas:", *(day.dtype for day in days))
theta, hll, both = ds.theta_union(), ds.hll_union(12), ds.theta_intersection()
for day in days:
    one, other = ds.update_theta_sketch(), ds.hll_sketch(12)
    for user in day.dropna():
        one.update(user)
        other.update(user)
    theta.update(one)
    hll.update(other)
    both.update(one)
told = theta.get_result().get_estimate(), hll.get_result().get_estimate(), both.get_result().get_estimate()
print(f"1,000 users on both days: theta {told[0]:.0f}, HLL {told[1]:.0f}, on both days {told[2]:.0f}")
users = pd.concat([day.dropna() for day in days])
frame = pl.DataFrame({"user": users.to_numpy()})
others = frame["user"].approx_n_unique(), duckdb.sql("select approx_count_distinct(user) from frame").fetchall()[0][0]
print("of the joined columns: polars", others[0], "DuckDB", others[1])
assert told[0] == 2000 and abs(told[1] - 2000) < 100 and told[2] == 0
assert all(abs(other - 1000) < 100 for other in others)
text = ds.update_theta_sketch()
for user in ("", "7", 7):
    text.update(user)
print("'', '7' and 7:", text.get_estimate())
assert text.get_estimate() == 2
PY
