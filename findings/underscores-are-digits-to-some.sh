#!/usr/bin/env bash
# Expected: `1_000` is an id with an underscore and no number, as in every CSV reader.
# Happens: Python's `int`, pydantic's int fields (in lax mode, also from JSON text) and DuckDB's cast read it as 1000;
# polars' and pandas' do not. DuckDB itself is of two minds: its CSV reader says text, its cast says 1000.
# Matters: composite ids (user_session, shop_item) of digits become other, existing ids at the one border that parses
# them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.0 polars==2.1.0 pydantic==2.14.3 pandas==3.0.6
cd "$work"
venv/bin/python - <<'PY'
import duckdb
import pandas as pd
import polars as pl
import pydantic

print("duckdb", duckdb.__version__, "polars", pl.__version__, "pydantic", pydantic.VERSION, "pandas", pd.__version__)


class Event(pydantic.BaseModel):
    item_id: int


with open("items.csv", "w") as file:
    file.write("item_id\n1_000\n")
told = {
    "int": int("1_000"),
    "pydantic": Event.model_validate_json('{"item_id": "1_000"}').item_id,
    "duckdb cast": duckdb.sql("select try_cast('1_000' as bigint)").fetchall()[0][0],
    "duckdb csv": duckdb.sql("from 'items.csv'").fetchall()[0][0],
    "polars cast": pl.Series(["1_000"]).cast(pl.Int64, strict=False)[0],
    "polars csv": pl.read_csv("items.csv")["item_id"][0],
    "pandas": pd.to_numeric(pd.Series(["1_000"]), errors="coerce").isna()[0] and "NaN",
}
print(told)
assert list(told.values()) == [1000, 1000, 1000, "1_000", None, "1_000", "NaN"]
PY
