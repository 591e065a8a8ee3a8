"""What was served and what came of it: rows to learn from, and the figures by which a bundle is judged in service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from recsys.events import DAY_MS
from recsys.features import sweep
from recsys.features.catalog import FEATURES, FINGERPRINT
from recsys.features.history import HISTORY_COLUMNS
from recsys.features.log import EventLog, names_to_keys

SHOWN_RUNGS: Final = ("full", "no_ranker", "cached", "trending")  # "features" rows were asked for, not shown
OUTCOMES: Final = ("impression_id", "click", "long_view", "watch_ms", "slot", "occurred_at")
# A bundle is worse than the one before when it loses this share of the clicks, and chance would do so once in 1,000.
LARGEST_LOSS: Final = 0.10
CERTAIN: Final = 3.09  # standard errors
LEAST_USERS: Final = 50  # of each bundle
# A bundle is judged by its first days: later the world may have moved, and the bundle before is no witness any more.
PROBATION_MS: Final = 2 * DAY_MS


def joined(served: pl.DataFrame, impressions: pl.DataFrame) -> pl.DataFrame:
    """Every served row that was seen, with its outcome.

    Args:
        served: rows of `served_log.SCHEMA`.
        impressions: cleaned impressions: request_id, item_id and OUTCOMES. An outcome that came later than the cleaning
            is not in it: materialize the day again when its label window is over (the nightly run does, once).

    Returns:
        The served columns (`slot` is the place that was answered, `slot_seen` the one reported), the outcomes, and
        `propensity`: the chance with which the policy put the item there, 1 where it leaves nothing to chance.
    """
    if "propensity" not in served.columns:
        served = served.with_columns(propensity=pl.lit(1.0))
    seen = impressions.select("request_id", "item_id", *OUTCOMES).rename({"slot": "slot_seen"})
    return (
        served.filter(pl.col("rung").is_in(SHOWN_RUNGS))
        .unique(["request_id", "item_id"], keep="first", maintain_order=True)
        .join(seen, on=["request_id", "item_id"], how="inner", maintain_order="left")
    )


def as_features(feedback: pl.DataFrame, log: EventLog | None = None) -> pl.DataFrame:
    """impression_id and the features as they were logged, float32; the slot is the one that was seen.

    Rows of other features (another fingerprint), or served without any, are left out. With a `log` HISTORY_COLUMNS
    follow: as the ranker read them, so without what came in between the answer and the moment it was seen.
    """
    mine = feedback.filter((pl.col("fingerprint") == FINGERPRINT) & pl.col("features").is_not_null())
    width = len(FEATURES)
    matrix = (
        np.stack(mine["features"].to_list()).astype(np.float32) if mine.height else np.zeros((0, width), np.float32)
    )
    columns = {name: matrix[:, FEATURES.index(name)] for name in FEATURES}
    columns["slot"] = mine["slot_seen"].fill_null(-1).cast(pl.Float32).to_numpy()
    found = pl.DataFrame({"impression_id": mine["impression_id"], **columns})
    if log is None:
        return found
    users = names_to_keys(mine.select("user_id").to_arrow()["user_id"])
    history = sweep.histories(log, users, mine["position"].to_numpy(), mine["as_of"].to_numpy())
    lists = pa.table(list(history.lists()), names=list(HISTORY_COLUMNS))
    return found.hstack(pl.DataFrame(lists))


def of_events(events: pl.DataFrame) -> pl.DataFrame:
    """Impressions with their outcomes from events as the service took them: request_id, item_id and OUTCOMES.

    For figures within the hour; what is learned from comes cleaned.
    """
    told = events.filter(pl.col("request_id").is_not_null())
    keys = ["request_id", "item_id"]
    return (
        told.filter(pl.col("kind") == "impression")
        .unique(keys, keep="first", maintain_order=True)
        .select(*keys, "slot", "occurred_at", impression_id="event_id")
        .join(
            told.group_by(keys).agg(
                click=(pl.col("kind") == "click").any().cast(pl.Int8),
                long_view=(pl.col("kind") == "long_view").any().cast(pl.Int8),
                watch_ms=pl.col("watch_ms").fill_null(0).sum(),
            ),
            on=keys,
        )
    )


def by_bundle(feedback: pl.DataFrame) -> pl.DataFrame:
    """One row a day and bundle: impressions, users, ctr, long_view_rate, and p_click, the mean promised."""
    day = pl.from_epoch("served_at", time_unit="ms").dt.strftime("%Y-%m-%d")
    return (
        feedback.group_by(day.alias("day"), "bundle")
        .agg(
            impressions=pl.len(),
            users=pl.col("user_id").n_unique(),
            ctr=pl.col("click").mean(),
            long_view_rate=pl.col("long_view").mean(),
            p_click=pl.col("p_click").mean(),
        )
        .sort("day", "bundle")
    )


@dataclass(frozen=True)
class Comparison:
    """Clicks per impression of a bundle in service, and of the one before it."""

    ctr: float
    before: float
    error: float  # standard error of the difference, users drawn whole
    users: int
    users_before: int

    @property
    def enough(self) -> bool:
        return min(self.users, self.users_before) >= LEAST_USERS

    @property
    def holds(self) -> bool:
        """False only for a loss that is large and certain."""
        lost = self.before - self.ctr
        return not self.enough or lost <= LARGEST_LOSS * self.before or lost <= CERTAIN * self.error

    def __str__(self) -> str:
        if not self.enough:
            return f"{self.users} and {self.users_before} users so far, {LEAST_USERS} of each are needed"
        return (
            f"{self.ctr:.4f} clicks an impression against {self.before:.4f} of the bundle before "
            f"(difference {self.ctr - self.before:+.4f}, standard error {self.error:.4f})"
        )


def compare(feedback: pl.DataFrame, bundle: str, before: str) -> Comparison:
    """The first days of a bundle against the last days of the one before it."""
    its, theirs = (feedback.filter(pl.col("bundle") == name) for name in (bundle, before))
    its = its.filter(pl.col("served_at") < pl.col("served_at").min() + PROBATION_MS)
    theirs = theirs.filter(pl.col("served_at") >= pl.col("served_at").max() - PROBATION_MS)
    (ctr, error, users), (ctr_before, error_before, users_before) = (_rate(rows) for rows in (its, theirs))
    return Comparison(ctr, ctr_before, float(np.hypot(error, error_before)), users, users_before)


def _rate(rows: pl.DataFrame) -> tuple[float, float, int]:
    """Clicks per impression, its standard error by users (ratio estimator), and the number of users."""
    by_user = rows.group_by("user_id").agg(clicks=pl.col("click").sum(), shown=pl.len())
    users, shown = by_user.height, by_user["shown"].to_numpy().astype(np.float64)
    if users < 2:
        return float("nan"), float("nan"), users
    clicks = by_user["clicks"].to_numpy().astype(np.float64)
    rate = clicks.sum() / shown.sum()
    left = clicks - rate * shown
    return float(rate), float(np.sqrt(users / (users - 1) * (left**2).sum()) / shown.sum()), users
