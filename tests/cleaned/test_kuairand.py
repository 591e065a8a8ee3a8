"""The labels that dbt joins are those of the raw files, on the real slice."""

import polars as pl
import pytest

from recsys.events import whole_items, with_event_keys
from recsys.lake import Lake
from recsys.sources.kuairand import KuaiRand
from recsys.sources.source import day_name, day_number
from tests.cleaned.build import build


@pytest.mark.kuairand
@pytest.mark.slow
def test_joined_labels_equal_the_raw_columns(kuairand, tmp_path):
    folder = tmp_path / "data"  # without the history: a million rows that bear no label
    folder.mkdir()
    for path in kuairand.glob("*.csv"):
        (folder / path.name).symlink_to(path)
    source, lake = KuaiRand(folder), Lake(tmp_path / "home")
    days = [day_name(n) for n in range(day_number(source.first_day()), day_number(source.last_day()) + 1)]
    for day in days:
        lake.write(with_event_keys(source.read_day(day).events), lake.day(day, "raw", "events"))
    lake.write(whole_items(source.items()), lake.table("raw", "items"))
    written = build(lake, *days, utc_offset_ms=source.utc_offset_ms)
    joined = pl.DataFrame(pl.from_arrow(lake.read_days(days, "cleaned", "impressions")))
    raw = pl.concat(pl.read_csv(path) for path in kuairand.glob("log_*_pure.csv"))
    # rows that repeat a (user, video, time) are one impression, clicked when any of them says so
    expected = raw.group_by("user_id", "video_id", "time_ms").agg(
        pl.col("is_click", "long_view", "is_like").max(), pl.col("play_time_ms").unique()
    )
    both = joined.with_columns(pl.col("user_id", "item_id").cast(pl.Int64)).join(
        expected,
        left_on=["user_id", "item_id", "occurred_at"],
        right_on=["user_id", "video_id", "time_ms"],
        suffix="_raw",
    )
    assert both.height == joined.height == expected.height == written["impressions"] == 180_022
    assert (both["click"] == both["is_click"]).all()
    assert (both["long_view"] == both["long_view_raw"]).all()
    assert (both["like"] == both["is_like"]).all()
    # seven of these repeat with another time played: two plays that ended at other instants, which add up
    played = pl.col("play_time_ms").list.contains(pl.col("watch_ms"))
    assert both.filter(~played & (pl.col("play_time_ms").list.sum() != pl.col("watch_ms"))).height == 0
    assert both.filter(~played).height == 7
    assert both["click_received_at"].is_not_null().sum() == both["click"].sum()
    assert written["quarantine"] == 0
