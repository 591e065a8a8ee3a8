#!/usr/bin/env bash
# Expected: the k smallest by np.argpartition, of equal values at the cut, are the first ones, or at least the same ones.
# Happens: which of the equal values get in depends on the length of the array: values behind them that are no candidates
# at all change the choice.
# Matters: a list of the most popular items changes when somebody adds an item that nobody has opened; two catalogues of
# one shop disagree about places that both call tied.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import numpy as np

print("numpy", np.__version__)
chosen = {}
for size in (100, 101, 128, 400, 1000):
    opened = np.zeros(size)
    opened[4:100:5] = 1.0  # twenty items were opened once, the others never
    chosen[size] = sorted(np.argpartition(-opened, 6)[:7].tolist())
    print(f"of {size} items:", chosen[size])
assert all(np.isin(best, np.arange(4, 100, 5)).all() for best in chosen.values())
assert len({tuple(best) for best in chosen.values()}) > 1
assert any(best != list(range(4, 39, 5)) for best in chosen.values())
PY
