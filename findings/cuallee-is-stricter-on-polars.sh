#!/usr/bin/env bash
# Expected: one check of cuallee says one thing of one table, in pandas or in polars.
# Happens: `is_unique` counts the different values in pandas and those that stand once in polars: of 1, 1, 2, 2, 3, 3, 4, 5,
# 6, 7 a share of .7 and of .4. `not_contained_in` lets null pass in pandas and not in polars; `has_cardinality` counts
# null as a value in polars alone.
# Matters: a gate of .6 that stood for years fails, or one that should fail passes, when the pipeline moves to polars.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: cuallee==0.15.4 pandas==3.1.1 polars==2.1.0 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import pandas as pd
import polars as pl
from cuallee import Check, CheckLevel

print("cuallee", version("cuallee"), "pandas", pd.__version__, "polars", pl.__version__)


def verdicts(table):
    check = Check(CheckLevel.WARNING, "gate")
    check.is_unique("id", pct=0.6).not_contained_in("kind", ("c",), pct=0.8).has_cardinality("kind", 3)
    told = check.validate(table)
    told = told.to_dicts() if isinstance(told, pl.DataFrame) else told.to_dict("records")
    return {row["rule"]: (round(row["pass_rate"], 3), row["status"]) for row in told}


data = {"id": [1, 1, 2, 2, 3, 3, 4, 5, 6, 7], "kind": ["a", "b", "a", "b", "a", "b", "c", "b", None, None]}
by_pandas, by_polars = verdicts(pd.DataFrame(data)), verdicts(pl.DataFrame(data))
print("pandas", by_pandas)
print("polars", by_polars)
assert by_pandas == {"is_unique": (0.7, "PASS"), "not_contained_in": (0.9, "PASS"), "has_cardinality": (1.0, "PASS")}
assert by_polars == {"is_unique": (0.4, "FAIL"), "not_contained_in": (0.7, "FAIL"), "has_cardinality": (0.0, "FAIL")}
PY
