#!/usr/bin/env bash
# Expected: validating a lazy frame finds what validating the same frame finds, at the latest when it is collected.
# Happens: pandera checks names and types of a LazyFrame alone. Checks of values, `unique` and `nullable=False` are not run,
# then or later: a frame of negative times, doubles and nulls comes back as valid, and collects. Nothing tells. The same
# schema refuses the collected frame.
# Matters: a pipeline that moves from DataFrame to scan_parquet keeps its green checks, and they look at nothing.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: 'pandera[polars]==0.35.0' polars==2.1.0
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata

import pandera.polars as pa
import polars as pl

print("pandera", importlib.metadata.version("pandera"), "polars", pl.__version__)
SCHEMA = pa.DataFrameSchema(
    {
        "event_id": pa.Column(str, unique=True),
        "user_id": pa.Column(str, nullable=False),
        "watch_ms": pa.Column(int, pa.Check.ge(0)),
    }
)
bad = pl.DataFrame({"event_id": ["e", "e"], "user_id": ["u", None], "watch_ms": [5, -7]})
valid = SCHEMA.validate(bad.lazy()).collect()
print("lazy:     ", valid.rows())
assert valid.equals(bad)
try:
    SCHEMA.validate(bad, lazy=True)
except pa.errors.SchemaErrors as errors:
    print("collected:", len(errors.schema_errors), "errors")
    assert len(errors.schema_errors) == 3
else:
    raise SystemExit("the collected frame is valid too")
try:
    SCHEMA.validate(bad.lazy().with_columns(watch_ms=pl.lit("text")))
except pa.errors.SchemaError as error:
    print("lazy, another type:", str(error)[:60])
else:
    raise SystemExit("types are not looked at either")
PY
