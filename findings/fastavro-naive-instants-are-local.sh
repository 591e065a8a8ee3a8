#!/usr/bin/env bash
# Expected: an instant without a zone (`datetime(2026, 11, 2, 12)`) is written as it stands, or refused. Most Python
# code holds UTC so, and protobuf, pyarrow, polars and pandas take it for UTC.
# Happens: fastavro takes it for the time of the machine's own clock: `timestamp-millis` of noon is 17:00 UTC where TZ
# is New York, and comes back with a zone. `local-timestamp-millis` keeps noon. DuckDB does both: a parameter is noon,
# and cast to `timestamptz` it is 17:00. On a server in UTC nobody sees it.
# Matters: the same job writes other instants on a laptop than in the cluster, and features by the hour of the day
# move by the offset.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: fastavro==1.13.1 protobuf==7.36.2 polars==2.1.0 duckdb==2.0.0 pyarrow==26.0.1 pandas==3.0.6
cd "$work"
venv/bin/python - <<'PY'
import os
import time

os.environ["TZ"] = "America/New_York"
time.tzset()
import datetime
import importlib.metadata
import io

import duckdb
import fastavro
import pandas as pd
import polars as pl
import pyarrow as pa
from google.protobuf.timestamp_pb2 import Timestamp

print({name: importlib.metadata.version(name) for name in ("fastavro", "protobuf", "polars", "duckdb", "pyarrow", "pandas")})
noon = datetime.datetime(2026, 11, 2, 12)
utc_ms = 1793620800000


def avro(logical: str) -> int:
    field = {"name": "at", "type": {"type": "long", "logicalType": logical}}
    schema = {"type": "record", "name": "event", "fields": [field]}
    file = io.BytesIO()
    fastavro.writer(file, schema, [{"at": noon}])
    file.seek(0)
    at = next(iter(fastavro.reader(file)))["at"]
    return int(at.replace(tzinfo=at.tzinfo or datetime.UTC).timestamp() * 1000)


message = Timestamp()
message.FromDatetime(noon)
told = {
    "fastavro": avro("timestamp-millis"),
    "fastavro, local": avro("local-timestamp-millis"),
    "protobuf": message.ToMilliseconds(),
    "pyarrow": pa.scalar(noon, pa.timestamp("ms")).value,
    "polars": pl.Series([noon]).dt.epoch("ms")[0],
    "pandas": pd.Timestamp(noon).value // 10**6,
    "duckdb": duckdb.execute("select epoch_ms(?)", [noon]).fetchone()[0],
    "duckdb, timestamptz": duckdb.execute("select epoch_ms(?::timestamptz)", [noon]).fetchone()[0],
}
hours = {name: (ms - utc_ms) / 3_600_000 for name, ms in told.items()}
print("hours after noon in UTC:", hours)
assert {name for name, hour in hours.items() if hour == 5} == {"fastavro", "duckdb, timestamptz"}
assert {name for name, hour in hours.items() if hour} == {"fastavro", "duckdb, timestamptz"}
PY
