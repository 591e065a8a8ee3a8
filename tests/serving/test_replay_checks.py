"""The checks `replay` and `request_replay`, as Dagster calls them: each says how much it looked at."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from recsys.lake import Lake
from recsys.serving import served_log
from recsys.serving.bundles import Fixed
from recsys.serving.pipeline import Recommender
from recsys.serving.schema import Context, FeaturesRequest, RecommendRequest
from recsys.serving.served_log import Served, ServedLog
from recsys.store.opening import open_store
from recsys_assets.checks.nothing import MARK
from recsys_assets.defs.features.online_state import replay, request_replay
from recsys_assets.resources import Workspace
from tests.serving.world import World


@pytest.fixture
def lake(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    left_out = shutil.ignore_patterns("served_log", "milvus", "staging", "rankers")
    home = Path(shutil.copytree(world.settings.home, tmp_path / "home", symlinks=True, ignore=left_out))
    monkeypatch.setenv("RECSYS_HOME", str(home))
    return Lake(home)


def serve(lake: Lake, world: World, recommender: Recommender, bundle_id: str | None = None) -> None:
    """One slate of five and the features of one item, perhaps by a bundle that is gone since."""
    store = open_store(world.settings.model_copy(update={"home": lake.home}))
    bundle = recommender._bundles.current
    ours = Recommender(store, Fixed(bundle), ServedLog(lake.served_log))
    ours.recommend(RecommendRequest(user_id=world.user_ids[0], k=5, context=Context(at=world.simulator_end)))
    ours.features(FeaturesRequest(user_id=world.user_ids[0], item_ids=world.item_ids[:1]))
    ours.close()
    store.close()
    if bundle_id is not None:
        shutil.rmtree(lake.registry / "bundles" / bundle_id)


def test_nothing_served_is_nothing_to_check(lake: Lake) -> None:
    for check in (replay, request_replay):
        checked = check(Workspace())
        assert (
            not checked.passed and MARK in checked.metadata and "served with these features yet" in checked.description
        )
    assert "(0 of 0 served rows)" in replay(Workspace()).description


def test_what_was_served_is_counted_and_so_is_what_cannot_be_looked_at(
    lake: Lake, world: World, recommender: Recommender
) -> None:
    serve(lake, world, recommender)
    assert replay(Workspace()).passed and "(6 of 6 served rows)" in replay(Workspace()).description
    assert request_replay(Workspace()).description == "0 of 1 requests differ"
    log = ServedLog(lake.served_log)
    log.append(
        Served("r", 1, "u", "feed", "feed", None, "b", "full", 1, 1, "of others", ["i"], [0], ["fresh"], [0.0], [None],
               [None], None)
    )  # fmt: skip
    log.close()
    checked = replay(Workspace())
    assert checked.passed and checked.metadata["rows"].value == 6 and checked.metadata["served"].value == 7
    assert "(6 of 7 served rows, the others are of other features or bear none)" in checked.description


def test_when_every_request_is_left_out_the_check_says_why(lake: Lake, world: World, recommender: Recommender) -> None:
    serve(lake, world, recommender, recommender._bundles.current.bundle_id)
    assert served_log.read(served_log.segments(lake.served_log)).num_rows == 6
    checked = request_replay(Workspace())
    assert not checked.passed and MARK in checked.metadata and checked.metadata["left_out"].value == 1
    assert checked.description.startswith(
        "no request was answered again: all 1 that were looked at were left out (1: no bundle"
    )
