#!/usr/bin/env bash
# Expected: train and test of `leave_k_out_split` add up to the matrix that was split.
# Happens: users with K + 1 items or fewer give nothing to the test, and the last user who does give something has the
# value multiplied by one more than their number: behind fifty small users a rating of 3 or 4 is 51 times that.
# Matters: where test values weigh (graded gains, confidences, watch times), one pair of the test outweighs all
# others, the more the longer the tail of small users.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: implicit==0.7.3 numpy==2.4.6 scipy==1.17.1
cd "$work"
venv/bin/python - <<'PY'
import implicit
import numpy as np
import scipy.sparse as sp
from implicit.evaluation import leave_k_out_split

print("implicit", implicit.__version__)
for small in (0, 2, 50):
    ratings = sp.csr_matrix(np.array([[1, 0, 0, 0]] * small + [[2, 3, 4, 5], [2, 3, 4, 5]], np.float32))
    train, test = (part.toarray() for part in leave_k_out_split(ratings, K=1, random_state=0))
    first, last = (test[row].max() / ratings.toarray()[row, test[row].argmax()] for row in (-2, -1))
    print(f"{small} users of one item: the test values of the other two are {first:.0f} and {last:.0f} times theirs")
    assert first == 1 and last == 1 + small
    assert not test[:small].any()
PY
