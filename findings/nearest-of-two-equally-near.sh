#!/usr/bin/env bash
# Expected: of two rows equally near, an as-of join by `nearest` takes the same one everywhere.
# Happens: pandas takes the row before and polars the row after. In polars this is so with a tolerance, with groups and for
# integers as well.
# Matters: with instants of whole seconds or days every second row in the middle is such a tie: one and the same join of two
# tools has other features, and those of polars come from the future.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: polars==2.1.0 pandas==3.1.1 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import datetime

import pandas as pd
import polars as pl

print("polars", pl.__version__, "pandas", pd.__version__)
start = datetime.datetime(2026, 11, 2)
for kind, instant in {"instants": lambda s: start + datetime.timedelta(seconds=s), "integers": int}.items():
    asked = pl.DataFrame({"user": ["a"] * 9, "at": [instant(second) for second in range(1, 10)]})
    known = pl.DataFrame({"user": ["a"] * 6, "at": [instant(second) for second in range(0, 11, 2)], "known": range(0, 11, 2)})
    known, asked = known.set_sorted("at"), asked.set_sorted("at")
    span = datetime.timedelta(seconds=5) if kind == "instants" else 5
    plain = asked.join_asof(known, on="at", strategy="nearest")["known"].to_list()
    grouped = asked.join_asof(known, on="at", by="user", strategy="nearest", check_sortedness=False)["known"].to_list()
    near = asked.join_asof(known, on="at", strategy="nearest", tolerance=span)["known"].to_list()
    by_pandas = pd.merge_asof(asked.to_pandas(), known.to_pandas(), on="at", direction="nearest")["known"].tolist()
    print(f"{kind}: asked {list(range(1, 10))}, polars {plain}, pandas {by_pandas}")
    assert plain == grouped == near == [2, 2, 4, 4, 6, 6, 8, 8, 10]
    assert by_pandas == [0, 2, 2, 4, 4, 6, 6, 8, 8]
PY
