#!/usr/bin/env bash
# Expected: `where isnan(score)` finds the NaN of a Parquet file, and `max(score)` of a file equals that of a table.
# Happens: a writer that leaves NaN out of the row group's min and max (as pyarrow does) makes DuckDB skip the group
# for isnan and for any bound above the largest number. The same query on the same rows in memory finds them, and so
# does reading a file that DuckDB wrote.
# Matters: "no NaN scores" is a check that passes on the very file that has them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.0 pyarrow==26.0.1
cd "$work"
venv/bin/python - <<'PY'
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

print("duckdb", duckdb.__version__, "pyarrow", pa.__version__)
scores = pa.table({"score": [1.0, 2.0, float("nan")]})
pq.write_table(scores, "scores.parquet")
print("statistics: max", pq.ParquetFile("scores.parquet").metadata.row_group(0).column(0).statistics.max)


def ask(sql):
    found = [duckdb.sql(sql.format(source)).fetchall() for source in ("scores", "'scores.parquet'")]
    print(f"{sql.format('...'):45} memory {found[0]}  file {found[1]}")
    return found


in_memory, in_file = ask("select count(*) from {} where isnan(score)")
assert in_memory == [(1,)] and in_file == [(0,)]
in_memory, in_file = ask("select count(*) from {} where score > 5")
assert in_memory == [(1,)] and in_file == [(0,)]
in_memory, in_file = ask("select max(score)::varchar from {}")
assert in_memory == [("nan",)] and in_file == [("2.0",)]
# The rows are there: a filter that the statistics cannot answer finds them.
assert duckdb.sql("select count(*) from 'scores.parquet' where score::varchar = 'nan'").fetchall() == [(1,)]
duckdb.sql("copy scores to 'own.parquet'")
assert duckdb.sql("select count(*) from 'own.parquet' where isnan(score)").fetchall() == [(1,)]
PY
