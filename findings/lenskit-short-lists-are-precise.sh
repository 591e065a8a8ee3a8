#!/usr/bin/env bash
# Expected: precision@10 is hits / 10 and recall@k is hits / liked items, as in trec_eval, so ten empty places of a
# list cost as much as ten misses.
# Happens: LensKit divides precision@10 by the length of the list: one hit and nothing else is 1.0, one hit and nine
# misses is .1, and an empty list is NaN. It divides recall@1 by 1, the most that can be found: one of ten liked items
# is 1.0. An item that stands twice is two hits.
# Matters: a source that answers with one sure item beats each full list, and cutting lists at a score raises the
# figure. Recall of small k cannot be set beside that of other libraries.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: lenskit==2025.8.1 pytrec_eval-terrier==0.5.11 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata

import numpy as np
import pytrec_eval
from lenskit.data import ItemList
from lenskit.metrics import Precision, Recall

print({name: importlib.metadata.version(name) for name in ("lenskit", "pytrec_eval-terrier")})
liked = [f"liked{n}" for n in range(10)]
lists = {
    "one hit": liked[:1],
    "one hit, nine misses": [*liked[:1], *(f"other{n}" for n in range(9))],
    "one hit twice": liked[:1] * 2,
    "empty": [],
}
ours, theirs = {}, {}
judge = pytrec_eval.RelevanceEvaluator({"u": dict.fromkeys(liked, 1)}, {"P.10", "recall.1"})
for name, items in lists.items():
    shown = ItemList(item_ids=np.array(items, dtype=object).astype(str) if items else [], ordered=True)
    ours[name] = [round(float(m.measure_list(shown, ItemList(item_ids=liked))), 2) for m in (Precision(10), Recall(1))]
    if items and len(set(items)) == len(items):
        measures = judge.evaluate({"u": {item: float(-place) for place, item in enumerate(items)}})["u"]
        theirs[name] = [round(measures["P_10"], 2), round(measures["recall_1"], 2)]
print("precision@10 and recall@1 by LensKit:", ours)
print("by trec_eval:", theirs)
assert ours["one hit"] == [1, 1] and ours["one hit, nine misses"] == [0.1, 1]
assert ours["one hit twice"][0] == 1 and np.isnan(ours["empty"][0])
twice = Precision(10).measure_list(ItemList(item_ids=[*liked[:1] * 2, *(f"other{n}" for n in range(8))], ordered=True), ItemList(item_ids=liked))
assert round(float(twice), 2) == 0.2
assert theirs == {"one hit": [0.1, 0.1], "one hit, nine misses": [0.1, 0.1]}
PY
