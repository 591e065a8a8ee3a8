"""Impressions, features, histories and labels, split by time: what every model learns from and is judged on."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.features.catalog import FEATURES, FINGERPRINT
from recsys.features.history import HISTORY_COLUMNS
from recsys.lake import Lake
from recsys.training_sets.assemble import assemble, with_propensity
from recsys.training_sets.split import PARTS, split_by_date, split_by_hours
from recsys_assets.checks.nothing import nothing
from recsys_assets.content import content
from recsys_assets.resources import Workspace
from recsys_assets.stock import own_source

LEFT_OUT = pa.schema([("date", pa.string()), ("rows", pa.int64())])  # days in no part
SAID = 3  # of them told in words


class HeldOut(dg.Config):
    """What is kept back to judge on: whole days as the settings say, or the last hours of the newest day."""

    hours: int | None = None


@dg.asset(
    deps=["cleaned_events", "impressions", "impression_features", "feedback"],
    kinds={"polars", "parquet"},
    owners=["team:recsys"],
)
def training_set(config: HeldOut, workspace: Workspace) -> dg.MaterializeResult:
    """Train, validation and test rows: the last days are test, the days before them validation, the rest train."""
    settings, lake = workspace.settings, workspace.lake
    offset = own_source(settings).utc_offset_ms
    impressions, features = _scan(lake, "cleaned"), with_logged(_scan(lake, "features"), lake, history=True)
    slates = [pl.scan_parquet(lake.day(day, "feedback", "slates")) for day in lake.days("feedback", "slates")]
    impressions = with_propensity(impressions, slates)
    dates = dict(impressions.group_by("date").len().collect().iter_rows())
    if config.hours is None:
        split = split_by_date(dates, settings.validation_days, settings.test_days)
    else:
        split = split_by_hours(dates, config.hours)
    facts: dict[str, int | str] = {"fingerprint": FINGERPRINT}
    rows = 0
    for part in PARTS:
        made = assemble(impressions, features, FEATURES, split, part, offset)
        rows += lake.write(made.frame.to_arrow(), lake.table("training_sets", part))
        facts |= {f"{part}_rows": made.frame.height, f"{part}_labels_not_known_yet": made.hidden_labels}
        facts |= {f"{part}_days": f"{split.days(part)[0]} to {split.days(part)[-1]}"}
    left_out = {day: dates[day] for day in split.left_out}
    lake.write(pa.table({"date": list(left_out), "rows": list(left_out.values())}, LEFT_OUT), _left_out(lake))
    return dg.MaterializeResult(
        metadata={"dagster/row_count": rows, "left_out": sum(left_out.values()), **facts},
        data_version=content(*(lake.table("training_sets", part) for part in PARTS)),
    )


@dg.asset_check(asset="training_set", blocking=True)
def every_impression_is_in_one_part(workspace: Workspace) -> dg.AssetCheckResult:
    """Train, validation and test rows, and those of days too small to judge on, add up to the cleaned impressions."""
    lake = workspace.lake
    given = sum(_rows(lake.day(day, "cleaned", "impressions")) for day in lake.days("cleaned", "impressions"))
    made = {part: _rows(lake.table("training_sets", part)) for part in PARTS}
    left_out = lake.read(_left_out(lake)).to_pylist()
    if not (given or left_out or any(made.values())):
        return nothing("there is no impression")
    words = "".join(f" + {day['rows']:,} of {day['date']}, too few to judge on" for day in left_out[:SAID])
    words += f" and {len(left_out) - SAID} more such days" if len(left_out) > SAID else ""
    return dg.AssetCheckResult(
        passed=given == sum(made.values()) + sum(day["rows"] for day in left_out),
        description=f"{given:,} impressions = " + " + ".join(f"{rows:,} {part}" for part, rows in made.items()) + words,
        metadata={"impressions": given, **made},
    )


def with_logged(
    recomputed: pl.LazyFrame, lake: Lake, days: Sequence[str] | None = None, *, history: bool = False
) -> pl.LazyFrame:
    """Features of every impression: as logged where the service showed it, else as it could have been served.

    Args:
        recomputed: rows of impression_features
        days: of feedback; None: all
        history: the user's at the same read too, HISTORY_COLUMNS
    """
    from recsys.cleaned.log import read_log
    from recsys.monitoring.feedback import as_features

    columns = ["impression_id", *FEATURES, *(HISTORY_COLUMNS if history else ())]
    days = [day for day in lake.days("feedback", "slates") if days is None or day in days]
    if not days:
        return recomputed.select(columns)
    slates = pl.concat([pl.read_parquet(lake.day(day, "feedback", "slates")) for day in days])
    logged = as_features(slates, read_log(lake, through=days[-1]) if history else None).lazy()
    others = recomputed.join(logged.select("impression_id"), on="impression_id", how="anti")
    return pl.concat([others.select(columns), logged.select(columns)])


def _left_out(lake: Lake) -> Path:
    return lake.table("training_sets", "left_out")


def _scan(lake: Lake, stage: str) -> pl.LazyFrame:
    folder = lake.there(lake.home / "lake" / stage / "impressions")
    return pl.scan_parquet([folder / f"{day}.parquet" for day in lake.days(stage, "impressions")])


def _rows(path: object) -> int:
    return int(pq.read_metadata(path).num_rows)
