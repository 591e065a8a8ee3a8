#!/usr/bin/env bash
# Expected: the user whose id is the integer 0 gets a variation like any other, or the SDK refuses integers.
# Happens: GrowthBook's Python SDK takes integers as ids, and 0 for no id: that user is in no experiment and gets the first
# variation without being counted. The text "0" takes part. So do all other integers, in the variation of their text.
# Matters: ids that count from 0 (KuaiRec, most encoders) lose one person without a trace, and a test with that one says that
# assignment is off.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: growthbook==4.0.0
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata

from growthbook import Experiment, GrowthBook

print("growthbook", importlib.metadata.version("growthbook"))


def given(user):
    result = GrowthBook(attributes={"id": user}).run(Experiment(key="slate", variations=["a", "b"]))
    return result.inExperiment, result.value


for user in (0, "0", 1, "1"):
    print(f"{user!r:4} in the experiment: {given(user)[0]}, variation {given(user)[1]}")
assert [user for user in range(1_000) if not given(user)[0]] == [0]
assert given(0) == (False, "a") and given("0")[0]
assert all(given(user) == given(str(user)) for user in range(1, 1_000))
PY
