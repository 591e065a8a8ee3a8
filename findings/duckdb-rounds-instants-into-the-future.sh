#!/usr/bin/env bash
# Expected: a coarser instant is the earlier one, as in polars (which cuts off) and pyarrow (which refuses).
# Happens: DuckDB rounds. A cast of microseconds to TIMESTAMP_MS or TIMESTAMP_S gives a later instant for half of all
# values, and `(ms / 1000)::bigint` the next second, for `/` divides as floats. And it rounds halves in two ways:
# '2.5'::bigint is 3, 2.5::double::bigint is 2.
# Matters: a point-in-time read at such an instant sees up to half a second of the future.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.0 polars==2.1.0 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import datetime

import duckdb
import polars as pl
import pyarrow as pa

print("duckdb", duckdb.__version__, "polars", pl.__version__, "pyarrow", pa.__version__)
sql = "select (timestamp '2026-11-02 10:00:00.9995')::{}::varchar"
ms, s = (duckdb.sql(sql.format(kind)).fetchall()[0][0] for kind in ("timestamp_ms", "timestamp_s"))
print("10:00:00.9995 as timestamp_ms:", ms, "as timestamp_s:", s)
assert ms.endswith("10:00:01") and s.endswith("10:00:01")
seconds = duckdb.sql("select (1762041600999 / 1000)::bigint, 1762041600999 // 1000").fetchall()[0]
print("ms / 1000 and ms // 1000:", seconds)
assert seconds == (1762041601, 1762041600)
halves = duckdb.sql("select '2.5'::bigint, 2.5::bigint, 2.5::double::bigint").fetchall()[0]
print("2.5 as text, decimal, double:", halves)
assert halves == (3, 3, 2)
instant = datetime.datetime(2026, 11, 2, 10, 0, 0, 999500)
cut = pl.Series([instant]).cast(pl.Datetime("ms"))[0]
print("polars:", cut)
assert cut.microsecond == 999000
try:
    pa.array([instant]).cast(pa.timestamp("ms"))
except pa.ArrowInvalid as error:
    print("pyarrow:", error)
else:
    raise AssertionError("pyarrow cast it")
PY
