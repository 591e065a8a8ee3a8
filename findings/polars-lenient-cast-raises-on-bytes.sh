#!/usr/bin/env bash
# Expected: `cast(..., strict=False)` gives null for a value that cannot be cast, whatever it is.
# Happens: one value of bytes that is no UTF-8 makes the cast from Binary to String raise for the whole column, and
# the lenient flag changes nothing. From text to a number the same flag gives null.
# Matters: Parquet from other tools holds ids as plain bytes; one damaged id takes the file with it instead of going
# into quarantine.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: polars==2.1.0
cd "$work"
venv/bin/python - <<'PY'
import polars as pl

print("polars", pl.__version__)
assert pl.Series(["7", "x"]).cast(pl.Int64, strict=False).to_list() == [7, None]
try:
    pl.Series([b"7", b"\xff"]).cast(pl.String, strict=False)
except pl.exceptions.ComputeError as error:
    print("bytes:", str(error).splitlines()[0])
else:
    raise AssertionError("the column was cast")
PY
