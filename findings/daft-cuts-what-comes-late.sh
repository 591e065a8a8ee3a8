#!/usr/bin/env bash
# Expected: a line of JSON that fits no column which the reader chose from the lines before it is an error, or the column
# is widened.
# Happens: Daft looks at the first MiB or so. Behind it a fraction in a column of integers is cut (2.5 is 2), a text there is
# null and a key not seen before is dropped. In a shorter file the same lines make the column a number or a text. pyarrow
# widens it, or names the line that does not fit.
# Matters: nobody is told, and a log loses these on the day that it grows; the small file of a test is read well.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: daft==0.7.26 pyarrow==25.0.1
cd "$work"
export DAFT_ANALYTICS_ENABLED=0 DAFT_PROGRESS_BAR=0
venv/bin/python - <<'PY'
from pathlib import Path

import daft
import pyarrow
import pyarrow.json

print("daft", daft.__version__, "pyarrow", pyarrow.__version__)
told = {}
for plays in (1_000, 200_000):
    for late in ('{"minutes":2.5,"liked":true}', '{"minutes":"long"}'):
        file = Path("plays.json")
        file.write_text('{"minutes":1}\n' * plays + late + "\n")
        told[plays, late] = {name: values[-1] for name, values in daft.read_json(str(file)).to_pydict().items()}
        try:
            strict = {name: values[-1] for name, values in pyarrow.json.read_json(file).to_pydict().items()}
        except pyarrow.ArrowInvalid as error:
            strict = str(error)
        print(f"{late} behind {plays} plays ({file.stat().st_size >> 10} KiB): Daft {told[plays, late]}, pyarrow {strict}")
assert list(told.values()) == [{"minutes": 2.5, "liked": True}, {"minutes": "long"}, {"minutes": 2}, {"minutes": None}]
PY
