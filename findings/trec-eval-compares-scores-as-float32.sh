#!/usr/bin/env bash
# Expected: the order of a run is the order of its scores, which are doubles in Python and in the run file.
# Happens: trec_eval keeps scores as float32 and orders ties by falling document id, as text: scores that differ by
# 1e-8 are a tie, and then "9" is before "10" whatever the scores say. The reciprocal rank changes from 1 to .5.
# Matters: calibrated probabilities and fused scores lie that near to each other; the judged order is another than the
# served one, and depends on how items are named.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: pytrec_eval-terrier==0.5.11 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import pytrec_eval
from importlib.metadata import version

print("pytrec_eval-terrier", version("pytrec_eval-terrier"))


def reciprocal_rank(wanted, other, lead):
    judge = pytrec_eval.RelevanceEvaluator({"user": {wanted: 1, other: 0}}, {"recip_rank"})
    found = judge.evaluate({"user": {wanted: 1.0 + lead, other: 1.0}})["user"]["recip_rank"]
    print(f"wanted {wanted!r} leads {other!r} by {lead}: reciprocal rank {found}")
    return found


assert reciprocal_rank("10", "9", 1e-6) == 1
assert reciprocal_rank("10", "9", 1e-8) == 0.5
assert reciprocal_rank("9", "10", 1e-8) == 1
assert reciprocal_rank("9", "10", -1e-8) == 1
PY
