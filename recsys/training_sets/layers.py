"""A layer of a network for one row, in plain loops: a library's matrix product rounds by its shape and machine."""

from __future__ import annotations

import numpy as np

from recsys.compiled import njit


@njit(cache=True, nogil=True)
def affine(row, weight, bias, out):  # type: ignore[no-untyped-def]
    """bias [m] + row [n] @ weight [n, m] into out [m], input after input: no sum is split.

    Four inputs on each way over `out`, which halves what is loaded and stored, and the time.
    """
    for j in range(len(out)):  # a slice that is assigned takes 0.1 us
        out[j] = bias[j]
    fours = len(row) - len(row) % 4
    for i in range(0, fours, 4):
        x0, x1, x2, x3 = row[i], row[i + 1], row[i + 2], row[i + 3]
        w0, w1, w2, w3 = weight[i], weight[i + 1], weight[i + 2], weight[i + 3]
        for j in range(len(out)):
            out[j] = out[j] + x0 * w0[j] + x1 * w1[j] + x2 * w2[j] + x3 * w3[j]
    for i in range(fours, len(row)):
        x, of = row[i], weight[i]
        for j in range(len(out)):
            out[j] += x * of[j]


@njit(cache=True, nogil=True)
def rectify(values):  # type: ignore[no-untyped-def]
    """Negative values become 0; what is no number stays none."""
    for j in range(len(values)):
        values[j] = np.float32(0.0) if values[j] < 0 else values[j]
