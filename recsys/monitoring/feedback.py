"""What was served and what came of it: rows to learn from, and the figures by which a bundle is judged in service."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from recsys.features import sweep
from recsys.features.catalog import FEATURES, FINGERPRINT
from recsys.features.history import HISTORY_COLUMNS
from recsys.features.log import EventLog, names_to_keys

DISCOVERED: Final = 5  # clicks that make an item part of the discoverable corpus
OUTCOME_COLUMNS: Final = ("impression_id", "click", "long_view", "watch_ms", "slot", "occurred_at")


def joined(served: pl.DataFrame, impressions: pl.DataFrame) -> pl.DataFrame:
    """Every served row that was seen, with its outcome.

    Args:
        served: rows of `served_log.SCHEMA`.
        impressions: cleaned impressions: request_id, item_id and OUTCOME_COLUMNS. An outcome that came later than
            the cleaning is not in it: materialize the day again when its label window is over (the nightly run does,
            once).

    Returns:
        The served columns (`slot` is the place that was answered, `slot_seen` the one reported), the outcomes, and
        `propensity`: the chance with which the policy put the item there, 1 where it leaves nothing to chance.
    """
    known = pl.col("propensity") if "propensity" in served.columns else pl.lit(None, pl.Float64)
    served = served.with_columns(propensity=known.fill_null(1.0))  # of before it was kept: nothing explored
    seen = impressions.select("request_id", "item_id", *OUTCOME_COLUMNS).rename({"slot": "slot_seen"})
    return (
        served.filter(pl.col("rung") != "features")  # those rows were asked for, not shown
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
    features = pl.DataFrame({"impression_id": mine["impression_id"], **columns})
    if log is None:
        return features
    users = names_to_keys(mine.select("user_id").to_arrow()["user_id"])
    history = sweep.histories(log, users, mine["position"].to_numpy(), mine["as_of"].to_numpy())
    lists = pa.table(list(history.lists()), names=list(HISTORY_COLUMNS))
    return features.hstack(pl.DataFrame(lists))


def of_events(events: pl.DataFrame) -> pl.DataFrame:
    """Impressions with their outcomes from events as the service took them: request_id, item_id and OUTCOME_COLUMNS.

    For figures within the hour; what is learned from comes cleaned.
    """
    told = events.filter(pl.col("request_id").is_not_null())
    keys = ["request_id", "item_id"]
    return (
        told.filter(pl.col("kind") == "impression")
        .unique(keys, keep="first", maintain_order=True)
        .select(*keys, "slot", "occurred_at", impression_id="event_key")
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


def by_exploration(feedback: pl.DataFrame) -> pl.DataFrame:
    """One row a day: what exploring places were spent on and what they brought, beside the ranked ones.

    explored, of all impressions; items, different ones that were drawn; ctr_explored and ctr_ranked, whose difference
    is what a place costs; discovered, items with DISCOVERED clicks or more that day.
    """
    day = pl.from_epoch("served_at", time_unit="ms").dt.strftime("%Y-%m-%d").alias("day")
    drawn = pl.col("explored").fill_null(False)
    often = feedback.group_by(day, "item_id").agg(clicks=pl.col("click").sum())
    discovered = often.group_by("day").agg(discovered=(pl.col("clicks") >= DISCOVERED).sum())
    return (
        feedback.group_by(day)
        .agg(
            explored=drawn.mean(),
            items=pl.col("item_id").filter(drawn).n_unique(),
            ctr_explored=pl.col("click").filter(drawn).mean(),
            ctr_ranked=pl.col("click").filter(~drawn).mean(),
        )
        .join(discovered, on="day")
        .sort("day")
    )
