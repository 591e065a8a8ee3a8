"""Cleaned impressions, their point-in-time features and histories, joined into the rows that models learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from recsys.features.history import HISTORY_COLUMNS
from recsys.training_sets.split import Part, Split

# label -> the cleaned column that says when it was known
KNOWN_AT: Final = {
    "click": "click_received_at",
    "long_view": "long_view_received_at",
    "like": "outcome_received_at",
    "watch_ms": "outcome_received_at",
}
LABELS: Final = tuple(KNOWN_AT)
KEYS: Final = (
    "impression_id",
    "position",
    "request_id",
    "user_id",
    "item_id",
    "user_key",
    "item_key",
    "category_key",
    "creator_key",
    "occurred_at",
    "date",
    "shelf",
    "device",
    "sampling_rate",  # null: the log says that it was shown (keyed.IMPRESSION_SCHEMA)
    "propensity",  # the chance with which the service put the item there; 1 where nothing was left to chance
)  # the slot is a feature


class AssembleError(ValueError):
    """Impressions and features do not fit together; the message says which rows and what to materialize."""


@dataclass(frozen=True)
class Assembled:
    """One part of the split: its rows, and how many of their labels were not known yet at its end."""

    frame: pl.DataFrame
    hidden_labels: int


def with_propensity(impressions: pl.LazyFrame, slates: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
    """Cleaned impressions with `propensity`.

    Args:
        slates: what was served and seen (`monitoring.feedback.joined`), day by day; other surfaces leave no chance.
    """
    if not slates:
        return impressions.with_columns(propensity=pl.lit(1.0))
    chances = pl.concat([rows.select("impression_id", "propensity") for rows in slates])
    drawn = chances.filter(pl.col("propensity") != 1).unique("impression_id")  # most rows were certain
    return impressions.join(drawn, on="impression_id", how="left").with_columns(pl.col("propensity").fill_null(1.0))


def assemble(
    impressions: pl.LazyFrame,
    features: pl.LazyFrame,
    names: Sequence[str],
    split: Split,
    part: Part,
    utc_offset_ms: int,
) -> Assembled:
    """Rows of one part in the order of the log, columns KEYS + LABELS + `names` (float32) + HISTORY_COLUMNS.

    A label counts only what the log had received when the part ended: an impression of the last training evening
    that was clicked, and whose click came in after midnight, is one without a click, as it was on that night.

    Args:
        impressions: cleaned impressions `with_propensity`, one row an `impression_id`.
        features: one row an `impression_id`, with the columns `names` and HISTORY_COLUMNS.

    Raises:
        AssembleError: when an impression of the part has no feature row, or several, or a chance that cannot be.
    """
    end = split.ends_at(part, utc_offset_ms)
    late = {label: (pl.col(known).fill_null(0) >= end) & (pl.col(label) > 0) for label, known in KNOWN_AT.items()}
    seen = {label: pl.when(hidden).then(0).otherwise(pl.col(label)).cast(pl.Int64) for label, hidden in late.items()}
    shown = (
        impressions.filter(pl.col("date").is_in(list(split.days(part))), _within(split, part, utc_offset_ms))
        .with_columns(is_hidden=pl.any_horizontal(late.values()), **seen)
        .with_columns(pl.col("click", "long_view", "like").cast(pl.Int8))
        .select(*KEYS, *LABELS, "is_hidden")
        .collect()
    )
    chance = shown["propensity"].to_numpy()
    if not ((chance > 0) & (chance <= 1)).all():
        raise AssembleError(
            f"rows of {part} were served with chances of {chance.min()} to {chance.max()}, and none can be so: restore "
            "the served log, and materialize feedback of its days again"
        )
    joined = (
        shown.lazy()
        .join(
            features.select(
                "impression_id", *(pl.col(name).cast(pl.Float32) for name in names), *HISTORY_COLUMNS, has_features=True
            ),
            on="impression_id",
            how="left",
        )
        .sort("position", "impression_id")  # an impression that a play implies, and its negatives, share a position
        .collect()
    )
    if joined.height > shown.height:
        raise AssembleError(
            f"{joined.height - shown.height} impressions of {part} have more than one feature row: "
            "materialize impression_features again"
        )
    missing = joined.filter(pl.col("has_features").is_null())
    if missing.height:
        days = missing["date"].unique().sort().to_list()
        raise AssembleError(
            f"{missing.height} impressions of {part} have no features (first day {days[0]}): "
            "materialize impression_features for those days"
        )
    return Assembled(joined.select(*KEYS, *LABELS, *names, *HISTORY_COLUMNS), int(joined["is_hidden"].sum()))


def _within(split: Split, part: Part, utc_offset_ms: int) -> pl.Expr:
    """The instants of a part of a split inside the day; everything where whole days decide."""
    if split.hours is None:
        return pl.lit(True)
    shown = pl.col("occurred_at")
    train_end, validation_end = split.ends_at("train", utc_offset_ms), split.ends_at("validation", utc_offset_ms)
    if part == "train":
        return (pl.col("date") != split.test[-1]) | (shown < train_end)
    return (shown >= validation_end) if part == "test" else (shown >= train_end) & (shown < validation_end)
