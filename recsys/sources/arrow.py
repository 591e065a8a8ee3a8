"""Columns of Parquet, of whatever type, as polars and Python can hold them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

import polars as pl
import pyarrow as pa

from recsys.events import DAY_MS

EPOCH: Final = date(1970, 1, 1)
_TICKS: Final = {"ms": 1, "us": 10**3, "ns": 10**6}  # a millisecond


def frame_of(table: pa.Table) -> pl.DataFrame:
    """The same values; bytes as they are. What no field takes (structs, maps, lists of them, of instants or truths) is
    there as nested lists, whatever it holds.
    """
    plain = pa.table([_plain(column) for column in table.columns], names=table.column_names)
    return pl.DataFrame([_within(column) for column in pl.DataFrame(pl.from_arrow(plain))])


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same values in a type that polars takes."""
    dtype = column.type
    if pa.types.is_dictionary(dtype) and _is_bytes(dtype.value_type):
        return column.cast(dtype.value_type)
    if pa.types.is_nested(dtype) and not _is_flat(dtype):
        given = [[[str(dtype)]] if said else None for said in column.is_valid().to_pylist()]
        return pa.chunked_array([pa.array(given, pa.list_(pa.list_(pa.string())))])
    if pa.types.is_fixed_size_list(dtype):
        column = column.cast(pa.list_(dtype.value_type))
    if isinstance(dtype, pa.UuidType):
        return pa.chunked_array([pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())])
    if isinstance(dtype, pa.BaseExtensionType):
        return _plain(pa.chunked_array([chunk.storage for chunk in column.chunks], dtype.storage_type))
    if pa.types.is_decimal256(dtype):
        return column.cast(pa.string())
    if pa.types.is_timestamp(dtype) and dtype.tz is not None:  # UTC inside, whatever it is shown in
        return column.cast(pa.timestamp(dtype.unit, "UTC"))
    return column


def _is_bytes(dtype: pa.DataType) -> bool:
    types = pa.types
    return any(
        is_such(dtype)
        for is_such in (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    )


def _is_flat(dtype: pa.DataType) -> bool:
    """Whether it is a list of single values that polars takes."""
    types = pa.types
    if not (types.is_list(dtype) or types.is_large_list(dtype) or types.is_fixed_size_list(dtype)):
        return False
    inner = dtype.value_type.value_type if types.is_dictionary(dtype.value_type) else dtype.value_type
    is_text = types.is_string(inner) or types.is_large_string(inner) or types.is_string_view(inner)
    is_number = types.is_integer(inner) or types.is_floating(inner) or types.is_decimal128(inner)
    return is_text or is_number or _is_bytes(inner) or types.is_null(inner)


def _within(column: pl.Series) -> pl.Series:
    """Instants, days and durations that Python's own types hold: those beyond are the last one, or the first."""
    dtype = column.dtype
    if not isinstance(dtype, (pl.Date, pl.Datetime, pl.Duration)):
        return column
    most = timedelta.max.days if isinstance(dtype, pl.Duration) else (date.max - EPOCH).days
    least = -most if isinstance(dtype, pl.Duration) else (date.min - EPOCH).days
    ticks = 1 if isinstance(dtype, pl.Date) else _TICKS[dtype.time_unit] * DAY_MS
    bounds = max(least * ticks, -(2**63)), min(most * ticks, 2**63 - 1)
    return column.to_physical().clip(*bounds).cast(dtype)
