#!/usr/bin/env bash
# Expected: an integer written to a union of numbers takes the branch of integers: ["null", "double", "long"] keeps every
# digit of an id.
# Happens: fastavro takes the first branch that an integer may be converted to: a double that stands before the long
# takes it, a float before the long rounds above 2^24. In the other order it is kept. A float never takes the long.
# Matters: schemas of events grow by adding a branch ("value may be a number"); 9007199254740993 arrives as another
# user's id, and the reader sees a number of another type.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: fastavro==1.13.1
cd "$work"
venv/bin/python - <<'PY'
import io

import fastavro

print("fastavro", fastavro.__version__)


def through(union, value):
    schema = fastavro.parse_schema({"type": "record", "name": "event", "fields": [{"name": "id", "type": union}]})
    wire = io.BytesIO()
    fastavro.schemaless_writer(wire, schema, {"id": value})
    wire.seek(0)
    return fastavro.schemaless_reader(wire, schema, None)["id"]


for union, value, read in (
    (["null", "long", "double"], 2**53 + 1, 2**53 + 1),
    (["null", "double", "long"], 2**53 + 1, float(2**53)),
    (["null", "float", "long"], 2**24 + 1, float(2**24)),
    (["null", "int", "long"], 2**40, 2**40),
    (["null", "long", "double"], 0.5, 0.5),
):
    told = through(union, value)
    print(f"{union}: {value} -> {told!r}")
    assert told == read and type(told) is type(read)
assert through(["null", "double", "long"], 2**53 + 1) != 2**53 + 1
PY
