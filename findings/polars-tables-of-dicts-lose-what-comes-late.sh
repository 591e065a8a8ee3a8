#!/usr/bin/env bash
# Expected: a table made of dicts has every key and every value, or an error where a value does not fit the type of
# the first ones. `pl.Series` and `read_ndjson` raise for 299.7 in a column of integers.
# Happens: polars looks at 100 rows. A key that appears behind them is left out, and a fraction behind them is cut
# off: 299.7 is 299, in `pl.DataFrame(dicts)`, `from_dicts` and rows of tuples, with `strict` as it comes (true). Text
# there raises. pyarrow's `from_pylist` keeps the fraction, and leaves out what the first row lacks. pandas keeps
# both.
# Matters: events taken from a queue are a list of dicts. Searches are rare, so `query` is no column; watch times are
# whole in the first minute and cut ever after.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: polars==2.1.0 pyarrow==26.0.1 pandas==3.0.6
cd "$work"
venv/bin/python - <<'PY'
import pandas as pd
import polars as pl
import pyarrow as pa

print("polars", pl.__version__, "pyarrow", pa.__version__, "pandas", pd.__version__)
events = [{"user": n, "watched": n if n < 100 else n + 0.7} | ({"query": "jazz"} if n >= 100 else {}) for n in range(300)]
for name, frame in (
    ("DataFrame", pl.DataFrame(events)),
    ("from_dicts", pl.from_dicts(events)),
    ("strict", pl.DataFrame(events, strict=True)),
):
    print("polars", name, dict(frame.schema), frame.row(299))
    assert frame.columns == ["user", "watched"] and frame.row(299) == (299, 299)
rows = pl.DataFrame([(e["user"], e["watched"]) for e in events], schema=["user", "watched"], orient="row")
print("polars, of tuples:", rows.row(299))
assert rows.row(299) == (299, 299)
whole = pl.from_dicts(events, infer_schema_length=None)
print("polars, infer_schema_length=None:", whole.row(299))
assert whole.row(299) == (299, 299.7, "jazz")
refused = []
for make in (lambda: pl.Series([1, 2, 2.7]), lambda: pl.from_dicts([{"user": n if n < 100 else "u7"} for n in range(300)])):
    try:
        make()
    except (TypeError, pl.exceptions.ComputeError) as error:
        refused.append(type(error).__name__)
print("polars raises for a fraction in a Series, and for late text in dicts:", refused)
assert refused == ["TypeError", "ComputeError"]
arrow = pa.Table.from_pylist(events)
print("pyarrow", arrow.schema.names, arrow.slice(299).to_pylist())
assert arrow.slice(299).to_pylist() == [{"user": 299, "watched": 299.7}]
assert pd.DataFrame(events).iloc[299].to_dict() == {"user": 299, "watched": 299.7, "query": "jazz"}
PY
