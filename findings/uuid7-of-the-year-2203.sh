#!/usr/bin/env bash
# Expected: the package `uuid7` makes the version 7 ids of RFC 9562, which begin with the milliseconds since 1970.
# Happens: it makes those of an early draft, which begin with seconds and a fraction, and marks them as version 7. Read as
# the RFC says, those of today lie in the year 2203. DuckDB and the package `uuid6` say so without a word.
# Matters: event ids of two services do not sort together, and an instant taken from an id is 176 years off.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: uuid7==0.1.0 uuid6==2025.0.1 duckdb==2.0.1
cd "$work"
venv/bin/python - <<'PY'
import datetime
import importlib.metadata

import duckdb
import uuid6
import uuid_extensions

print("uuid7", importlib.metadata.version("uuid7"), "uuid6", importlib.metadata.version("uuid6"), "duckdb", duckdb.__version__)
drafted, ruled = uuid_extensions.uuid7(), uuid6.uuid7()
assert drafted.version == ruled.version == 7 and drafted.variant == ruled.variant
now = datetime.datetime.now(datetime.timezone.utc)
years = {}
for name, made in {"uuid7": drafted, "uuid6": ruled}.items():
    read = duckdb.execute("select uuid_extract_timestamp(?::uuid)::timestamp", [str(made)]).fetchone()[0]
    by_uuid6 = datetime.datetime.fromtimestamp(uuid6.UUID(str(made)).time / 1000, datetime.timezone.utc)
    years[name] = read.year - now.year, by_uuid6.year - now.year
    print(f"made by {name}: {made}, at {read} by DuckDB, {by_uuid6:%Y} by uuid6")
assert years["uuid6"] == (0, 0) and min(years["uuid7"]) > 150
later = [str(uuid6.uuid7()) for _ in range(100)]
assert max(later) < str(drafted), "made later, and sorted before"
PY
