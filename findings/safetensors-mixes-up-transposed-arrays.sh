#!/usr/bin/env bash
# Expected: what is saved is what is loaded, or saving raises, as safetensors does for torch where a tensor is not
# contiguous.
# Happens: safetensors.numpy writes the bytes as they lie in memory under the shape that the array has: a transposed or
# Fortran-ordered matrix comes back with its numbers in other places, a slice of columns with numbers of columns that
# were left out. No word at saving or loading; np.save keeps them.
# Matters: solvers give factors as (d, items) and services want (items, d): every item has another vector, of plausible
# numbers.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: safetensors==0.8.0 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata

import numpy as np
from safetensors.numpy import load, load_file, save, save_file

print("safetensors", importlib.metadata.version("safetensors"), "numpy", np.__version__)
factors = np.arange(6, dtype=np.float32).reshape(2, 3)
told = {}
for name, array in (
    ("as it is", factors),
    ("transposed", factors.T),
    ("Fortran order", np.asfortranarray(factors)),
    ("two columns", factors[:, :2]),
    ("two columns, copied", factors[:, :2].copy()),
):
    save_file({"items": array}, "items.safetensors")
    np.save("items.npy", array)
    read = load_file("items.safetensors")["items"]
    told[name] = bool((read == array).all())
    print(f"{name}: {array.tolist()} -> {read.tolist()}")
    assert read.shape == array.shape and (np.load("items.npy") == array).all()
    assert (load(save({"items": array}))["items"] == read).all()
assert told == {"as it is": True, "transposed": False, "Fortran order": False, "two columns": False, "two columns, copied": True}
PY
