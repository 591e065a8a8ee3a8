"""What is kept of a user and what a request says of its person move the candidates, and are replayed to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recsys.cleaned import people
from recsys.events import ATTRIBUTE_SCHEMA
from recsys.features.catalog import FEATURES
from recsys.lake import Lake
from recsys.registry import Registry
from recsys.serving import served_log
from recsys.serving.bundle import ServingBundle, load
from recsys.serving.bundles import BundleWatch
from recsys.serving.pipeline import Recommender
from recsys.serving.replay import replay_requests, scene_of
from recsys.serving.scene import Scene
from recsys.serving.schema import BadRequest, Context, RecommendRequest
from recsys.serving.served_log import ServedLog
from recsys.store.online import OnlineStore
from tests.serving.world import World

import pyarrow as pa  # isort: skip


@pytest.fixture
def bundle(world: World, store: OnlineStore, tmp_path) -> ServingBundle:
    """One user said to be of Germany, and from an instant on of France."""
    at, user, lake = world.simulator_end, world.user_ids[9], Lake(tmp_path)
    said = [(user, ["country=de", "plan=free"], 0), (user, ["country=fr", "plan=free"], at)]
    rows = [dict(zip(ATTRIBUTE_SCHEMA.names, row, strict=True)) for row in said]
    versions = people.appended(None, pa.Table.from_pylist(rows, schema=ATTRIBUTE_SCHEMA), 0)
    lake.write(versions, lake.table("raw", "user_attributes"))
    registry = Registry(Lake(world.settings.home).registry)
    return load(registry.champion(), None, store.fingerprint, registry, people=people.people_of(lake))


def near(bundle: ServingBundle, store: OnlineStore, scene: Scene) -> list[int]:
    read = store.read(scene.user_id, [], scene.at)
    ask = scene.ask(store.read(scene.user_id, list(bundle.catalogue.item_id[:1]), scene.at)) if read else None
    return bundle.retriever.propose(ask, 40)["two_tower"].tolist()


def test_words_of_the_request_count_before_words_kept_and_a_change_is_no_rewrite(
    world: World, store: OnlineStore, bundle: ServingBundle
) -> None:
    user, at = world.user_ids[9], world.simulator_end

    def asked(at: int, user: str = user, **context: Any) -> Scene:
        return Scene.of(bundle, RecommendRequest(user_id=user, context=Context(at=at, **context)), at)

    stranger = asked(at, "nobody knows")
    assert not stranger.said.words.any() and not asked(at, consent_of(world)).said.words.any()
    german, french = asked(at - 1), asked(at)
    assert german.said.names[0, :2].tolist() == french.said.names[0, :2].tolist()
    assert set(german.said.words[0]) != set(french.said.words[0])
    told = asked(at - 1, country="FR")
    assert set(told.said.words[0]) == set(french.said.words[0])
    row = store.read("nobody knows", list(bundle.catalogue.item_id[:1]), at)
    hour, country = (FEATURES.index(name) for name in ("hour_of_day", "user_country_bucket"))
    plain, far = (asked(at, "nobody knows", **told).features(row)[0] for told in ({}, {"utc_offset_minutes": -300}))
    assert (plain[hour] - far[hour]) % 24 == 5 and plain[country] == -1.0
    assert len({scene.features(row)[0, country] for scene in (stranger, german, french)}) == 3
    lists = [near(bundle, store, scene) for scene in (stranger, asked(at, "nobody knows", language="de-CH"))]
    assert lists[0] != lists[1] and len(lists[0]) == len(lists[1]) == 40
    assert near(bundle, store, asked(at, "nobody knows", app="of another kind")) == lists[0]  # a word never learned


def consent_of(world: World) -> str:
    return world.user_ids[10]


def test_a_request_with_words_is_answered_again_when_they_are_no_longer_kept(
    world: World, store: OnlineStore, bundle: ServingBundle, tmp_path
) -> None:
    registry = Registry(Lake(world.settings.home).registry)
    watch = BundleWatch(registry, lambda registered: bundle, store.late_items)
    recommender = Recommender(store, watch, ServedLog(tmp_path / "log"))
    for user, context in ((world.user_ids[9], {}), ("a stranger", {"language": "fr"}), ("a stranger", {})):
        recommender.recommend(RecommendRequest(user_id=user, context=Context(at=world.simulator_end, **context)))
    recommender.close()
    served = served_log.read(served_log.segments(tmp_path / "log"))
    said = served.filter(pa.compute.equal(served["slot"], 0))["said"].to_pylist()
    assert [len(words) for words in said] == [6, 3, 0]
    plain = load(registry.champion(), None, store.fingerprint, registry)
    replays = replay_requests(served, store, lambda name: plain)
    assert replays.same == 3 and not replays.different
    assert np.array_equal(scene_of(served.to_pylist()[0], bundle).said.flat(), said[0])


@pytest.mark.parametrize(
    "wrong",
    [{"country": "x" * 65}, {"language": "d\x00e"}, {"app": 5}, {"county": "de"}, {"utc_offset_minutes": 841}],
)
def test_bad_words_are_refused(recommender: Recommender, wrong: dict) -> None:
    with pytest.raises((ValueError, BadRequest)):
        RecommendRequest.model_validate({"user_id": "u", "context": wrong})
