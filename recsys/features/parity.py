"""Whether two times of a feature are the same bytes, and how far apart two distributions of it are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.features import sweep
from recsys.features.catalog import DEFAULTS, FEATURES, FINGERPRINT
from recsys.features.derive import Context, derive
from recsys.features.log import EventLog, ItemColumns, Items, Reads, names_to_keys
from recsys.features.people import Said

BINS: Final = 20
ALERT_SHARE: Final = 0.05  # of rows whose feature is missing or at its default


class ParityError(ValueError):
    """Two tables cannot be compared: a row's key occurs twice, or a feature is missing on one side."""


@dataclass(frozen=True)
class Parity:
    """The comparison of two tables of features."""

    values: int  # compared
    mismatches: int  # values of both sides whose bytes differ
    missing: int  # rows of the first that the second lacks
    extra: int  # rows of the second that the first lacks
    worst: dict[str, int] = field(default_factory=dict)  # feature -> mismatches, where there are any

    @property
    def holds(self) -> bool:
        """Same rows, same bytes, and at least one value."""
        return self.values > 0 and not (self.mismatches or self.missing or self.extra)

    def __str__(self) -> str:
        words = f"{self.mismatches:,} mismatches of {self.values:,} values"
        if self.missing or self.extra:
            words += f", {self.missing:,} rows missing, {self.extra:,} extra"
        if self.worst:
            words += " (" + ", ".join(f"{name}: {n:,}" for name, n in sorted(self.worst.items())[:5]) + ")"
        return words


def compare(a: pa.Table, b: pa.Table, key: str | Sequence[str] = "impression_id") -> Parity:
    """Compare the columns of `a` (but for its key) with those of `b`, row by row, bit by bit.

    NaN equals NaN of the same bits; 0.0 does not equal -0.0.

    Raises:
        ParityError: a key twice in one table, a column of `a` that `b` lacks, or another type there.
    """
    keys = [key] if isinstance(key, str) else list(key)
    names = [name for name in a.column_names if name not in keys]
    for name in [*keys, *names]:
        if name not in b.column_names or a.schema.field(name).type != b.schema.field(name).type:
            raise ParityError(f"column {name} is not on both sides with one type: compare tables of one fingerprint")
    left = a.select([*keys]).append_column("__left", pa.array(np.arange(a.num_rows)))
    right = b.select([*keys]).append_column("__right", pa.array(np.arange(b.num_rows)))
    for side, table in (("first", left), ("second", right)):
        if table.group_by(keys).aggregate([]).num_rows != table.num_rows:
            raise ParityError(f"a {'/'.join(keys)} occurs twice in the {side} table")
    both = left.join(right, keys=keys, join_type="inner")
    ours, theirs = both["__left"].to_numpy(), both["__right"].to_numpy()
    worst = {}
    for name in names:
        differ = _bits(a[name])[ours] != _bits(b[name])[theirs]
        if differ.any():
            worst[name] = int(differ.sum())
    return Parity(
        values=len(ours) * len(names),
        mismatches=sum(worst.values()),
        missing=a.num_rows - len(ours),
        extra=b.num_rows - len(ours),
        worst=worst,
    )


def compare_arrays(a: np.ndarray, b: np.ndarray, names: Sequence[str]) -> Parity:
    """Compare two matrices [n, len(names)] of one dtype whose rows correspond, bit by bit."""
    if a.dtype != b.dtype or a.shape[1:] != b.shape[1:]:
        raise ParityError(f"{a.dtype}{list(a.shape)} and {b.dtype}{list(b.shape)} have nothing to compare")
    n = min(len(a), len(b))
    unsigned = np.dtype(f"u{a.dtype.itemsize}")
    differ = np.ascontiguousarray(a[:n]).view(unsigned) != np.ascontiguousarray(b[:n]).view(unsigned)
    worst = {names[f]: int(count) for f, count in enumerate(differ.sum(axis=0)) if count}
    return Parity(n * len(names), sum(worst.values()), len(a) - n, len(b) - n, worst)


