#!/usr/bin/env bash
# Expected: the Open Bandit log has three rows a request, the left, centre and right place of one strip.
# Happens: in the small version (10,000 rows a policy and campaign) rows were drawn one by one: under 1 % share
# instant and user with another. There is no whole slate in it. And under the Thompson policy the mean of 1 /
# propensity is far from the number of items, which it equals in expectation: in one file a single row weighs a
# million and the mean is three times too high.
# Matters: slate metrics, position models within a request and inverse propensity without clipping are decided by what
# the sampling left.
set -euo pipefail
if [ -z "${RECSYS_OPEN_BANDIT:-}" ]; then
  echo "skipped: RECSYS_OPEN_BANDIT names no folder of the Open Bandit Dataset"
  exit 0
fi
export RECSYS_OPEN_BANDIT=$(realpath "$RECSYS_OPEN_BANDIT")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: duckdb==2.0.0
cd "$work"
venv/bin/python - <<'PY'
import os

import duckdb

print("duckdb", duckdb.__version__)
folder = os.environ["RECSYS_OPEN_BANDIT"]
ratios = []
for policy in ("random", "bts"):
    for campaign in ("men", "women"):
        rows = f"'{folder}/{policy}_{campaign}.parquet'"
        users = ", ".join(f"user_feature_{i}" for i in range(4))
        strips = f"select count(*) n from {rows} group by timestamp, {users}"
        whole, alone = duckdb.sql(f"select count(*) filter (n = 3), sum(n) filter (n = 1) from ({strips})").fetchall()[0]
        weights = "avg(1 / propensity_score), max(1 / propensity_score), count(distinct item_id), count(*)"
        mean, largest, items, n = duckdb.sql(f"select {weights} from {rows}").fetchall()[0]
        print(f"{policy} {campaign}: {n} rows, {alone} alone, {whole} whole strips; mean 1/p {mean:.1f} of {items} items,", end=" ")
        print(f"largest {largest:.0f}")
        assert whole == 0 and alone > 0.99 * n
        ratios.append(mean / items)
assert abs(ratios[0] - 1) < 1e-6 and abs(ratios[1] - 1) < 1e-6 and max(ratios) > 3
PY
