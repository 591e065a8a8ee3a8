#!/usr/bin/env bash
# Expected: since numpy 2 compares uint64 with int64 exactly, looking up uint64 ids among int64 ids is exact too.
# Happens: `==` and `isin` are exact, while `searchsorted`, `union1d`, `concatenate` and pandas' `concat` turn both
# into float64: an id over 2^53 is placed on its neighbour. No warning.
# Matters: hashed keys are uint64 in one tool and int64 in the next; a lookup by searchsorted finds another item's
# row.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: numpy==2.4.6 pandas==3.0.6
cd "$work"
venv/bin/python - <<'PY'
import numpy as np
import pandas as pd

print("numpy", np.__version__, "pandas", pd.__version__)
known = np.array([2**53, 2**53 + 1, 2**53 + 2], np.int64)
asked = np.array([2**53 + 1], np.uint64)
print("==", (known == asked).tolist(), "isin", np.isin(asked, known).tolist())
assert (known == asked).tolist() == [False, True, False]
place = int(np.searchsorted(known, asked)[0])
print("searchsorted puts", asked[0], "at", place, "and as int64 at", int(np.searchsorted(known, asked.astype(np.int64))[0]))
assert place == 0 and np.searchsorted(known, asked.astype(np.int64))[0] == 1
both = np.union1d(known, asked)
print("union1d", both.dtype, len(both), "concat", pd.concat([pd.Series(known), pd.Series(asked)]).dtype)
assert both.dtype == np.float64 and len(both) == 2
assert pd.concat([pd.Series(known), pd.Series(asked)]).dtype == np.float64
PY
