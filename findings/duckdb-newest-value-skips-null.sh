#!/usr/bin/env bash
# Expected: `max_by(value, instant)` (or `arg_max`) gives the value at the newest instant, null if that is null.
# Happens: rows whose value is null do not take part, so the newest value that is not null comes back. `arg_max_null`
# is the one that keeps null, and polars' sort and last does too.
# Matters: the current state of an item from a log of changes: a category or price that was taken away stays for ever.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.0 polars==2.1.0 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import duckdb
import polars as pl

print("duckdb", duckdb.__version__, "polars", pl.__version__)
changes = pl.DataFrame({"instant": [1, 2], "category": ["sport", None]})
columns = "max_by(category, instant), arg_max(category, instant), arg_max_null(category, instant)"
found = duckdb.sql(f"select {columns} from changes")
print("max_by, arg_max, arg_max_null:", found.fetchall())
last = changes.sort("instant")["category"][-1]
print("polars, sorted, last:", last)
assert found.fetchall() == [("sport", "sport", None)] and last is None
PY
