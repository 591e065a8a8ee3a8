"""Compares one day with the data that the champion learned from. It asks four things: have columns moved, are
predictions as good as they were, do clicks come as often as predicted, and are features missing that used to be known?

Features are one family of tests, and outcomes (predictions and their errors) another; each has half the rate of false
alarms. When tastes turn, the errors show it on the first day, while features that count a week have hardly moved.

A new champion shows other items than the last one. On its own slates it predicts more clicks than on the log that it
learned from (+13 % on the simulator). So its first days of service raise no alarm. Later days are compared with them:
predictions with them alone, features with them and the training days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl
from scipy import special

from recsys.features.catalog import DEFAULTS, FEATURE_DEFINITIONS
from recsys.monitoring.drift import DISTANCES, FALSE_ALARMS, Drift, DriftError, both, drift
from recsys.monitoring.reference import ASKED, KEYS, Reference, known_shares, stationary, watched
from recsys.ranking.ranker import PREDICTIONS, Ranker
from recsys.training_sets.inputs import Inputs

CTR_BOUND: Final = 0.10  # of the mean predicted CTR, either way
OFF: Final = 0.20  # of the predicted rate: what happens less or more often than predicted by this much is looked at
LEAST_DAYS: Final = 5  # of a reference that tell how far one day's rate strays
COMPLETE: Final = 0.95
ALWAYS_KNOWN: Final = 0.99  # share of the reference's rows that know a feature: others are often unknown by right
TOLD: Final = 15  # columns of the table
SETTLING: Final = 2  # days of service of a new champion
MEASURED: Final = (*PREDICTIONS, "click_error", "long_view_error", "watch_error")


@dataclass(frozen=True)
class Claim:
    """Does it hold, and in which words."""

    holds: bool
    words: str


@dataclass(frozen=True)
class Day:
    """What was found of one day."""

    drift: Drift
    mean_predicted_ctr: float
    ctr: Claim
    level: Claim  # what happened against what was predicted
    complete: Claim
    judged: Reference  # the columns that were held against each other
    rows: pl.DataFrame

    @property
    def holds(self) -> bool:
        """No column has moved, and what happened is what was predicted."""
        return self.drift.holds and self.level.holds

    @property
    def words(self) -> str:
        return str(self.drift) if self.level.holds else f"{self.drift}; {self.level.words}"

    @property
    def table(self) -> str:
        """The columns that moved most, with every distance and its bound, as Markdown."""
        lines = ["| column | of its bound | " + " | ".join(f"{name} (bound)" for name in DISTANCES) + " |"]
        lines.append("| --- | --- |" + " --- |" * len(DISTANCES))
        for moved in self.drift.columns[:TOLD]:
            cells = " | ".join(f"{moved.distance[name]:.4f} ({moved.bound[name]:.4f})" for name in DISTANCES)
            name = f"**{moved.column}**" if moved.drifted else moved.column
            lines.append(f"| {name} | {moved.excess:.2f} | {cells} |")
        return "\n".join(lines)


def predicted(rows: pl.DataFrame, ranker: Ranker) -> pl.DataFrame:
    """Rows (ASKED, features and labels) with what the ranker predicts for them, and how far it was off, less ASKED."""
    scored = rows.drop(ASKED).with_columns(**ranker.predict(Inputs.of(rows, ranker.feature_names)).columns())
    return scored.with_columns(
        click_error=pl.col("click") - pl.col("p_click"),
        long_view_error=pl.col("long_view") - pl.col("p_long_view"),
        watch_error=pl.col("watch_ms") / 1000 - pl.col("watch_seconds"),
    )


def look(learned: Reference, rows: pl.DataFrame, ranker: Ranker, settled: pl.DataFrame | None = None) -> Day:
    """Hold the rows of a day against a reference made by `predicted` of the same ranker.

    Args:
        learned: rows of `predicted`.
        rows: KEYS, ASKED, LABELS and features.
        settled: rows of the days in which the champion settled, as `rows`; None where it does not serve.

    Raises:
        DriftError: the day or the reference is too small, or of other features.
    """
    if missing := [name for name in MEASURED if name not in learned.columns]:
        raise DriftError(f"the reference lacks {missing[:3]}, it is of an earlier version: train again")
    features = [name for name in stationary(FEATURE_DEFINITIONS) if name in learned.columns]
    today = watched(predicted(rows, ranker), learned.columns)
    # both rounded alike: a prediction that is the same for all would else move by its last digits
    own = watched(learned.rows if settled is None else predicted(settled, ranker), learned.columns)
    outcomes = [name for name in MEASURED if own[name].is_finite().any()]  # the others were not learned
    judged = own.select(*KEYS, *features, *outcomes)
    if settled is not None:
        judged = pl.concat([learned.rows.select(*KEYS, *features), judged], how="diagonal")
    half = FALSE_ALARMS / 2
    moved = both(
        drift(Reference(judged.select(*KEYS, *features)), today, false_alarms=half),
        drift(Reference(own.select(*KEYS, *outcomes)), today, false_alarms=half),
    )
    told, rate = ("p_click", "CTR") if "p_click" in outcomes else ("p_long_view", "long-view rate")
    mean, history = (float(table[told].to_numpy().mean()) for table in (today, own))
    away = mean / history - 1
    words = f"mean predicted {rate} {mean:.4f}, {away:+.1%} of its history ({history:.4f})"
    ctr = Claim(abs(away) <= CTR_BOUND, words)
    return Day(moved, mean, ctr, _level(own, today, half), _complete(learned, today), Reference(judged), today)


def _level(own: pl.DataFrame, today: pl.DataFrame, false_alarms: float) -> Claim:
    """Clicks and long views of a day over what was predicted, against the same of the reference's days.

    A day is off when it strays further than OFF and than the prediction interval of one more such day (Student's t on
    the days' ratios): a distance between distributions of errors hardly sees a loss of 30 % of the clicks.
    """
    labels = {"click": "clicks", "long_view": "long views"}
    told, holds = [], True
    for label, words in labels.items():
        if f"{label}_error" not in own.columns or not own[f"{label}_error"].is_finite().any():
            continue
        ratio = ((pl.col(f"{label}_error").sum() / pl.col(f"p_{label}").sum()) + 1).alias("ratio")
        usual = own.group_by("date").agg(ratio)["ratio"].to_numpy()
        actual = float(today.select(ratio).item())
        n = len(usual)
        if n < LEAST_DAYS:
            return Claim(True, f"{n} days of predictions are too few to say how far a day strays")
        quantile = float(special.stdtrit(n - 1, 1 - false_alarms / (2 * len(labels))))
        bound = max(OFF, quantile * float(usual.std(ddof=1)) * (1 + 1 / n) ** 0.5)
        away = actual / float(usual.mean()) - 1
        holds &= abs(away) <= bound
        told.append(f"{words} {away:+.0%} against what was predicted (bound {bound:.0%})")
    return Claim(holds, ", ".join(told))


def _complete(learned: Reference, today: pl.DataFrame) -> Claim:
    usual = known_shares(learned.rows, DEFAULTS)
    always = {name: DEFAULTS[name] for name, share in usual.items() if share >= ALWAYS_KNOWN}
    known = known_shares(today, always)
    lacking = sorted((share, name) for name, share in known.items() if share < COMPLETE)
    if not lacking:
        return Claim(True, f"{len(always)} features that were always known are known in {COMPLETE:.0%} of rows or more")
    worst = ", ".join(f"{name} {share:.1%}" for share, name in lacking[:4])
    return Claim(False, f"{len(lacking)} features are known in less than {COMPLETE:.0%} of the rows: {worst}")
