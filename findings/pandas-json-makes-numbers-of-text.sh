#!/usr/bin/env bash
# Expected: JSON tells text from numbers, so "007" stays text in every reader.
# Happens: pandas' `read_json` turns text columns into numbers where all values look like some: "007" is 7, "1e5" is
# 100000, and ids of 17 digits become other ids as soon as one of them is missing. A column whose name ends in `_at`
# or `_time` becomes instants, in the unit that its size suggests. What comes back depends on the rows of this file.
# `dtype=False, convert_dates=False` leaves all as it is. polars, DuckDB and pyarrow keep the text.
# Matters: whether an item of one day's file joins with that of the next depends on whether any other id of the day
# has a letter.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: pandas==3.0.6 polars==2.1.0 duckdb==2.0.0 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.json

print("pandas", pd.__version__, "polars", pl.__version__, "duckdb", duckdb.__version__, "pyarrow", pa.__version__)
with open("monday.ndjson", "w") as file:
    file.write('{"item": "007", "code": "1e5", "user": "90071992547409931", "left_at": 1793527200}\n')
    file.write('{"item": "010", "code": "2e5", "user": null, "left_at": 1793527201}\n')
with open("tuesday.ndjson", "w") as file:
    file.write('{"item": "007", "code": "x", "user": "90071992547409931", "left_at": 12}\n')
    file.write('{"item": "promo", "code": "y", "user": "u", "left_at": 13}\n')
days = {day: pd.read_json(f"{day}.ndjson", lines=True).iloc[0].to_dict() for day in ("monday", "tuesday")}
print("pandas:", days)
monday = days["monday"]
assert (monday["item"], monday["code"]) == (7, 100000) and str(monday["left_at"]) == "2026-11-01 10:00:00"
assert int(monday["user"]) != 90071992547409931
assert (days["tuesday"]["item"], days["tuesday"]["left_at"]) == ("007", 12)
said = {"item": "007", "code": "1e5", "user": "90071992547409931", "left_at": 1793527200}
plain = pd.read_json("monday.ndjson", lines=True, dtype=False, convert_dates=False).iloc[0].to_dict()
rows = {
    "pandas, told not to": plain,
    "polars": pl.read_ndjson("monday.ndjson").to_dicts()[0],
    "duckdb": dict(zip(said, duckdb.sql("from read_json('monday.ndjson')").fetchall()[0], strict=True)),
    "pyarrow": pyarrow.json.read_json("monday.ndjson").to_pylist()[0],
}
print(rows)
assert all(row == said for row in rows.values())
PY
