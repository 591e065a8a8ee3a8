#!/usr/bin/env bash
# Expected: a run is a mapping of items to scores; two equal dictionaries have equal figures.
# Happens: of equal scores ranx ranks first what was inserted first: the same dictionary, written in another order, has a
# reciprocal rank of 1 or of .5. trec_eval and ir_measures order ties by document id and give one answer for both.
# Matters: a list from a source that scores in steps (counts, stars) is judged by the order in which it was built, and the
# wanted item is often written first.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: ranx==0.3.21 pytrec_eval-terrier==0.5.11
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import pytrec_eval
import ranx

print("ranx", version("ranx"), "pytrec_eval-terrier", version("pytrec_eval-terrier"))
wanted = {"user": {"b": 1}}
runs = {"user": {"b": 1.0, "a": 1.0}}, {"user": {"a": 1.0, "b": 1.0}}
assert runs[0] == runs[1]
judge = pytrec_eval.RelevanceEvaluator(wanted, {"recip_rank"})
for run in runs:
    told = float(ranx.evaluate(ranx.Qrels(wanted), ranx.Run(run), "mrr"))
    print(run, "ranx", told, "trec_eval", judge.evaluate(run)["user"]["recip_rank"])
    assert told == (1.0 if next(iter(run["user"])) == "b" else 0.5)
assert len({judge.evaluate(run)["user"]["recip_rank"] for run in runs}) == 1
PY
