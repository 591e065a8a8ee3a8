#!/usr/bin/env bash
# Expected: a matrix of 0 and 1 holds no number that could overflow, and what is summed of it is widened, as numpy's
# and scipy's `sum` do.
# Happens: scipy's sparse product keeps the type of its operands. `X.T @ X` of int8 is int8: two items that 200 users
# share have -56 of them in common, and an item's own count is negative from 128 on. Repeated cells of a COO matrix
# are added in its type too: 130 plays are -126, and True 130 times is True. numpy's dense product wraps as well; of
# floats, which the same code uses elsewhere, nothing wraps.
# Matters: int8 is the usual advice for a large matrix of who liked what, and item-item counts (EASE, co-occurrence,
# cosine) are its square. The most popular items have the smallest numbers, and nothing says so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: scipy==1.17.1 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import numpy as np
import scipy
import scipy.sparse as sp

print("scipy", scipy.__version__, "numpy", np.__version__)
users = 200
likes = sp.csr_array(np.ones((users, 2), np.int8))
together = likes.T @ likes
print("in common by int8:", together.toarray().tolist(), together.dtype, "by float32:", (likes.astype(np.float32).T @ likes.astype(np.float32)).toarray().tolist())
assert together.dtype == np.int8 and (together.toarray() == users - 256).all()
dense = likes.toarray().T @ likes.toarray()
assert (dense == users - 256).all()
sums = likes.sum(axis=0)
print("sums:", sums.tolist(), sums.dtype)
assert sums.tolist() == [users, users] and sums.dtype == np.int64
cells = np.zeros(130, np.int64)
plays = {str(np.dtype(kind)): sp.coo_array((np.ones(130, kind), (cells, cells)), shape=(1, 1)).tocsr()[0, 0].item() for kind in (np.int8, np.bool_, np.int32)}
print("130 plays of one pair:", plays)
assert plays == {"int8": -126, "bool": True, "int32": 130}
PY
