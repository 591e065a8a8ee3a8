#!/usr/bin/env bash
# Expected: a list of all that a person played is perfect, however often each item was played; NDCG and MAP are 1.
# Happens: RePlay counts each row of the ground truth in the ideal list, but an item once in the list that it rates. Who
# played one item three times, and has it in the first place, gets NDCG@3 .469 and MAP@3 .333; MRR and recall stay 1.
# Matters: a log of plays is full of repeats. The more faithful the listener, the worse his list, so a model for those who
# come once wins; the figures change when the log is made of distinct pairs.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: replay-rec==0.22.0 pandas==2.3.3
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import pandas as pd
from replay.metrics import MAP, MRR, NDCG, Recall

print("replay-rec", version("replay-rec"))
listed = pd.DataFrame({"query_id": [1, 1, 1], "item_id": [10, 11, 12], "rating": [3.0, 2.0, 1.0]})
told = {}
for plays in (1, 2, 3):
    played = pd.DataFrame({"query_id": [1] * plays, "item_id": [10] * plays})
    told[plays] = {m.__name__: round(m(3)(listed, played)[f"{m.__name__}@3"], 3) for m in (NDCG, MAP, Recall, MRR)}
    print(f"{plays} plays of the first item: {told[plays]}")
assert set(told[1].values()) == {1.0}
assert told[2] == {"NDCG": 0.613, "MAP": 0.5, "Recall": 1.0, "MRR": 1.0}
assert told[3] == {"NDCG": 0.469, "MAP": 0.333, "Recall": 1.0, "MRR": 1.0}
PY
