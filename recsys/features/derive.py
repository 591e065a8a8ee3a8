"""`derive(aggregates, context) -> float32`: the only place where a feature becomes a float.

Rows are computed one by one in compiled scalar float64 arithmetic and rounded to float32 at the end, so that a row's
bytes are the same alone or among 500, on any machine: only + - * / and comparisons are used, which IEEE 754 fixes to
the bit, and the logarithm is ours (numpy's and libm's differ between processors in the last place).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numba import njit

from recsys.features.catalog import AGGREGATES, FEATURE_DEFINITIONS
from recsys.features.definition import DefinitionError, Feature
from recsys.features.log import ItemColumns

OPS: Final = {"ratio": 1, "log1p": 2, "since": 3, "trend": 4, "fraction": 5, "value": 6, "bucket": 7, "modulo": 8}
RATIO, LOG1P, SINCE, TREND, FRACTION, VALUE, BUCKET, MODULO = range(1, 9)

CONTEXT_COLUMNS: Final = (
    "as_of",
    "shelf",
    "device",
    "slot",
    "item_category_key",
    "item_creator_key",
    "item_type",
    "item_duration_ms",
    "item_published_at",
)


class Context(NamedTuple):
    """What a row knows besides its aggregates, [n] int64 each. shelf and device are key64 codes (0 none), slot -1
    unknown.
    """

    as_of: np.ndarray
    shelf: np.ndarray
    device: np.ndarray
    slot: np.ndarray
    item: ItemColumns


def compile_features(
    features: tuple[Feature, ...], aggregates: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tables of the features: op int64[F], inputs int64[F, 3], constants float64[F, 4].

    Raises:
        DefinitionError: an unknown operation or column.
    """
    index = {name: i for i, name in enumerate((*aggregates, *CONTEXT_COLUMNS))}
    ops = np.zeros(len(features), np.int64)
    inputs = np.zeros((len(features), 3), np.int64)
    constants = np.zeros((len(features), 4))
    for f, feature in enumerate(features):
        missing = [name for name in feature.inputs if name not in index]
        if missing or feature.op not in OPS:
            raise DefinitionError(f"feature {feature.name}: no such operation ({feature.op}) or column ({missing})")
        ops[f] = OPS[feature.op]
        inputs[f, : len(feature.inputs)] = [index[name] for name in feature.inputs]
        constants[f, : len(feature.constants)] = feature.constants
    return ops, inputs, constants


@njit(cache=True, nogil=True)
def log1p(x):  # type: ignore[no-untyped-def]
    """ln(1 + x) for 0 <= x < 2^62 to about 1e-15, by IEEE arithmetic alone: the same bits everywhere."""
    y = 1.0 + x
    exponent = 0
    while y >= 65536.0:
        y /= 65536.0
        exponent += 16
    while y >= 2.0:
        y /= 2.0
        exponent += 1
    if y > 1.4142135623730951:
        y /= 2.0
        exponent += 1
    s = (y - 1.0) / (y + 1.0)
    z = s * s
    series = 0.0
    for k in range(21, 0, -2):
        series = series * z + 1.0 / k
    return 2.0 * s * series + exponent * 0.6931471805599453


@njit(cache=True, nogil=True)
def derive_rows(ops, inputs, constants, aggregates, context, out):  # type: ignore[no-untyped-def]
    """aggregates int64[n, A], context int64[C, n] -> out float32[n, F]; inputs count the context from A on."""
    columns = aggregates.shape[1]
    for r in range(aggregates.shape[0]):
        for f in range(len(ops)):
            op = ops[f]
            i, j, k = inputs[f, 0], inputs[f, 1], inputs[f, 2]
            a = aggregates[r, i] if i < columns else context[i - columns, r]
            b = aggregates[r, j] if j < columns else context[j - columns, r]
            if r > 0:  # the rows of a request share their user and instant: the same inputs are the same bits
                same = a == (aggregates[r - 1, i] if i < columns else context[i - columns, r - 1])
                same &= b == (aggregates[r - 1, j] if j < columns else context[j - columns, r - 1])
                same &= op != FRACTION
                if same:
                    out[r, f] = out[r - 1, f]
                    continue
            c = constants[f]
            x = 0.0
            if op == RATIO:
                x = (float(a) * c[2] + c[0] * c[1]) / (float(b) + c[1])
                x = min(x, c[3])
            elif op == LOG1P:
                x = log1p(float(max(a, 0)) * c[0])
            elif op == SINCE:
                x = c[1] if b == 0 else log1p(float(max(a - b, 0)) * c[0])
            elif op == TREND:
                x = (float(a) + c[0]) / (float(b) / c[1] + c[0])
            elif op == FRACTION:
                duration = aggregates[r, k] if k < columns else context[k - columns, r]
                x = c[0]
                if duration > 0:
                    x = min((float(a) / float(duration) + c[0] * c[1]) / (float(b) + c[1]), c[2])
            elif op == VALUE:
                x = float(a)
            elif op == BUCKET:
                x = c[1] if a == 0 else float((a ^ (a >> 32)) & (np.int64(c[0]) - 1))
            elif op == MODULO:
                x = float((a // np.int64(c[0]) + np.int64(c[2])) % np.int64(c[1]))
            out[r, f] = np.float32(x)


_TABLES = compile_features(FEATURE_DEFINITIONS, AGGREGATES)


def derive(aggregates: np.ndarray, context: Context) -> np.ndarray:
    """Features of each row.

    Args:
        aggregates: int64[n, len(catalog.AGGREGATES)]
        context: [n] each

    Returns:
        float32[n, len(catalog.FEATURES)]
    """
    n = len(aggregates)
    columns = np.empty((len(CONTEXT_COLUMNS), n), np.int64)
    for i, column in enumerate((*context[:4], *context.item)):
        columns[i] = column
    out = np.empty((n, len(FEATURE_DEFINITIONS)), np.float32)
    derive_rows(*_TABLES, np.ascontiguousarray(aggregates, np.int64), columns, out)
    return out
