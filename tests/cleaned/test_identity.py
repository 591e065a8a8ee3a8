"""What is a duplicate, and what only bears an id that was used before: from files on disk to labels and checks."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl
import pytest

from recsys.events import DAY_MS, HOUR_MS
from recsys.lake import Lake
from recsys_assets.checks.nothing import has_failed

DAYS = ("2026-11-02", "2026-11-03", "2026-11-04")
START = 1_793_577_600_000  # 2026-11-02 00:00 UTC
ITEMS = [{"item_id": 5000 + i, "item_type": "video", "category": f"topic{i % 3}"} for i in range(20)]


def log() -> list[dict[str, Any]]:
    """Impressions with clicks and plays, each with an id of its own."""
    rng = random.Random(4)
    rows = []
    for day in range(len(DAYS)):
        for user in range(901, 909):
            at = START + day * DAY_MS + rng.randrange(20 * HOUR_MS)
            for slot, item in enumerate(rng.sample(ITEMS, 5)):
                shown = f"e{len(rows)}"
                common = {"user_id": user, "item_id": item["item_id"], "shelf": "feed", "request_id": f"{day}-{user}"}
                rows.append(common | {"event_id": shown, "kind": "impression", "occurred_at": at + slot, "slot": slot})
                if rng.random() < 0.4:
                    said = common | {"impression_id": shown, "occurred_at": at + 4000 + slot}
                    rows.append(said | {"event_id": f"{shown}c", "kind": "click"})
                    rows.append(said | {"event_id": f"{shown}p", "kind": "play", "watch_ms": 9000})
    return sorted(rows, key=lambda row: row["occurred_at"])


def counted_by(rows: list[dict[str, Any]], group: Any) -> list[dict[str, Any]]:
    """The same log, its ids counters that begin anew in each group."""
    counters: dict[Any, int] = {}
    names = {}
    for row in rows:
        counters[group(row)] = counters.get(group(row), 0) + 1
        names[row["event_id"]] = str(counters[group(row)])
    return [row | {name: names[row[name]] for name in ("event_id", "impression_id") if name in row} for row in rows]


def shared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Whatever came of an impression bears its id."""
    return [row | {"event_id": row.get("impression_id", row["event_id"])} for row in rows]


def shared_alone(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As `shared`, and nothing names an impression beside it."""
    return [{name: value for name, value in row.items() if name != "impression_id"} for row in shared(rows)]


def delivered_again(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every third row twice: later on, on the next day for some, its columns in another order."""
    again = [dict(reversed(row.items())) for row in rows[::3]]
    late = [row | {"received_at": row["occurred_at"] + (n % 2) * DAY_MS + 60_000} for n, row in enumerate(again)]
    return [*rows, *(row for row in late if row["received_at"] < START + len(DAYS) * DAY_MS)]


VARIANTS = {
    "as it is": lambda rows: rows,
    "ids restart daily": lambda rows: counted_by(rows, lambda row: row["occurred_at"] // DAY_MS),
    "ids restart hourly": lambda rows: counted_by(rows, lambda row: row["occurred_at"] // HOUR_MS),
    "ids restart on each device": lambda rows: counted_by(rows, lambda row: row["user_id"]),
    "outcomes bear the impression's id": shared,
    "and name no impression": shared_alone,
    "delivered again": delivered_again,
    "ids restart daily, delivered again": lambda rows: delivered_again(
        counted_by(rows, lambda row: row["occurred_at"] // DAY_MS)
    ),
}


def users_of(variant: str) -> range:
    first = 1000 * (1 + list(VARIANTS).index(variant))
    return range(first, first + 1000)


def rows_of(variant: str) -> list[dict[str, Any]]:
    """The variant of the log, by users of its own: the ids of all variants meet in one log."""
    return [row | {"user_id": users_of(variant)[row["user_id"] - 901]} for row in VARIANTS[variant](log())]


@pytest.fixture(scope="module")
def taken_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lake, dict[str, Any]]]:
    root = tmp_path_factory.mktemp("identity")
    data = root / "data"
    data.mkdir()
    rows = [row for variant in VARIANTS for row in rows_of(variant)]
    random.Random(5).shuffle(rows)
    (data / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (data / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ITEMS))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"HOME": root / "home", "SOURCE": "files", "DATA": data}.items():
            patch.setenv(f"RECSYS_{name}", str(value))
        result = run()
        assert result.success
        yield Lake(root / "home"), {check.check_name: check for check in result.get_asset_check_evaluations()}


def run() -> dg.ExecuteInProcessResult:
    from recsys_assets.defs.borders import shares
    from recsys_assets.defs.cleaned import tables
    from recsys_assets.defs.ingestion import raw
    from recsys_assets.partitions import days
    from recsys_assets.resources import Workspace

    getattr(days, "cache_clear", lambda: None)()  # of another test's source
    defs = dg.Definitions(
        assets=dg.load_assets_from_modules([raw, tables]),
        asset_checks=dg.load_asset_checks_from_modules([shares]),
        resources={"workspace": Workspace()},
    )
    tags = {"dagster/asset_partition_range_start": DAYS[0], "dagster/asset_partition_range_end": DAYS[-1]}
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def table(lake: Lake, name: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(lake.day(day, "cleaned", name)) for day in DAYS])


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_event_is_kept_once_and_each_click_has_its_label(
    taken_in: tuple[Lake, dict[str, Any]], variant: str
) -> None:
    lake, _ = taken_in
    rows = log()
    mine = pl.col("user_id").cast(pl.Int64).is_in(list(users_of(variant)))
    events, impressions, duplicates = (table(lake, n).filter(mine) for n in ("events", "impressions", "duplicates"))
    assert events.height == len(rows)
    assert duplicates.height == len(rows_of(variant)) - len(rows)
    offset = users_of(variant)[0] - 901
    clicks = {(row["user_id"] + offset, row["item_id"], row["request_id"]) for row in rows if row["kind"] == "click"}
    told = impressions.filter(pl.col("click") == 1).select("user_id", "item_id", "request_id").rows()
    assert {(int(user), int(item), request) for user, item, request in told} == clicks and len(told) == len(clicks)
    assert impressions["watch_ms"].sum() == 9000 * len(clicks)


def test_ids_used_again_are_told_and_nothing_is_multiplied(taken_in: tuple[Lake, dict[str, Any]]) -> None:
    lake, checks = taken_in
    impressions = table(lake, "impressions")
    assert impressions["impression_id"].n_unique() == impressions.height and table(lake, "quarantine").height == 0
    reuse = checks["event_ids_are_used_once"]
    assert not reuse.passed and reuse.severity == dg.AssetCheckSeverity.WARN
    assert reuse.description and re.search(r"[1-9]\d* of [\d,]+ events bear an event_id", reuse.description)
    assert "; event_id " in reuse.description
    assert checks["deliveries_are_rarely_doubled"].passed
    assert checks["outcomes_have_impressions"].passed and checks["items_are_in_the_catalogue"].passed
    assert not has_failed(checks["days_have_positives"])  # of the first days it cannot tell
