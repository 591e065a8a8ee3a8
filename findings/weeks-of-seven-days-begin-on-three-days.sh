#!/usr/bin/env bash
# Expected: buckets of seven days begin on the same days everywhere, on Mondays or with the data.
# Happens: polars' `7d` begins on Thursdays, as 1970 did, though its `1w` begins on Mondays. pandas' `7D` begins with the first
# row, so a row more at the front moves all buckets. DuckDB's `time_bucket` of 7 days begins on Mondays.
# Matters: weekly figures of one log, computed in two tools, differ by up to half of a week, and those of pandas move with
# the log's first day.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.1 polars==2.1.0 pandas==3.1.1 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import datetime

import duckdb
import pandas as pd
import polars as pl

print("duckdb", duckdb.__version__, "polars", pl.__version__, "pandas", pd.__version__)


def begins(first):
    """The first day of each bucket of the days from `first` (of November 2026) to the 21st."""
    days = pl.DataFrame({"day": [datetime.datetime(2026, 11, day) for day in range(first, 22)]})
    frame = days.to_pandas()
    by_duckdb = duckdb.sql("select distinct time_bucket(interval 7 days, day) from days order by 1").fetchall()
    return {
        "polars 7d": days.group_by_dynamic("day", every="7d").agg(pl.len())["day"].to_list(),
        "polars 1w": days.group_by_dynamic("day", every="1w").agg(pl.len())["day"].to_list(),
        "pandas 7D": list(frame.set_index("day").resample("7D").size().index),
        "duckdb": [row[0] for row in by_duckdb],
    }


told = {}
for first in (1, 4):
    for tool, starts in begins(first).items():
        weekdays = {f"{start:%A}" for start in starts}
        print(f"from November {first}: {tool:9} begins on {', '.join(weekdays)}: {[f'{start:%m-%d}' for start in starts]}")
        (told[tool, first],) = weekdays
assert [told[tool, 1] for tool in ("polars 7d", "polars 1w", "pandas 7D", "duckdb")] == ["Thursday", "Monday", "Sunday", "Monday"]
assert told["pandas 7D", 4] == "Wednesday" and told["polars 7d", 4] == "Thursday"
PY
