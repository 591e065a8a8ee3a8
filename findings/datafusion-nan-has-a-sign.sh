#!/usr/bin/env bash
# Expected: NaN is NaN: an engine sorts it to one end, as DuckDB and polars do, or compares it with nothing.
# Happens: DataFusion and Lance go by its sign. 0/0 has the sign bit on x86-64, from numpy, polars and DataFusion alike: it
# is below every number, and math.nan above every one. `= 'nan'` finds the one alone, `group by`, `count(distinct)` and
# joins hold them for two values. Lance's zone map loses the one below: the same filter finds it until there is an index.
# Matters: a ratio of no plays is the smallest score or the largest, by who computed it, and `where score < 0` finds it.
# Needs x86-64.
set -euo pipefail
[ "$(uname -m)" = x86_64 ] || { echo "skipped: not x86-64"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: datafusion==55.0.0 pylance==14.0.2 duckdb==2.0.1 polars==2.1.0 pyarrow==26.0.1 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata
import math

import duckdb
import lance
import numpy as np
import polars as pl
import pyarrow as pa
from datafusion import SessionContext

print(*(f"{name} {importlib.metadata.version(name)}" for name in ("datafusion", "pylance", "duckdb", "polars")))
with np.errstate(invalid="ignore"):
    ratio = (np.zeros(1) / np.zeros(1))[0]
assert np.signbit(ratio) and np.signbit((pl.Series([0.0]) / pl.Series([0.0]))[0]) and not np.signbit(math.nan)
t = pa.table({"name": ["one", "two", "0/0", "nan"], "x": np.array([1.0, 2.0, ratio, math.nan])})
context = SessionContext()
context.from_arrow(t, name="t")
frames = pl.SQLContext(t=pl.from_arrow(t))
engines = {
    "datafusion": lambda query: [tuple(row.values()) for batch in context.sql(query).collect() for row in batch.to_pylist()],
    "duckdb": lambda query: duckdb.sql(query).fetchall(),
    "polars": lambda query: frames.execute(query).collect().rows(),
}
told = {}
for query in (
    "select name from t where x < 0",
    "select name from t where x > 2 order by name",
    "select name from t where x = cast('nan' as double) order by name",
    "select count(distinct x) as n from t",
    "select count(*) as n from t group by x order by n desc limit 1",
    "select count(*) as n from t join t as u on t.x = u.x",
):
    for name, run in engines.items():
        told[query, name] = [row[0] for row in run(query)]
        print(f"{query}: {told[query, name]} by {name}")
    assert told[query, "duckdb"] == told[query, "polars"] != told[query, "datafusion"]
found = [told[query, "datafusion"] for query, name in told if name == "polars"]
assert found == [["0/0"], ["nan"], ["nan"], [4], [1], [4]]
ordered = [row[0] for row in engines["datafusion"]("select name from t order by x")]
assert ordered == ["0/0", "one", "two", "nan"]
assert [row[1] for row in engines["datafusion"]("select x / x as y, x / x < 0 as below from (select 0e0 as x)")] == [True]

scores = lance.write_dataset(t, "scores")
before = scores.to_table(filter="x < 0")["name"].to_pylist()
scores.create_scalar_index("x", "ZONEMAP")
after = lance.dataset("scores").to_table(filter="x < 0")["name"].to_pylist()
print("lance: x < 0 finds", before, "and, with a zone map,", after)
assert before == ["0/0"] and after == []
PY
