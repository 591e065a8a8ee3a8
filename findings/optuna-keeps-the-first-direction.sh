#!/usr/bin/env bash
# Expected: a study that is opened again (`load_if_exists=True`) with another direction, or asked for a point outside of its bounds, is refused.
# Happens: Optuna keeps the first direction and says nothing: `direction="maximize"` goes on minimizing, and `best_trial` is the
# worst. A point that was enqueued outside of the bounds is tried and may be the best; there it warns.
# Matters: who changes a metric from log loss to AUC under the old study's name gets the worst model as the best one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: optuna==5.0.0
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata
import warnings

import optuna

print("optuna", importlib.metadata.version("optuna"))
optuna.logging.set_verbosity(optuna.logging.ERROR)
AUC = [0.55, 0.75, 0.65]


def open_study(direction):
    return optuna.create_study(study_name="ranker", storage="sqlite:///study.db", direction=direction, load_if_exists=True)


open_study("minimize")
with warnings.catch_warnings():
    warnings.simplefilter("error")
    again = open_study("maximize")
again.optimize(lambda trial: AUC[trial.number], n_trials=3)
print(f"asked to maximize {AUC}: {again.direction.name}, best {again.best_value}")
assert again.direction.name == "MINIMIZE" and again.best_value == min(AUC)

outside = optuna.create_study(direction="maximize")
outside.enqueue_trial({"rate": 5.0})
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    outside.optimize(lambda trial: trial.suggest_float("rate", 0, 1), n_trials=3)
print("between 0 and 1 the best is", outside.best_params, "with the warning:", said[0].message)
assert outside.best_params == {"rate": 5.0}
PY
