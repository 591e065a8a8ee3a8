"""Other people's logs are read whole, what they lack is found, and one of them goes through the whole graph."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from recsys.events import DAY_MS
from recsys.lake import Lake
from recsys.policy.shelves import SHELVES
from recsys.retrieval.milvus_server import stop_milvus
from recsys.serving.opening import open_recommender
from recsys.serving.schema import RecommendRequest
from recsys.settings import Settings
from recsys.sources.derived import Rules
from recsys.sources.files import Files
from recsys.sources.source import day_name
from recsys.training_sets.split import split_by_date
from recsys_assets.content import VERSION, content
from tests.e2e.other_logs import long_and_sparse, open_bandit
from tests.e2e.poor_worlds import KINDS_OF_LOGS, write

ROOT = Path(__file__).parents[2]
BANDIT = Path(__file__).resolve().parents[3] / "shared" / "data" / "open_bandit"
RULES = {
    "plays with watch times": Rules(True, "play"),
    "plays alone": Rules(True, "play"),
    "clicks alone": Rules(),
    "likes alone": Rules(False, "like"),
    "impressions and clicks": Rules(),
    "impressions and plays before 2000": Rules(True, "play"),
    "few users": Rules(True, "play"),
}


@pytest.mark.parametrize("kind", KINDS_OF_LOGS)
def test_every_row_of_a_poor_log_is_an_event_and_what_it_lacks_is_known(kind: str, tmp_path: Path) -> None:
    events = KINDS_OF_LOGS[kind]()
    source = Files(write(tmp_path, events))
    assert source.derives == RULES[kind]
    days = [source.read_day(day) for day in source.days()]
    assert sum(day.rows_kept for day in days) == events.height and not any(day.rejected.num_rows for day in days)
    kinds = {each for day in days for each in day.events["kind"].to_pylist()}
    assert "click" in kinds and ("long_view" in kinds) == ("watch_ms" in events.columns)


def test_a_sparse_log_of_months_has_days_to_judge_on(tmp_path: Path) -> None:
    source = Files(long_and_sparse(tmp_path, share=0.1))
    split = split_by_date(source.days(), validation_days=2, test_days=3)
    rows = source.days()
    assert min(rows[day] for day in (*split.validation, *split.test)) >= 0.01 * sorted(rows.values())[len(rows) // 2]
    assert len(split.train) > 100


@pytest.mark.skipif(not BANDIT.is_dir(), reason="the open bandit data is not there")
def test_the_open_bandit_data_is_read_whole(tmp_path: Path) -> None:
    folders = open_bandit(BANDIT, tmp_path)
    assert len(folders) == 4
    for folder in folders:
        source = Files(folder)
        days = [source.read_day(day) for day in source.days()]
        kinds = [kind for day in days for kind in day.events["kind"].to_pylist()]
        assert kinds.count("impression") == 10_000 and 0 < kinds.count("click") < 200
        assert not any(day.rejected.num_rows for day in days) and source.derives == Rules()


@pytest.mark.slow
@pytest.mark.timeout(1600)  # it takes some minutes of an idle machine
def test_plays_of_months_end_in_a_champion_that_answers_every_shelf_and_a_later_day_is_taken_in(tmp_path: Path) -> None:
    """A folder of plays alone goes through the commands of a person: run, ask, take in what came since.

    Items that were served are retagged meanwhile: every served row and request replays to its bytes all the same.
    """
    folder, home = long_and_sparse(tmp_path / "data", share=0.1), tmp_path / "home"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}
    environment = {**plain, "RECSYS_DATA": str(folder), "RECSYS_HOME": str(home)}

    def command(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
        return done.stdout

    said = command("recsys_assets.run")
    assert "no impressions: every first engagement implies one" in said and "make serve" in said
    assert "have_impressions on cleaned_events failed" not in said, "nothing to look at is no failure"
    recommender = open_recommender(Settings(home=home, source="files", data=folder), follow=False)
    try:
        answers = {
            (shelf, user): recommender.recommend(RecommendRequest(user_id=user, shelf=shelf, k=5))
            for shelf in SHELVES
            for user in ("u1", "a stranger")
        }
    finally:
        recommender.close()
    assert {answer.rung for answer in answers.values()} == {"full"}
    # the log has videos alone, and shortcuts are what a person knows
    shown = {asked for asked, answer in answers.items() if answer.items}
    assert shown == {("feed", "u1"), ("feed", "a stranger"), ("shortcuts", "u1")}
    served = {str(item.item_id) for answer in answers.values() for item in answer.items}
    catalogue = pl.read_parquet(folder / "items.parquet")
    retagged = pl.col("item_id").is_in(sorted(served))
    catalogue.with_columns(
        category=pl.when(retagged).then(pl.lit("another topic")).otherwise("category"),
        duration_ms=pl.when(retagged).then(pl.col("duration_ms") * 2).otherwise("duration_ms"),
    ).write_parquet(folder / "items.parquet")
    path = folder / "events.parquet"
    events = pl.read_parquet(path)
    last = pl.col("occurred_at").max() // DAY_MS
    newest = events.filter(pl.col("occurred_at") // DAY_MS == last).with_columns(pl.col("occurred_at") + DAY_MS)
    pl.concat([events, newest]).write_parquet(path)
    day = day_name(int(newest["occurred_at"][0]) // DAY_MS)
    command("recsys_assets.stock")  # as the tick of the nightly schedule does, whose job follows
    environment["DAGSTER_HOME"] = str(home / "dagster")
    job = ["dagster", "job", "execute", "-m", "recsys_assets.definitions", "-j", "observe"]
    ends = {f"dagster/asset_partition_range_{end}": day for end in ("start", "end")}
    command(*job, "--tags", json.dumps(ends))
    stop_milvus(Settings(home=home))  # one that a job starts goes on beyond it
    features = Lake(home).day(day, "features", "impressions")
    assert pl.scan_parquet(features).select(pl.len()).collect().item() >= newest.height
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        for asset, table in {"cleaned_events": "cleaned", "impression_features": "features"}.items():
            told = instance.get_latest_materialization_event(dg.AssetKey(asset)).asset_materialization
            path = Lake(home).day(day, table, "events" if table == "cleaned" else "impressions")
            assert (told.partition, told.tags[VERSION]) == (day, content(path).value)
    checks = {check: evaluation(home, asset, check) for asset, check in PROOFS}
    assert {name: proof.description for name, proof in checks.items() if not proof.passed} == {}
    # those three (an empty slate logs nothing), and the three that the run shows
    assert checks["request_replay"].metadata["requests"].value == len(shown) + 3 == 6


# of the bytes, after items that were served have changed
PROOFS = (("impression_features", "parity"), ("online_state", "replay"), ("online_state", "request_replay"))


def evaluation(home: Path, asset: str, check: str) -> dg.AssetCheckEvaluation:
    """What a check of that home last found."""
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        key = dg.AssetCheckKey(dg.AssetKey(asset), check)
        record = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    assert record.event is not None and record.event.dagster_event is not None
    return record.event.dagster_event.asset_check_evaluation_data
