#!/usr/bin/env bash
# Expected: 3:45, the length of a song, is text to a CSV reader until somebody says what it is.
# Happens: DuckDB finds a time of day, 03:45:00, as long as no length of the sample is over 23:59; one of 62:10 makes the
# same column text. pyarrow does so for 03:45. Asked for an interval, DuckDB reads 62:10 as 62 hours, pydantic 03:45 as
# 3 hours 45 minutes. polars does as DuckDB where it is told to find dates, and else leaves text.
# Matters: lengths are 60 times too long, or the column's type changes on the day of the first long episode.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.0 pyarrow==26.0.1 pydantic==2.14.3 polars==2.1.0
cd "$work"
venv/bin/python - <<'PY'
import datetime
import io

import duckdb
import polars as pl
import pyarrow
import pyarrow.csv
import pydantic

print("duckdb", duckdb.__version__, "pyarrow", pyarrow.__version__, "pydantic", pydantic.VERSION, "polars", pl.__version__)
told = {}
for name, lengths in (("short", ("3:45", "12:10")), ("with zeros", ("03:45", "12:10")), ("long", ("03:45", "62:10"))):
    text = "id,length\n" + "".join(f"{n},{length}\n" for n, length in enumerate(lengths))
    with open("lengths.csv", "w") as file:
        file.write(text)
    first = duckdb.connect().execute("select length from 'lengths.csv'").fetchall()[0][0]
    arrow = pyarrow.csv.read_csv(io.BytesIO(text.encode()))["length"][0].as_py()
    told[name] = first, arrow
    print(f"{name}: DuckDB {first!r}, pyarrow {arrow!r}")
    polars = [pl.read_csv("lengths.csv", try_parse_dates=dates)["length"].dtype for dates in (False, True)]
    assert polars == [pl.String, pl.String if name == "long" else pl.Time]
wrong = datetime.time(3, 45)
assert told == {"short": (wrong, "3:45"), "with zeros": (wrong, wrong), "long": ("03:45", "03:45")}
interval = duckdb.connect().execute("select '62:10'::interval").fetchone()[0]
validated = pydantic.TypeAdapter(datetime.timedelta).validate_python("03:45")
print("as an interval:", interval, "as a timedelta:", validated)
assert interval == datetime.timedelta(hours=62, minutes=10) and validated == datetime.timedelta(hours=3, minutes=45)
PY
