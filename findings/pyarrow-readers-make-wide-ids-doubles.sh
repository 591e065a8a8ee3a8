#!/usr/bin/env bash
# Expected: a column of integers over 2^63 - 1 is uint64, or text, or an error.
# Happens: pyarrow's CSV and JSON readers infer double: distinct 64-bit ids become one. pandas infers uint64, polars a
# 128-bit integer.
# Matters: unsigned 64-bit hashes are common ids, half of them are over 2^63, and one is enough to change the column.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: pyarrow==26.0.1 polars==2.1.0 pandas==3.0.6
cd "$work"
venv/bin/python - <<'PY'
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.json

print("pyarrow", pa.__version__, "polars", pl.__version__, "pandas", pd.__version__)
ids = [18446744073709551614, 18446744073709551615, 9007199254740993]
with open("ids.csv", "w") as file:
    file.write("id\n" + "".join(f"{i}\n" for i in ids))
with open("ids.json", "w") as file:
    file.write("".join(f'{{"id": {i}}}\n' for i in ids))
for name, column in (
    ("pyarrow csv", pyarrow.csv.read_csv("ids.csv")["id"]),
    ("pyarrow json", pyarrow.json.read_json("ids.json")["id"]),
):
    print(name, column.type, [int(x) for x in column.to_pylist()])
    assert column.type == pa.float64() and len(set(column.to_pylist())) == 2
print("pandas", pd.read_csv("ids.csv")["id"].dtype, "polars", pl.read_csv("ids.csv")["id"].dtype)
assert pd.read_csv("ids.csv")["id"].tolist() == ids and pl.read_csv("ids.csv")["id"].to_list() == ids
PY