def replay(log: EventLog, items_at: Callable[[int], Items], served: pa.Table) -> np.ndarray:
    """The features of rows that were served, read again from the log: float32[n, len(FEATURES)].

    Args:
        log: every event up to the last position served
        items_at: the items as they were known at a position (OnlineStore.items_at)
        served: user_id, item_id, position, as_of, said, and log_shelf and device where they were known, a row an item
    """
    positions, as_of = served["position"].to_numpy(), served["as_of"].to_numpy()
    users, keys = (names_to_keys(served[name]) for name in ("user_id", "item_id"))
    item = np.zeros((len(ItemColumns._fields), served.num_rows), np.int64)
    for position in np.unique(positions):
        rows = np.flatnonzero(positions == position)
        item[:, rows] = np.stack(items_at(int(position)).lookup(keys[rows]))
    columns = ItemColumns(*item)
    order = np.argsort(positions, kind="stable")
    shelf, device = (names_to_keys(served[name]) for name in ("log_shelf", "device"))
    of_rows = (users, keys, columns.category_key, columns.creator_key, shelf, positions, as_of)
    reads = Reads(*(np.ascontiguousarray(column[order]) for column in of_rows))
    about = Said.of_rows(served["said"].to_pylist()).columns(columns.category_key)
    context = Context(as_of, shelf, device, np.zeros(len(as_of), np.int64), columns, about)
    return derive(sweep.swept(sweep.PROGRAM, log, reads, order), context)


def audit_served(log: EventLog, items_at: Callable[[int], Items], served: pa.Table) -> Parity:
    """Compare the feature rows of a served log (served_log.SCHEMA) of this fingerprint with their replay."""
    mine = pc.and_(pc.equal(served["fingerprint"], FINGERPRINT), pc.is_valid(served["features"]))
    served = served.filter(pc.fill_null(mine, False))
    if not served.num_rows:
        return Parity(0, 0, 0, 0)
    told = np.stack(served["features"].to_numpy(zero_copy_only=False)).astype(np.float32)
    return compare_arrays(told, replay(log, items_at, served), FEATURES)


def completeness(features: pa.Table) -> dict[str, float]:
    """Share of rows whose feature is missing (null, NaN) or at its declared default: nothing was known."""
    shares = {}
    for name, default in DEFAULTS.items():
        values = features[name].to_numpy()
        unknown = np.isnan(values) | (values == np.float32(default))
        shares[name] = float(unknown.mean()) if len(values) else 1.0
    return shares


def shares_in_bins(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of values in each bin between `edges` (ends open) and, last, of NaN: float64[len(edges) + 2], sums to 1."""
    known = values[~np.isnan(values)]
    counts = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
    counts = np.append(counts, len(values) - len(known)).astype(np.float64)
    return counts / max(1.0, counts.sum())


def distances(training: np.ndarray, serving: np.ndarray, bins: int = BINS) -> dict[str, float]:
    """KL(serving || training) and PSI (nats), and the Chebyshev distance of the bins' shares, for one feature.

    Bins are the quantiles of training; half a row is added to each bin, so that an empty one costs a finite amount.
    """
    known = np.asarray(training, np.float64)[~np.isnan(training)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1])) if len(known) else np.zeros(0)
    p = shares_in_bins(np.asarray(training, np.float64), edges)
    q = shares_in_bins(np.asarray(serving, np.float64), edges)
    smooth_p = (p * len(training) + 0.5) / (len(training) + 0.5 * len(p))
    smooth_q = (q * len(serving) + 0.5) / (len(serving) + 0.5 * len(q))
    log_ratio = np.log(smooth_q / smooth_p)
    return {
        "kl": float(np.sum(smooth_q * log_ratio)),
        "chebyshev": float(np.abs(p - q).max()),
        "psi": float(np.sum((smooth_q - smooth_p) * log_ratio)),
    }


def _bits(column: pa.ChunkedArray) -> np.ndarray:
    if column.null_count:
        raise ParityError(f"{column.null_count} nulls: features are never null")
    chunk = column.combine_chunks()
    if pa.types.is_list(chunk.type):
        values = chunk.values.to_numpy()
        rows = [values[start:stop].tobytes() for start, stop in pairwise(chunk.offsets.to_pylist())]
        return np.array(rows, object)
    if pa.types.is_string(chunk.type):
        return np.asarray(pc.cast(chunk, pa.large_string()).to_numpy(zero_copy_only=False))
    values = np.ascontiguousarray(chunk.to_numpy(zero_copy_only=False))
    return values.view(np.dtype(f"u{values.dtype.itemsize}"))
