#!/usr/bin/env bash
# Expected: a user without a value takes no part in a mean, nor in its standard error.
# Happens: tea-tasting leaves such users out of the mean and counts them as users. Where three of four have no value, the
# interval of the same difference is half as long as that of the users who have one, and a p-value of .43 becomes .11.
# Matters: a metric or a covariate with holes looks surer than a whole one, and nothing is said.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: tea-tasting==1.14.0 pandas==3.0.6
cd "$work"
venv/bin/python -W ignore - <<'PY'
import numpy as np
import pandas as pd
import tea_tasting as tt

rng = np.random.default_rng(0)
users = pd.DataFrame({"variant": np.arange(2000) % 2, "minutes": rng.normal(1, 1, 2000)})
users.loc[rng.random(2000) < 0.75, "minutes"] = np.nan
length = {}
print("tea-tasting", tt.__version__)
for name, table in (("with nulls", users), ("dropped", users.dropna())):
    told = tt.Experiment(minutes=tt.Mean("minutes", use_t=False)).analyze(table, control=0)["minutes"]
    length[name] = told.effect_size_ci_upper - told.effect_size_ci_lower
    print(f"{name}: difference {told.effect_size:.4f}, interval {length[name]:.4f} long, p {told.pvalue:.2f}")
assert length["with nulls"] < 0.55 * length["dropped"]
PY
