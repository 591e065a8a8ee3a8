#!/usr/bin/env bash
# Expected: a query that sqlglot translates from Spark to DuckDB answers the same, or sqlglot says that it cannot.
# Happens: of functions that both have it takes the name and leaves the meaning, even with `unsupported_level=RAISE`. Sunday is day
# 1 in Spark and 0 in DuckDB, `cast(1.7 as int)` is 1 and 2, the median (`percentile`) of 1 and 2 is 1.5 and 1, and
# kurtosis is of the population and of the sample. Other differences (order of null, places from 0) it does see.
# Matters: features by weekday and counts of whole minutes, tested on DuckDB and run on Spark, are other features.
# Needs Java 17 on the PATH.
set -euo pipefail
command -v java >/dev/null || { echo "skipped: no java on the PATH"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: --no-binary pyspark pyspark==4.3.0 sqlglot==30.31.0 duckdb==2.0.1
cd "$work"
venv/bin/python - <<'PY'
import os

os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
import duckdb
import pyspark
import sqlglot
from pyspark.sql import SparkSession

print("sqlglot", sqlglot.__version__, "pyspark", pyspark.__version__, "duckdb", duckdb.__version__)
ANSWERS = {  # in Spark, in DuckDB
    "dayofweek(date '2026-12-06')": (1, 0),
    "cast(1.7 as int)": (1, 2),
    "(select percentile(x, 0.5) from values (1), (2) t(x))": (1.5, 1),
    "(select round(kurtosis(x), 3) from values (1), (2), (5), (9) t(x))": (-1.278, -0.582),
    "(select max(x) from (select x from values (2), (null), (1) t(x) order by x limit 2))": (1, 1),
    "substring('abc', 0, 2)": ("ab", "ab"),
}
settings = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false")
spark = settings.getOrCreate()
try:
    for asked, known in ANSWERS.items():
        query = f"select {asked} as answer"
        (translated,) = sqlglot.transpile(query, read="spark", write="duckdb", unsupported_level=sqlglot.ErrorLevel.RAISE)
        answers = spark.sql(query).collect()[0][0], duckdb.sql(translated).fetchall()[0][0]
        print(f"{asked}: {answers[0]} in Spark, {answers[1]} in DuckDB as {translated}")
        assert answers == known
finally:
    spark.stop()
PY
