#!/usr/bin/env bash
# Expected: compiled code reads any field of a named tuple by its name.
# Happens: numba refuses one that is called `view`, and says that it is called on what is no NumPy dtype.
# Matters: the message names neither the field nor the rule, and the same tuple with the field called `seen` compiles.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: numba==0.68.1 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
from typing import NamedTuple

import numba
import numpy as np
from numba.core.errors import TypingError

print("numba", numba.__version__)


class Named(NamedTuple):
    view: np.ndarray


class Renamed(NamedTuple):
    seen: np.ndarray


@numba.njit
def first_view(rows):
    return rows.view[0]


@numba.njit
def first_seen(rows):
    return rows.seen[0]


assert first_seen(Renamed(np.ones(2))) == 1.0
try:
    first_view(Named(np.ones(2)))
    raise SystemExit("it compiles now")
except TypingError as error:
    said = str(error)
print(next(line for line in said.splitlines() if "view" in line))
assert "'view' can only be called on NumPy dtypes" in said
PY
