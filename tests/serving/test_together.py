"""A blend whose own odds order, through the door: its slates, their log, a replay, and a look inside."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.features import catalog
from recsys.lake import Lake
from recsys.policy.exploration import Explorer
from recsys.ranking.blend import BlendRanker
from recsys.ranking.ranker import FILE
from recsys.ranking.saved import load_ranker
from recsys.registry import Registry
from recsys.serving import served_log
from recsys.serving.bundle import load
from recsys.serving.replay import replay_requests
from recsys.store.opening import open_store
from tests.serving.running import serving
from tests.serving.world import World


@pytest.fixture(scope="module")
def together(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A home of its own, whose champion is the blend with nobody to order for all."""
    folder, home = tmp_path_factory.mktemp("together"), tmp_path_factory.mktemp("home") / "home"
    shutil.copytree(world.settings.home, home, symlinks=True, ignore=shutil.ignore_patterns("milvus", "served_log"))
    shutil.copytree(world.other.path, folder / "b", ignore=shutil.ignore_patterns("manifest.json"))
    for path in (folder / "b").rglob("*"):
        path.chmod(0o755)
    header = json.loads((folder / "b" / "ranker" / FILE).read_text())
    assert header["orders"] == 2
    (folder / "b" / "ranker" / FILE).write_text(json.dumps({**header, "orders": None}))
    registry = Registry(Lake(home).registry)
    bundle = registry.register(folder / "b", world.other.facts)
    registry.promote(bundle.bundle_id, held=catalog.FINGERPRINT)
    return replace(world, settings=world.settings.model_copy(update={"home": home}), champion=bundle)


def test_slates_stand_by_the_odds_of_all_members(together: World, tmp_path: Path) -> None:
    blend, home = load_ranker(together.champion.path / "ranker"), together.settings.home
    assert isinstance(blend, BlendRanker) and blend.orderer is None and blend.reads is None
    weights = blend.weights["p_long_view"]
    assert blend.teller is blend.members[weights.index(max(weights))]
    with serving(together, tmp_path, RECSYS_EXPLORE="true") as service:
        asked = [{"user_id": user, "k": 8} for user in [*together.user_ids[:12], "nobody ever seen"]]
        asked += [{**one, "shelf": "playlists"} for one in asked[:4]]
        answers = [service.http.post("/recommend", json=one).json() for one in asked]
        assert {answer["rung"] for answer in answers} == {"full"}
        for answer in answers:
            seen = service.http.post("/inspect", json={"request_id": answer["request_id"]}).json()
            assert seen["past"]["same"] is True, seen["past"]
            # the score is what P(long view) is calibrated from: both order all candidates alike
            score, p = (np.array([one[name] for one in seen["candidates"]]) for name in ("score", "p_long_view"))
            assert (np.diff(score) <= 0).all() and (np.diff(p) <= 1e-12).all() and score[0] > score[-1]
            assert all(item["base"] is None and not item["contributions"] for item in seen["items"])
            assert {bool(item["taste"]) for item in seen["items"]} <= {False, blend.teller.name == "factors"}
    folder, registry, store = Lake(home).served_log, Registry(Lake(home).registry), open_store(together.settings)
    rows = served_log.read([path for day in served_log.days(folder) for path in served_log.segments(folder, day)])
    told = replay_requests(
        rows,
        store,
        lambda name: load(registry.get(name), None, store.fingerprint, registry),
        Explorer(registry.secret()),
    )
    store.close()
    assert told.same == len(asked) and not told.different and not told.left_out, str(told)
