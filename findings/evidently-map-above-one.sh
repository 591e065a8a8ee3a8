#!/usr/bin/env bash
# Expected: MAP@k lies from 0 to 1, and NDCG@k stands under the label k.
# Happens: of two users whose orders are perfect, one of whom has a single row, Evidently's MAP@2 is 1.5 and MAP@3 is 2:
# the places that a short list lacks add to its sum. NDCG@1 stands under the label 2, NDCG@2 under 3; MAP begins with 1.
# Matters: figures beside those of another library are several times as large, and NDCG is read one place off.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: evidently==0.7.23 pandas==2.3.3
cd "$work"
export DO_NOT_TRACK=1
venv/bin/python -W ignore - <<'PY'
import evidently
import pandas as pd
from evidently import DataDefinition, Dataset, Recsys, Report
from evidently.metrics import MAP, NDCG

rows = pd.DataFrame({"user": [1, 2, 2, 2], "item": list("abcd"), "place": [1, 1, 2, 3], "liked": [1, 1, 0, 0]})
ranking = Recsys(user_id="user", item_id="item", target="liked", prediction="place", recommendations_type="rank")
data = Dataset.from_pandas(rows, DataDefinition(ranking=[ranking]))
found = Report([MAP(k=3), NDCG(k=3)]).run(data, None).dict()["metrics"]
told = {metric["metric_name"].split("(")[0]: metric["value"] for metric in found}
print("evidently", evidently.__version__)
for name, value in told.items():
    print(name, "labels", list(value["rank"].values())[:3], "values", [round(v, 4) for v in list(value["value"].values())[:3]])
assert [round(told["MAP"]["value"][i], 6) for i in range(3)] == [1, 1.5, 2]
assert told["MAP"]["rank"][0] == 1 and told["NDCG"]["rank"][0] == 2
PY
