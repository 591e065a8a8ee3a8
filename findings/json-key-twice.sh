#!/usr/bin/env bash
# Expected: where a JSON object says one key twice, the last one counts, as in Python, JavaScript and orjson; or the
# row is refused.
# Happens: the first counts in polars' `read_ndjson` and `json_decode`, and the last in its `json_path_match`.
# DuckDB's `->>` takes the first, and its `read_json` refuses the file, as pyarrow does. pandas takes the last.
# Matters: a client that adds `"kind": "play"` behind a template's `"kind": "click"` is a play at the door of a Python
# service and a click in the same log read by polars.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: polars==2.1.0 duckdb==2.0.0 pyarrow==26.0.1 pandas==3.0.6 orjson==3.11.9
cd "$work"
venv/bin/python - <<'PY'
import json

import duckdb
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.json

print("polars", pl.__version__, "duckdb", duckdb.__version__, "pyarrow", pa.__version__, "pandas", pd.__version__)
line = '{"kind": "click", "user": 1, "kind": "play"}\n'
with open("events.ndjson", "w") as file:
    file.write(line * 2)
text = pl.Series([line])
told = {
    "json": json.loads(line)["kind"],
    "orjson": orjson.loads(line)["kind"],
    "pandas read_json": pd.read_json("events.ndjson", lines=True)["kind"][0],
    "polars json_path_match": text.str.json_path_match("$.kind")[0],
    "polars read_ndjson": pl.read_ndjson("events.ndjson")["kind"][0],
    "polars json_decode": text.str.json_decode(pl.Struct({"kind": pl.String}))[0]["kind"],
    "duckdb ->>": duckdb.execute("select ?::json ->> 'kind'", [line]).fetchone()[0],
}
for name, read in (
    ("duckdb read_json", lambda: duckdb.sql("from read_json('events.ndjson')").fetchall()),
    ("pyarrow read_json", lambda: pyarrow.json.read_json("events.ndjson")),
):
    try:
        read()
        told[name] = "read"
    except (duckdb.Error, pa.ArrowInvalid):
        told[name] = "refused"
print(told)
assert [name for name, kind in told.items() if kind == "click"] == ["polars read_ndjson", "polars json_decode", "duckdb ->>"]
assert [name for name, kind in told.items() if kind == "play"] == ["json", "orjson", "pandas read_json", "polars json_path_match"]
assert told["duckdb read_json"] == told["pyarrow read_json"] == "refused"
PY
