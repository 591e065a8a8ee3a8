#!/usr/bin/env bash
# Expected: one instant has one local hour in one environment; the libraries of this year know this year's rules.
# Happens: each carries a time zone database of its own. At noon UTC of 15 November 2026 it is 5 o'clock in Vancouver to
# Python's tzdata and DuckDB and 4 to polars, as in Edmonton and Winnipeg; Casablanca is an hour apart too, and in Havana
# tzdata stands alone. In July of that year all agree.
# Matters: the hour of day is a feature and cuts the days of a log: where SQL trains and a data frame serves, a country's
# users live in two hours, from one Sunday on.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.0 polars==2.1.0 tzdata==2026.6
cd "$work"
venv/bin/python - <<'PY'
import datetime
import importlib.metadata
import os
import zoneinfo

import duckdb
import polars as pl

os.environ["PYTHONTZPATH"] = ""
zoneinfo.reset_tzpath(())  # the package, not the system's files
print("duckdb", duckdb.__version__, "polars", pl.__version__, "tzdata", importlib.metadata.version("tzdata"))
connection = duckdb.connect()


def hours(zone, at):
    python = at.astimezone(zoneinfo.ZoneInfo(zone)).hour
    micros = int(at.timestamp() * 1e6)
    sql = connection.execute("select hour(timezone(?, make_timestamptz(?)))", [zone, micros]).fetchone()[0]
    frame = pl.Series([at]).dt.convert_time_zone(zone).dt.hour()[0]
    return python, sql, frame


summer = datetime.datetime(2026, 7, 15, 12, tzinfo=datetime.timezone.utc)
winter = datetime.datetime(2026, 11, 15, 12, tzinfo=datetime.timezone.utc)
for zone, told in (
    ("Europe/Berlin", (13, 13, 13)),
    ("America/Vancouver", (5, 5, 4)),
    ("America/Edmonton", (6, 6, 5)),
    ("America/Winnipeg", (7, 7, 6)),
    ("Africa/Casablanca", (12, 12, 13)),
    ("America/Havana", (8, 7, 7)),
):
    print(f"{zone:18} tzdata, DuckDB, polars: {hours(zone, winter)} in November, {hours(zone, summer)} in July")
    assert hours(zone, winter) == told
    assert len(set(hours(zone, summer))) == 1
PY
