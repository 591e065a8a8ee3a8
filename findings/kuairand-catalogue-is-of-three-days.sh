#!/usr/bin/env bash
# Expected: a log of eleven days has items that are new on each of them, and `upload_dt` tells fresh from old.
# Happens: in KuaiRand-Pure every video was uploaded on the 9th, 10th or 11th of April 2022, two weeks before the
# first row of the standard log of 25 April. No item is new, and the age of an item is the calendar day and little
# else.
# Matters: freshness features, cold-start evaluation and "trending" cannot be learned or judged there; an age feature
# is the date in disguise and drifts by a day a day.
set -euo pipefail
if [ -z "${RECSYS_KUAIRAND:-}" ]; then
  echo "skipped: RECSYS_KUAIRAND names no folder of KuaiRand-Pure"
  exit 0
fi
export RECSYS_KUAIRAND=$(realpath "$RECSYS_KUAIRAND")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.0
cd "$work"
venv/bin/python - <<'PY'
import os

import duckdb

print("duckdb", duckdb.__version__)
folder = os.environ["RECSYS_KUAIRAND"]
days = duckdb.sql(f"select upload_dt::varchar, count(*) from '{folder}/video_features_basic_pure.csv' group by 1 order by 1")
first, last = duckdb.sql(f"select min(date), max(date) from '{folder}/log_standard_4_25*_pure.csv'").fetchall()[0]
print("uploads:", days.fetchall(), "log:", first, "to", last)
assert [day for day, _ in days.fetchall()] == ["2022-04-09", "2022-04-10", "2022-04-11"] and first >= 20220425
PY
