#!/usr/bin/env bash
# Expected: default_rng takes a list of integers so that each (seed, part, ...) has a stream of its own.
# Happens: up to four numbers of 32 bits, zeros at the end do not count: [7], [7, 0] and [7, 0, 0, 0] are one stream, and
# 2^32 + 7 is [7, 1]. Zeros at the beginning count, and so does a fifth number.
# Matters: user 0, day 0 or the first worker draws what the parent draws: the bootstrap repeats the sample that it is
# compared with, an exploring slot of user 0 follows the ranking's own noise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import numpy as np

print("numpy", np.__version__)


def draws(seed):
    return np.random.default_rng(seed).random(3).round(4).tolist()


for seed in (7, [7], [7, 0], [7, 0, 0, 0], [7, 0, 0, 0, 0], [0, 7], [7, 1], 2**32 + 7):
    print(f"{str(seed):16}", draws(seed))
assert draws(7) == draws([7]) == draws([7, 0]) == draws([7, 0, 0, 0])
assert draws([7, 1]) == draws(2**32 + 7)
assert draws([7, 0, 0, 0, 0]) != draws(7) != draws([0, 7])
first, child = np.random.SeedSequence(7), np.random.SeedSequence([7, 0])
print("SeedSequence of 7 and of [7, 0]:", first.generate_state(2), child.generate_state(2))
assert (first.generate_state(8) == child.generate_state(8)).all()
PY
