#!/usr/bin/env bash
# Expected: whether a filter finds a row depends on that row, and `table.delete(filter)` takes the rows that a scan finds.
# Happens: in pyiceberg NaN goes by what else lies in its file, for the file's bounds leave it out. Where all other numbers
# are over 1, `score > 1` deletes the NaN too, which the scan did not find. `score != 1` finds NaN beside a 2 and not
# beside 1s alone, and its deletion leaves it there in both cases. `score not in (1, 2)` finds null and NaN, and finds
# them again after they were deleted. deltalake deletes NaN by `score != 1` beside a 2 and keeps it beside 1s alone.
# Matters: which rows a clean-up takes depends on what was written in the same batch. Nothing is raised: rows without a
# score are lost, or a person's rows stay.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: pyiceberg==0.12.0 sqlalchemy==2.1.9 deltalake==1.6.6 pyarrow==26.0.1
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog.sql import SqlCatalog

print(*(f"{name} {version(name)}" for name in ("pyiceberg", "deltalake")))
here = Path.cwd()
catalog = SqlCatalog("local", uri=f"sqlite:///{here}/catalog.db", warehouse=f"file://{here}/warehouse")
catalog.create_namespace("shop")
SCORES = {"one": 1.0, "two": 2.0, "null": None, "nan": float("nan")}


def told(number, row_filter, names):
    rows = pa.table({"name": names, "score": pa.array([SCORES[name] for name in names], pa.float64())})
    iceberg = catalog.create_table(f"shop.scores{number}", schema=rows.schema)
    iceberg.append(rows)
    write_deltalake(f"delta{number}", rows)
    delta = DeltaTable(f"delta{number}")
    found = iceberg.scan(row_filter).to_arrow()["name"].to_pylist()
    iceberg.delete(row_filter)
    delta.delete(row_filter)
    left = iceberg.scan().to_arrow()["name"].to_pylist()
    kept = delta.to_pyarrow_table()["name"].to_pylist()
    print(f"{names}, {row_filter}: scan finds {found}, deletion leaves {left}, of deltalake {kept}")
    return found, left, kept


assert told(1, "score > 1", ["nan", "two"]) == (["two"], [], [])
assert told(2, "score > 1", ["nan", "two", "one"]) == (["two"], ["nan", "one"], ["one"])
assert told(3, "score != 1", ["nan", "one"]) == ([], ["nan", "one"], ["nan", "one"])
assert told(4, "score != 1", ["nan", "one", "two"]) == (["nan", "two"], ["nan", "one"], ["one"])
assert told(5, "score not in (1, 2)", ["nan", "null", "one"]) == (["nan", "null"], ["nan", "null", "one"], ["nan", "null", "one"])
PY
