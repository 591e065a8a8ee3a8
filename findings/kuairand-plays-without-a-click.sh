#!/usr/bin/env bash
# Expected: in KuaiRand an item that was not clicked was not played, so play time is an outcome of the click.
# Happens: on the main tab (three quarters of the rows) playback starts by itself: over 99 % of the impressions have
# play time, and half of them no click. On tab 0 plays follow clicks: 8 % have either. Some long views and likes lie
# in rows without a click.
# Matters: "play" as an engagement or as a label is nearly constant on one tab and rare on the next; what is derived
# from plays (a long view, a skip) must not ask for a click.
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
rows = f"'{os.environ['RECSYS_KUAIRAND']}/log_standard_*_pure.csv'"
columns = "count(*), avg(is_click), avg((play_time_ms > 0)::int)"
told = {
    tab: figures
    for tab, *figures in duckdb.sql(f"select tab, {columns} from {rows} where tab in (0, 1) group by tab").fetchall()
}
for tab, (n, clicked, played) in sorted(told.items()):
    print(f"tab {tab}: {n} impressions, {clicked:.1%} clicked, {played:.1%} played")
assert told[1][2] > 0.99 and told[1][1] < 0.6 and told[0][2] < 0.1
share = f"select sum(play_time_ms * (1 - is_click)) / sum(play_time_ms) from {rows}"
unclicked = duckdb.sql(share).fetchall()[0][0]
strange = duckdb.sql(f"select sum(long_view), sum(is_like) from {rows} where is_click = 0").fetchall()[0]
print(f"watch time in rows without a click: {unclicked:.1%}; long views and likes there: {strange}")
assert strange[0] > 0 and strange[1] > 0
PY
