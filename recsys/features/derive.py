"""`derive(aggregates, context) -> float32`: the only place where a feature becomes a float.

Rows are computed one by one in compiled scalar float64 arithmetic and rounded to float32 at the end, so that a row's
bytes are the same alone or among 500, on any machine: only + - * / and comparisons are used, which IEEE 754 fixes to
the bit, and the logarithm is ours (numpy's and libm's differ between processors in the last place).
"""

from __future__ import annotations

import functools
from decimal import Context as DecimalContext
from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np

from recsys.compiled import njit
from recsys.events import QUERY_WORDS, WORD_BITS
from recsys.features.catalog import ABOUT, AGGREGATES, FEATURE_DEFINITIONS
from recsys.features.definition import DefinitionError, Feature
from recsys.features.log import ItemColumns

# fmt: off
OPS: Final = {
    "ratio": 1, "log1p": 2, "since": 3, "trend": 4, "fraction": 5, "value": 6, "bucket": 7, "modulo": 8, "names": 9,
}
# fmt: on
RATIO, LOG1P, SINCE, TREND, FRACTION, VALUE, BUCKET, MODULO, NAMES = range(1, 10)

BLOCK: Final = 32  # rows
WORD_MASK: Final = (1 << WORD_BITS) - 1
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
    *ABOUT,
)


class Context(NamedTuple):
    """What a row knows besides its aggregates, int64[n] each, or one number for all rows. shelf and device are key64
    codes (0 none), slot -1 unknown; `about` is what is said of its user, int64[len(ABOUT), n] (`People.columns`), None
    for nothing.
    """

    as_of: np.ndarray | int
    shelf: np.ndarray | int
    device: np.ndarray | int
    slot: np.ndarray | int
    item: ItemColumns
    about: np.ndarray | None = None


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


_exact = DecimalContext(prec=40)
# Reciprocals of the middles of 128 steps of [1, 2), of 8 bits each, and the logarithms that make up for them. By
# decimal arithmetic, which is the same everywhere. The first step is 1 itself, so that log1p(0) is 0.
RECIPROCALS: Final = np.array([1.0, *(round(256 / (1 + (i + 0.5) / 128)) / 256 for i in range(1, 128))])
LOGARITHMS: Final = np.array([float(-_exact.ln(Decimal(float(r)))) for r in RECIPROCALS])
LN2: Final = float(_exact.ln(Decimal(2)))


@njit(cache=True, nogil=True)
def log1p(x):  # type: ignore[no-untyped-def]
    """ln(1 + x) for 0 <= x < 2^62 to about 1e-15 of 1 + x, by IEEE arithmetic alone: the same bits everywhere.

    ln(2^e m) = e ln 2 - ln r + ln(m r) with r the reciprocal of m's step, so that the last is a short series
    (P. T. P. Tang, Table-driven implementation of the logarithm function, 1990). 2 ns.
    """
    bits = np.float64(1.0 + x).view(np.int64)
    step = (bits >> 45) & 127
    m = np.int64((bits & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000).view(np.float64)
    s = m * RECIPROCALS[step] - 1.0
    series = s * (1.0 + s * (-1 / 2 + s * (1 / 3 + s * (-1 / 4 + s * (1 / 5 + s * (-1 / 6 + s * (1 / 7)))))))
    return float((bits >> 52) - 1023) * LN2 + LOGARITHMS[step] + series


@njit(cache=True, nogil=True)
def load(aggregates, context, column, first, last, into):  # type: ignore[no-untyped-def]
    """One input of rows [first:last]. True when it is the same in all of them, as those of a request's user are."""
    columns = aggregates.shape[1]
    differ = np.int64(0)
    for r in range(last - first):
        into[r] = aggregates[first + r, column] if column < columns else context[column - columns, first + r]
        differ |= into[r] ^ into[0]
    return differ == 0


@njit(cache=True, nogil=True)
def derive_rows(ops, inputs, constants, aggregates, context, out):  # type: ignore[no-untyped-def]
    """aggregates int64[n, A], context int64[C, n] -> out float32[n, F]; inputs count the context from A on.

    A feature at a time over a few rows: what to do is decided once for all of them, and they stay in the first cache.
    """
    a, b, duration = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    for first in range(0, aggregates.shape[0], BLOCK):
        last = min(first + BLOCK, aggregates.shape[0])
        for f in range(len(ops)):
            op = ops[f]
            c, c1, c2, c3 = constants[f]
            same = load(aggregates, context, inputs[f, 0], first, last, a)
            if op in (RATIO, SINCE, TREND, FRACTION, MODULO, NAMES):
                same &= load(aggregates, context, inputs[f, 1], first, last, b)
            if op == FRACTION:
                same &= load(aggregates, context, inputs[f, 2], first, last, duration)
            for r in range(1 if same else last - first):
                x = 0.0
                if op == RATIO:
                    x = min((float(a[r]) * c2 + c * c1) / (float(b[r]) + c1), c3)
                elif op == LOG1P:
                    x = log1p(float(max(a[r], 0)) * c)
                elif op == SINCE:
                    x = c1 if b[r] == 0 else log1p(float(max(a[r] - b[r], 0)) * c)
                elif op == TREND:
                    x = (float(a[r]) + c) / (float(b[r]) / c1 + c)
                elif op == FRACTION:
                    x = c
                    if duration[r] > 0:
                        x = min((float(a[r]) / float(duration[r]) + c * c1) / (float(b[r]) + c1), c2)
                elif op == VALUE:
                    x = float(a[r])
                elif op == BUCKET:
                    x = c1 if a[r] == 0 else float((a[r] ^ (a[r] >> 32)) & (np.int64(c) - 1))
                elif op == MODULO:
                    x = float(((a[r] + b[r]) // np.int64(c) + np.int64(c2)) % np.int64(c1))
                elif op == NAMES and b[r] != 0:  # events.word_codes of b among events.words_of_query of a
                    code = max((b[r] ^ (b[r] >> 32)) & WORD_MASK, 1)
                    for place in range(QUERY_WORDS):
                        if a[r] >> WORD_BITS * place & WORD_MASK == code:
                            x = 1.0
                out[first + r, f] = np.float32(x)
            if same:
                for r in range(first + 1, last):
                    out[r, f] = out[first, f]


_TABLES = compile_features(FEATURE_DEFINITIONS, AGGREGATES)


@functools.lru_cache(maxsize=32)
def _tables_of(places: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ops, inputs, constants = (table[list(places)] for table in _TABLES)
    return ops, inputs, constants


@functools.lru_cache(maxsize=32)
def of_context(places: tuple[int, ...]) -> bool:
    """Whether one of those features is made of more than aggregates."""
    return bool((_tables_of(places)[1] >= len(AGGREGATES)).any())


def derive(aggregates: np.ndarray, context: Context | None, places: tuple[int, ...] | None = None) -> np.ndarray:
    """Features of each row.

    Args:
        aggregates: int64[n, len(catalog.AGGREGATES)]
        context: [n] each; None where none of the places is `of_context`
        places: of those of catalog.FEATURES that are wanted; None: all of them

    Returns:
        float32[n, len(places)]
    """
    n, tables = len(aggregates), _TABLES if places is None else _tables_of(places)
    columns = np.zeros((len(CONTEXT_COLUMNS), n), np.int64)
    if context is not None:
        about = () if context.about is None else context.about
        for i, column in enumerate((*context[:4], *context.item, *about)):
            columns[i] = column
    out = np.empty((n, len(tables[0])), np.float32)
    derive_rows(*tables, np.ascontiguousarray(aggregates, np.int64), columns, out)
    return out
