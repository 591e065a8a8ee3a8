"""A layer of a network for one row, in plain loops: a library's matrix product rounds by its shape and machine."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def affine(row, weight, bias, out):  # type: ignore[no-untyped-def]
    """bias [m] + row [n] @ weight [n, m] into out [m], input after input: no sum is split."""
    for j in range(len(out)):  # a slice that is assigned takes 0.1 us
        out[j] = bias[j]
    for i in range(len(row)):
        x, of = row[i], weight[i]
        for j in range(len(out)):
            out[j] += x * of[j]


@njit(cache=True, nogil=True)
def rectify(values):  # type: ignore[no-untyped-def]
    """Negative values become 0; what is no number stays none."""
    for j in range(len(values)):
        values[j] = np.float32(0.0) if values[j] < 0 else values[j]
