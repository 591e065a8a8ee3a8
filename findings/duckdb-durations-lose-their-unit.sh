#!/usr/bin/env bash
# Expected: DuckDB reads a Parquet column of durations as INTERVAL, or refuses it.
# Happens: it reads BIGINT: 90 seconds are 90000, 90000000 or 90000000000, as the writer counted in ms, us or ns. Parquet has no
# logical type of durations; polars, pyarrow and pandas know it by the Arrow schema in the footer, which DuckDB does not
# use. The same table in memory is an INTERVAL to it.
# Matters: watch time in two files of two writers is a thousand times apart in one query, and `> 30` holds for all of it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.1 polars==2.1.0 pyarrow==26.0.1 pandas==3.1.1
cd "$work"
venv/bin/python - <<'PY'
import datetime

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

print("duckdb", duckdb.__version__, "polars", pl.__version__, "pyarrow", pa.__version__)
watched = datetime.timedelta(seconds=90)
for unit, ticks in {"ms": 10**3, "us": 10**6, "ns": 10**9}.items():
    frame = pl.DataFrame({"watched": [watched]}, schema={"watched": pl.Duration(unit)})
    kept = frame.to_arrow()
    frame.write_parquet(f"polars-{unit}.parquet")
    pq.write_table(kept, f"pyarrow-{unit}.parquet")
    for writer in ("polars", "pyarrow"):
        path = f"{writer}-{unit}.parquet"
        told = duckdb.execute(f"select watched, typeof(watched) from '{path}'").fetchone()
        print(f"90 s by {writer} in {unit}: {told} in DuckDB")
        assert told == (90 * ticks, "BIGINT")
        assert pl.read_parquet(path).item() == watched and pq.read_table(path)["watched"][0].as_py() == watched
        assert pd.read_parquet(path)["watched"][0] == watched
    assert duckdb.execute("select watched, typeof(watched) from kept").fetchone() == (watched, "INTERVAL")
both = "select count(distinct watched), max(watched) / min(watched) from read_parquet(['polars-ms.parquet', 'polars-us.parquet'])"
print("one duration in ms and in us: distinct values and their ratio", duckdb.execute(both).fetchone())
assert duckdb.execute(both).fetchone() == (2, 1_000)
PY
