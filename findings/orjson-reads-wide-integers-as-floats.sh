#!/usr/bin/env bash
# Expected: a JSON parser for Python gives Python's integers, which have no width; json and msgspec do.
# Happens: orjson gives a float from 2^64 on: 18446744073709551617 comes back as 1.8446744073709552e+19, equal to its
# neighbours, with no error. The other way it refuses: dumping such an integer raises.
# Matters: 128-bit ids written as numbers (UUIDs, snowflake ids with a prefix) become one id for whole blocks of
# users.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: orjson==3.13.0 msgspec==0.22.0
cd "$work"
venv/bin/python - <<'PY'
import json

import msgspec
import orjson

print("orjson", orjson.__version__, "msgspec", msgspec.__version__)
ids = [2**64 + 1, 2**64 + 2, 123456789012345678901]
said = json.dumps(ids)
for name, read in (("json", json.loads), ("msgspec", msgspec.json.decode), ("orjson", orjson.loads)):
    print(f"{name:8}", read(said))
assert json.loads(said) == msgspec.json.decode(said.encode()) == ids
assert all(type(value) is float for value in orjson.loads(said))
assert orjson.loads(said)[0] == orjson.loads(said)[1]
assert orjson.loads(str(2**64 - 1)) == 2**64 - 1
try:
    orjson.dumps(2**64)
except TypeError as error:
    print("orjson.dumps:", error)
else:
    raise AssertionError("orjson wrote it")
PY
