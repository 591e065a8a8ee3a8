#!/usr/bin/env bash
# Expected: hash and xxhash64 of several columns tell (null, 'a') from ('a', null), as DuckDB's hash does.
# Happens: Spark leaves null out: xxhash64(null, 'a'), xxhash64('a', null) and xxhash64('a') are one number, and so are
# those of the arrays [1, null] and [null, 1]. null alone is the seed, 42.
# Matters: keys made of several columns (user or device, shelf or none, parent or none) collide by rule and not by chance:
# rows are taken for duplicates, and an experiment deals signed-in users and devices of one name to the same arm.
# Needs Java 17 on the PATH.
set -euo pipefail
command -v java >/dev/null || { echo "skipped: no java on the PATH"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: --no-binary pyspark pyspark==4.3.0
cd "$work"
venv/bin/python - <<'PY'
import os

os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
import pyspark
from pyspark.sql import SparkSession

print("pyspark", pyspark.__version__)
settings = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false")
spark = settings.getOrCreate()
try:
    for name in ("hash", "xxhash64"):
        words = ("null, 'a'", "'a', null", "'a'", "array(1, null)", "array(null, 1)", "null", "'a', 'b'", "'b', 'a'")
        keys = spark.sql("select " + ", ".join(f"{name}({word})" for word in words)).collect()[0]
        print(name, dict(zip(words, keys, strict=True)))
        assert keys[0] == keys[1] == keys[2] and keys[3] == keys[4] and keys[5] == 42
        assert keys[6] != keys[7]
finally:
    spark.stop()
PY
