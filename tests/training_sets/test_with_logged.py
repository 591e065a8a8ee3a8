"""Rows that the service showed keep features and history of the read that they were ranked by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from recsys.cleaned.log import read_log
from recsys.events import DAY_MS, KINDS, key64
from recsys.features.catalog import FEATURES, FINGERPRINT
from recsys.features.history import HISTORY_COLUMNS
from recsys.features.impressions import impression_features
from recsys.features.log import EventLog, no_items
from recsys.lake import Lake
from recsys_assets.defs.training_sets.training_set import with_logged

DAY, NOW = "2024-10-04", 20_000 * DAY_MS
READ = 2  # position at which the service read; the click on "c" came in before its item was seen


def lake_of(home: Path) -> Lake:
    """One user's day: two imported impressions, of which the service showed the second."""
    lake = Lake(home)
    kinds, items = ("click", "impression", "click", "impression"), ("a", "b", "c", "d")
    n = len(kinds)
    columns = {name: pa.array(np.zeros(n, np.int64)) for name in EventLog._fields if name != "kind"} | {
        "position": pa.array(np.arange(1, n + 1)),
        "user_key": pa.array(key64(["u"] * n)),
        "item_key": pa.array(key64(items)),
        "received_at": pa.array(NOW + np.arange(n)),
        "occurred_at": pa.array(NOW + np.arange(n)),
        "kind_code": pa.array([KINDS[kind] for kind in kinds]),
    }
    lake.write(pa.table(columns), lake.day(DAY, "cleaned", "events"))
    shown = {
        "impression_id": ["b", "d"],
        "user_key": key64(["u", "u"]),
        "item_key": key64(["b", "d"]),
        "occurred_at": [NOW + 1, NOW + 3],
        "shelf": ["feed", "feed"],
        "device": pa.nulls(2, pa.string()),
        "slot": pa.array([0, 0], pa.int32()),
    }
    made = impression_features(read_log(lake, through=DAY), no_items(), pa.table(shown))
    lake.write(made, lake.day(DAY, "features", "impressions"))
    return lake


def serve(lake: Lake) -> None:
    row = {"impression_id": "d", "user_id": "u", "fingerprint": FINGERPRINT, "features": [0.5] * len(FEATURES)}
    slates = pl.DataFrame([row | {"position": READ, "as_of": NOW + 2, "slot_seen": 7}])
    lake.write(slates.to_arrow(), lake.day(DAY, "feedback", "slates"))


def rows_of(lake: Lake, history: bool = True) -> pl.DataFrame:
    recomputed = pl.scan_parquet(lake.day(DAY, "features", "impressions"))
    return with_logged(recomputed, lake, history=history).sort("impression_id").collect()


def test_an_event_between_the_logged_read_and_the_impression_is_not_in_its_history(tmp_path: Path) -> None:
    lake, (a, b, c) = lake_of(tmp_path), key64(["a", "b", "c"]).tolist()
    before = rows_of(lake)
    assert before.columns == ["impression_id", *FEATURES, *HISTORY_COLUMNS]
    assert before["history_item_key"].to_list() == [[a], [a, b, c]]
    serve(lake)
    after = rows_of(lake)
    assert after.schema == before.schema and after.row(0) == before.row(0)
    assert after["history_item_key"].to_list() == [[a], [a, b]]
    assert after["history_kind"].to_list() == [[KINDS["click"]], [KINDS["click"], KINDS["impression"]]]
    assert after["slot"].to_list() == [0, 7] and after["user_ctr_24h"][1] == 0.5
    assert rows_of(lake, history=False).equals(after.drop(HISTORY_COLUMNS))
