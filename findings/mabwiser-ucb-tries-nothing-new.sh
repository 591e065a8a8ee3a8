#!/usr/bin/env bash
# Expected: UCB1 tries an arm without any data first, since nothing bounds what it may be worth; so its paper begins.
# Happens: in MABWiser such an arm stands at 0, below every arm that was ever rewarded. Popularity does the same,
# Thompson sampling asks for it at once. Nothing warns, at `fit`, `add_arm` or `predict`.
# Matters: a bandit over a catalogue, fed from a log or given a new item, never shows what is new, however good it is.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: mabwiser==2.7.4
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata

from mabwiser.mab import MAB, LearningPolicy

print("mabwiser", importlib.metadata.version("mabwiser"))
WORTH = {"old": 0.1, "older": 0.04, "new": 1.0}
shown, clicked = ["old"] * 50 + ["older"] * 50, [1] * 5 + [0] * 45 + [1] * 2 + [0] * 48
times = {}
for name, policy in {
    "UCB1": LearningPolicy.UCB1(alpha=1.25),
    "popularity": LearningPolicy.Popularity(),
    "Thompson sampling": LearningPolicy.ThompsonSampling(),
}.items():
    bandit = MAB(["old", "older"], policy, seed=1)
    bandit.fit(shown, clicked)
    bandit.add_arm("new")
    first = bandit.predict_expectations()
    tried = []
    for turn in range(2_000):
        arm = bandit.predict()
        tried.append(arm)
        bandit.partial_fit([arm], [1 if arm == "new" else int(turn % round(1 / WORTH[arm]) == 0)])
    times[name] = tried.count("new")
    print(f"{name:18} expects {[(arm, round(float(worth), 2)) for arm, worth in first.items()]}, shows `new` {times[name]} times of 2000")
    if name != "Thompson sampling":
        assert first["new"] == 0 and min(first["old"], first["older"]) > 0
assert times["UCB1"] == times["popularity"] == 0 and times["Thompson sampling"] > 1_900
PY
