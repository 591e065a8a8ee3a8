#!/usr/bin/env bash
# Expected: `pl.col("item").shuffle(seed=7).over("user")` and `sample(n, seed=7)` in a `group_by` draw for each user
# anew, from one reproducible stream, as pandas' `groupby.sample(random_state=7)` does.
# Happens: the seed begins anew in each group. All users with equally many rows get the same permutation and the same
# sample by place. Without a seed they differ.
# Matters: negatives, held-out items or arms drawn for each user are one draw for all of them. A hold-out of the 2nd
# and 5th item of every history is no random one, and its interval as if users were drawn independently is too narrow.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: polars==2.1.0 pandas==3.0.6 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import pandas as pd
import polars as pl

print("polars", pl.__version__, "pandas", pd.__version__)
users, rows = 1000, 10
log = pl.DataFrame({"user": [u for u in range(users) for _ in range(rows)], "place": list(range(rows)) * users})


def different(of_user: pl.Series) -> int:
    return len({tuple(places) for places in of_user.to_list()})


def draws(seed: int | None) -> dict[str, int]:
    shuffled = log.with_columns(pl.col("place").shuffle(seed=seed).over("user"))
    return {
        "shuffle over": different(shuffled.group_by("user", maintain_order=True).all()["place"]),
        "sample in group_by": different(log.group_by("user").agg(pl.col("place").sample(3, seed=seed))["place"]),
    }


seeded, free = draws(7), draws(None)
print("different draws of 1,000 users with a seed:", seeded, "without:", free)
assert set(seeded.values()) == {1} and min(free.values()) > 300
frame = pd.DataFrame(log.to_dict(as_series=False))
drawn = frame.groupby("user").sample(3, random_state=7).groupby("user")["place"].apply(tuple)
print("pandas with a seed:", drawn.nunique())
assert drawn.nunique() > 300
held = log.filter(pl.int_range(pl.len()).shuffle(seed=7).over("user") < 1)["place"].unique().to_list()
print("one item of each user held out: it is the one at place", held)
assert len(held) == 1
PY
