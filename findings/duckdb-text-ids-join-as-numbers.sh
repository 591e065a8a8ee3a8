#!/usr/bin/env bash
# Expected: joining text ids with integer ids compares texts, or is refused.
# Happens: DuckDB casts the text to the integer: '007', '7', ' 7 ' and even '1_0' (as 10) and '6.6' (as 7) find their
# integer. One text that is no number then makes the same query raise.
# Matters: two items become one, until the first id with a letter stops the pipeline.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.0
cd "$work"
venv/bin/python - <<'PY'
import duckdb

print("duckdb", duckdb.__version__)
duckdb.sql("create table said as select unnest(['007', '7', ' 7 ', '6.6', '1_0']) as id")
duckdb.sql("create table items as select unnest([7::bigint, 10]) as id")
found = duckdb.sql("select said.id, items.id from said join items on said.id = items.id order by all").fetchall()
print(found)
assert found == [(" 7 ", 7), ("007", 7), ("1_0", 10), ("6.6", 7), ("7", 7)]
duckdb.sql("insert into said values ('a7')")
try:
    duckdb.sql("select count(*) from said join items on said.id = items.id").fetchall()
except duckdb.ConversionException as error:
    print("with 'a7':", str(error).splitlines()[0])
else:
    raise AssertionError("a7 was joined")
PY
