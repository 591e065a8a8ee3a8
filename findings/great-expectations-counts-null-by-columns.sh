#!/usr/bin/env bash
# Expected: null means the same in all expectations on uniqueness and order: left out, or a value.
# Happens: one column: nulls are left out, two rows of null are unique. Two columns: nulls take part, the pairs (1,
# null) and (1, null) are a duplicate, and a pair with one null fails "A greater than B", where a null alone passes
# "between".
# Matters: a check moved from `event_id` to (`user_id`, `event_id`) begins to fail, or to pass, on rows that nobody
# changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: great-expectations==1.24.1 pandas==2.3.3
cd "$work"
venv/bin/python - <<'PY'
import os

os.environ["GX_ANALYTICS_ENABLED"] = "false"
import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd

print("great_expectations", gx.__version__, "pandas", pd.__version__)
context = gx.get_context(mode="ephemeral")
context.variables.progress_bars = {"globally": False}
asset = context.data_sources.add_pandas("memory").add_dataframe_asset("events")
whole = asset.add_batch_definition_whole_dataframe("all")


def passes(frame, expectation):
    result = whole.get_batch({"dataframe": pd.DataFrame(frame)}).validate(expectation)
    print(type(expectation).__name__, "passes" if result.success else "fails")
    return bool(result.success)


nan = float("nan")
assert passes({"a": [1, nan, nan]}, gxe.ExpectColumnValuesToBeUnique(column="a"))
assert not passes({"a": [1, 1], "b": [nan, nan]}, gxe.ExpectCompoundColumnsToBeUnique(column_list=["a", "b"]))
assert passes({"a": [1, nan]}, gxe.ExpectColumnValuesToBeBetween(column="a", min_value=1))
pairs = {"a": [1, nan], "b": [0, 3]}
assert not passes(pairs, gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="a", column_B="b"))
PY
