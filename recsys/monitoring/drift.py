"""Has a day moved away from the days a model learned from? Four distances, and bounds that come from those days.

The same distance means another thing for 300 rows than for 30,000, and for a column that some users own than for one
that is white noise. So the bounds are not numbers from a book: samples of the reference, users drawn whole and as many
rows as the day has, are held against the reference, and the largest standardized distance over all columns and
distances is noted (Westfall and Young's max-T). A day alarms when its own largest one is beyond the quantile that
leaves the stated rate of false alarms, for the day as a whole and not for each column. Days differ by more than their
users: where the reference's own days lie further from each other than samples of it, they set the scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl

from recsys.monitoring.reference import Reference

DISTANCES: Final = ("psi", "kl", "chebyshev", "jensen_shannon")
BINS: Final = 10
FALSE_ALARMS: Final = 0.02  # of stationary days
SLACK: Final = 2.0  # even a still world wanders further than fourteen days of it tell: bounds are for half the rate
REPLICATES: Final = 1000
LEAST_ROWS: Final = 200  # of a day: fewer say nothing
LEAST_DAYS: Final = 2  # of a reference


class DriftError(ValueError):
    """A day cannot be held against a reference; the message says what is lacking."""


@dataclass(frozen=True)
class Moved:
    """One column of a day: its four distances to the reference, and the bound of each."""

    column: str
    distance: Mapping[str, float]
    bound: Mapping[str, float]
    excess: float  # largest standardized distance over the family's bound: above 1 is drift

    @property
    def drifted(self) -> bool:
        return self.excess > 1.0


@dataclass(frozen=True)
class Drift:
    """Every column, the one furthest beyond its bounds first."""

    columns: tuple[Moved, ...]
    rows: int
    reference_rows: int
    reference_days: tuple[str, ...]
    false_alarms: float

    @property
    def drifted(self) -> tuple[str, ...]:
        return tuple(moved.column for moved in self.columns if moved.drifted)

    @property
    def holds(self) -> bool:
        return not self.drifted

    def __str__(self) -> str:
        against = f"{self.reference_days[0]} to {self.reference_days[-1]}"
        if self.holds:
            aim = f"aim: {self.false_alarms:.0%} false alarms"
            return f"none of {len(self.columns)} columns has moved from {against} ({aim})"
        first = self.columns[0]
        names = ", ".join(self.drifted[:4]) + (", ..." if len(self.drifted) > 4 else "")
        return (
            f"{len(self.drifted)} of {len(self.columns)} columns have moved from {against}: {names} "
            f"(PSI of {first.column} {first.distance['psi']:.3f}, bound {first.bound['psi']:.3f})"
        )


def drift(
    reference: Reference, day: pl.DataFrame, *, false_alarms: float = FALSE_ALARMS, replicates: int = REPLICATES
) -> Drift:
    """Hold a day (`reference.watched` of it) against a reference.

    Raises:
        DriftError: too few rows or days, or a column that the day lacks.
    """
    missing = [name for name in reference.columns if name not in day.columns]
    if missing:
        raise DriftError(f"the day lacks {missing[:3]}: its features are not those of the reference, train again")
    if day.height < LEAST_ROWS:
        raise DriftError(f"the day has {day.height} rows, at least {LEAST_ROWS} are needed to say anything")
    if len(reference.days) < LEAST_DAYS:
        raise DriftError(f"the reference has {len(reference.days)} day: at least {LEAST_DAYS} are needed")
    return held_against(Binned.of(reference), reference, day, false_alarms, replicates)


def both(one: Drift, other: Drift) -> Drift:
    """Two families of columns of one day, each at its own rate of false alarms, as one finding."""
    columns = sorted((*one.columns, *other.columns), key=lambda moved: -moved.excess)
    return replace(one, columns=tuple(columns), false_alarms=one.false_alarms + other.false_alarms)


def held_against(
    binned: Binned, reference: Reference, day: pl.DataFrame, false_alarms: float, replicates: int
) -> Drift:
    """`drift` for a reference that is binned already."""
    distances = binned.distances(binned.counts(day)[None], binned.total[None])[0]
    center, spread, bound = calibrate(binned, day.height, false_alarms, replicates)
    excess = ((_normal(distances) - center) / spread).max(axis=1) / bound
    limit = np.maximum(center + bound * spread, 0.0) ** (1 / POWERS)
    columns = [
        Moved(
            name,
            dict(zip(DISTANCES, distances[i].tolist(), strict=True)),
            dict(zip(DISTANCES, limit[i].tolist(), strict=True)),
            float(excess[i]),
        )
        for i, name in enumerate(reference.columns)
    ]
    columns.sort(key=lambda moved: -moved.excess)
    return Drift(tuple(columns), day.height, reference.rows.height, reference.days, false_alarms)


def calibrate(
    binned: Binned, rows: int, false_alarms: float, replicates: int, seed: int = 7
) -> tuple[np.ndarray, np.ndarray, float]:
    """What distances are when nothing has moved, for a day of so many rows.

    Days of a reference have about that size too; where they are smaller, the bounds are wider than they need be.

    Returns:
        center and spread of the distances (`_normal`), float64[columns, 4] each; the bound on the standardized maximum.
    """
    units, counts = np.concatenate(binned.unit_rows), np.concatenate(binned.unit_counts)
    # so many whole users that they bring about as many rows as the day has
    users = max(1, round(rows / units.mean()))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(users, np.full(len(units), 1.0 / len(units)), size=replicates).astype(np.float32)
    null = _normal(binned.distances(drawn @ counts, np.broadcast_to(binned.total, (replicates, len(binned.total)))))
    # samples of the reference lie nearer to it than a new day: that one does not share its chance
    null *= (1.0 + rows / units.sum()) ** (1 / 3)
    center, spread = null.mean(axis=0), np.maximum(null.std(axis=0), LEAST_SPREAD)
    largest = ((null - center) / spread).reshape(replicates, -1).max(axis=1)
    # what the day itself adds, to all its rows alike: whole days against the others
    whole = [n for n, of_day in enumerate(binned.unit_rows) if of_day.sum() >= LEAST_ROWS]
    if len(whole) >= LEAST_DAYS:
        of_days = np.stack([binned.unit_counts[n].sum(axis=0, dtype=np.float64) for n in whole])
        days = _normal(binned.distances(of_days, binned.total - of_days))
        center, spread = np.maximum(center, days.mean(axis=0)), np.maximum(spread, days.std(axis=0, ddof=1))
    return center, spread, float(np.quantile(largest, 1.0 - false_alarms / SLACK))


LEAST_SPREAD: Final = 0.01  # of a column that never differs: a PSI of 1e-6 is none
POWERS: Final = np.array([1 / 3, 1 / 3, 2 / 3, 2 / 3])


def _normal(distance: np.ndarray) -> np.ndarray:
    """Distances on a scale where chance is about normal whatever the number of bins: the cube root of what is quadratic
    in the shares (Wilson and Hilferty 1931), and as much of a root of what is linear."""
    return np.asarray(np.maximum(distance, 0.0) ** POWERS)


@dataclass(frozen=True)
class Binned:
    """A reference in bins: edges of each column, counts of each day by user."""

    columns: tuple[str, ...]
    edges: tuple[np.ndarray, ...]
    starts: np.ndarray  # int64[columns + 1]: where the bins of a column begin
    unit_rows: tuple[np.ndarray, ...]  # by day: rows of each user, int64[users of the day]
    unit_counts: tuple[np.ndarray, ...]  # by day: float32[users of the day, bins of all columns]
    total: np.ndarray  # float64[bins of all columns]

    @staticmethod
    def of(reference: Reference) -> Binned:
        rows = reference.rows
        edges = tuple(_edges(rows[name].to_numpy()) for name in reference.columns)
        starts = np.cumsum([0, *(len(e) + 2 for e in edges)])
        unit_rows, unit_counts = [], []
        for day in reference.days:
            of_day = rows.filter(pl.col("date") == day)
            _, user = np.unique(of_day["user_key"].to_numpy(), return_inverse=True)
            unit_rows.append(np.bincount(user))
            cells = [
                user * starts[-1] + start + _bin(of_day[name].to_numpy(), inner)
                for name, inner, start in zip(reference.columns, edges, starts, strict=False)
            ]
            size = len(unit_rows[-1]) * int(starts[-1])
            counts = np.bincount(np.concatenate(cells), minlength=size).astype(np.float32)
            unit_counts.append(counts.reshape(-1, int(starts[-1])))
        total = np.sum([counts.sum(axis=0, dtype=np.float64) for counts in unit_counts], axis=0)
        return Binned(reference.columns, edges, starts, tuple(unit_rows), tuple(unit_counts), total)

    def counts(self, day: pl.DataFrame) -> np.ndarray:
        """Rows of a day in each bin of each column, float64[bins]."""
        by_column = [
            np.bincount(_bin(day[name].to_numpy(), edges), minlength=len(edges) + 2)
            for name, edges in zip(self.columns, self.edges, strict=True)
        ]
        return np.concatenate(by_column).astype(np.float64)

    def distances(self, now: np.ndarray, before: np.ndarray) -> np.ndarray:
        """DISTANCES of counts to counts, [b, bins] each: float64[b, columns, 4].

        Half a row is added to each bin, so that an empty one costs a finite amount.
        """
        widths = np.diff(self.starts)
        p, q = (
            (counts + 0.5) / np.repeat(np.add.reduceat(counts + 0.5, self.starts[:-1], axis=1), widths, axis=1)
            for counts in (np.asarray(before, np.float64), np.asarray(now, np.float64))
        )
        middle = (p + q) / 2
        log_ratio = np.log(q / p)
        shannon = 0.5 * (p * np.log(p / middle) + q * np.log(q / middle))
        parts = ((q - p) * log_ratio, q * log_ratio, shannon)
        psi, kl, js = (np.add.reduceat(part, self.starts[:-1], axis=1) for part in parts)
        chebyshev = np.maximum.reduceat(np.abs(q - p), self.starts[:-1], axis=1)
        return np.stack([psi, kl, chebyshev, np.sqrt(np.maximum(js, 0.0))], axis=2)


def _edges(values: np.ndarray) -> np.ndarray:
    """Inner quantiles of what is known, each value once; and a bin of its own for a value that is half of the rows."""
    known = values[~np.isnan(values)]
    if not len(known):
        return np.zeros(0)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1], method="lower"))
    return np.unique(np.concatenate([edges, np.nextafter(edges, np.inf)]))


def _bin(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Bin of each value: between the edges, the last one for NaN."""
    return np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="right"))
