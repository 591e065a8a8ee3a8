#!/usr/bin/env bash
# Expected: readers that guess dates guess alike, or leave 03/04/2026 as text, since nobody can know.
# Happens: it is the 3rd of April to polars (`try_parse_dates`) and DuckDB, also where every row of the file could be
# either, and the 4th of March to pandas. pyarrow leaves text. With one 13/06/2026 in the file pandas gives text for
# the whole column, without a word; where that row comes first, it warns and takes the day first. So one log of
# several files has two calendars.
# Matters: a split by time puts the rows of twelve days a month into another month, and the files that have a 13th
# agree with the truth, so that a glance at them says that all is well.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: polars==2.1.0 duckdb==2.0.0 pandas==3.0.6 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import warnings

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv

print("polars", pl.__version__, "duckdb", duckdb.__version__, "pandas", pd.__version__, "pyarrow", pa.__version__)
warnings.simplefilter("ignore")
files = {
    "either": ["03/04/2026", "05/06/2026"],
    "a 13th last": ["03/04/2026", "13/06/2026"],
    "a 13th first": ["13/06/2026", "03/04/2026"],
}
told = {}
for name, dates in files.items():
    with open("log.csv", "w") as file:
        file.write("\n".join(["shown", *dates]) + "\n")
    place = dates.index("03/04/2026")
    values = {
        "polars": pl.read_csv("log.csv", try_parse_dates=True)["shown"][place],
        "duckdb": duckdb.sql("from read_csv('log.csv')").fetchall()[place][0],
        "pandas": pd.read_csv("log.csv", parse_dates=["shown"])["shown"][place],
        "pyarrow": pa.csv.read_csv("log.csv")["shown"][place].as_py(),
    }
    told[name] = {reader: str(value)[:10] for reader, value in values.items()}
    print(f"{name}: {told[name]}")
april, march, text = "2026-04-03", "2026-03-04", "03/04/2026"
assert all(row["polars"] == row["duckdb"] == april and row["pyarrow"] == text for row in told.values())
assert [row["pandas"] for row in told.values()] == [march, text, april]
PY
