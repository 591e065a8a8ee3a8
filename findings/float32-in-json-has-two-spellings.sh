#!/usr/bin/env bash
# Expected: a float32 score of .1 is written to JSON in one way, and read back it is the score that was served.
# Happens: orjson (of numpy) and protobuf's JSON write the shortest text that is unique among float32, 0.1;
# `json.dumps(float(x))` the one that is unique among float64, 0.10000000149011612. Read as a double, the first is
# another number than the second, and than the float32.
# Matters: a replay that compares answers bit by bit, or a threshold at a served score, depends on which border wrote
# it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: orjson==3.13.0 numpy==2.4.6 protobuf==6.33.6
cd "$work"
venv/bin/python - <<'PY'
import json

import numpy as np
import orjson
from google.protobuf import __version__ as protobuf
from google.protobuf import json_format, wrappers_pb2

print("orjson", orjson.__version__, "numpy", np.__version__, "protobuf", protobuf)
score = np.float32(0.1)
told = {
    "json": json.dumps(float(score)),
    "orjson": orjson.dumps(score, option=orjson.OPT_SERIALIZE_NUMPY).decode(),
    "protobuf": json_format.MessageToJson(wrappers_pb2.FloatValue(value=score)),
}
print(told)
assert told == {"json": "0.10000000149011612", "orjson": "0.1", "protobuf": "0.1"}
assert json.loads(told["orjson"]) != float(score) and np.float32(json.loads(told["orjson"])) == score
PY
