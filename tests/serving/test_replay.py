"""A logged request is answered again: the same items, order, scores and features, to the bit."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from recsys.events import HOUR_MS, ITEM_SCHEMA, key64
from recsys.lake import Lake
from recsys.policy.exploration import RANKED, Exploration, Explorer
from recsys.policy.shelves import SHELVES
from recsys.policy.spread import Spread
from recsys.registry import Registry
from recsys.serving import served_log
from recsys.serving.bundle import BundleRefused, ServingBundle, load
from recsys.serving.bundles import BundleWatch, Fixed
from recsys.serving.foreseen import foreseen, words
from recsys.serving.pipeline import Recommender
from recsys.serving.replay import replay_requests
from recsys.serving.schema import Blocked, Context, EventsRequest, RecommendRequest
from recsys.serving.served_log import ServedLog
from recsys.store.online import OnlineStore
from recsys.store.opening import open_store
from tests.serving.world import World

EXPLORER = Explorer(b"secret of these tests")


@pytest.fixture(scope="module")
def home(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: other tests share the world, and this one adds items to it."""
    return Path(shutil.copytree(world.settings.home, tmp_path_factory.mktemp("replay") / "home", symlinks=True))


@pytest.fixture(scope="module")
def store(world: World, home: Path) -> Iterator[OnlineStore]:
    opened = open_store(world.settings.model_copy(update={"home": home}))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def bundle_of(home: Path, store: OnlineStore) -> Callable[[str], ServingBundle]:
    registry = Registry(home / "registry")
    return lambda name: load(registry.get(name), None, store.fingerprint, registry)


@pytest.fixture(scope="module")
def served(world: World, home: Path, store: OnlineStore, bundle_of: Callable[[str], ServingBundle]) -> pa.Table:
    """Slates on every shelf, with events, a new item and a blocked one in between, by a bundle that takes it up."""
    registry = Registry(home / "registry")
    watch = BundleWatch(registry, lambda registered: bundle_of(registered.bundle_id), store.late_items)
    folder = home / "requests"
    at = world.simulator_end
    recommender = Recommender(store, watch, ServedLog(folder), explorer=EXPLORER, clock=lambda: at)
    for n, (user, shelf) in enumerate(itertools.product(world.user_ids[:5], SHELVES)):
        recommender.recommend(
            RecommendRequest(
                user_id=user,
                shelf=shelf,
                k=4 + n,
                context=Context(at=at - n * HOUR_MS if n % 3 else None, device=["ios", None][n % 2]),
                blocked=Blocked(item_ids=world.item_ids[: n % 3]),
            )
        )
        clicks = [{"kind": "click", "user_id": user, "item_id": item, "shelf": shelf} for item in world.item_ids[n::40]]
        recommender.record_events(EventsRequest(events=clicks))
        if n == 7:
            item = world.simulator.items().to_pylist()[0] | {"item_id": "brand new", "published_at": at}
            store.put_items(pa.Table.from_pylist([item], schema=ITEM_SCHEMA), at)
            assert watch.look() and watch.current.late_records == store.late_items()[0] > 0
    recommender.close()
    return served_log.read(served_log.segments(folder))


def test_every_request_is_the_same_again(
    served: pa.Table, store: OnlineStore, bundle_of: Callable[[str], ServingBundle]
) -> None:
    replays = replay_requests(served, store, bundle_of, EXPLORER)
    requests = len(set(served["request_id"].to_pylist()))
    assert (replays.same, replays.different, replays.left_out) == (requests, {}, {}), str(replays)
    assert replay_requests(served, store, bundle_of, EXPLORER, latest=3).same == 3


def test_what_was_left_to_chance_is_logged_as_such_and_needs_its_policy_to_be_drawn_again(
    served: pa.Table, store: OnlineStore, bundle_of: Callable[[str], ServingBundle]
) -> None:
    rows = served.to_pylist()
    explored = [row for row in rows if row["explored"]]
    assert 3 < len(explored) < 0.15 * len(rows)
    assert all(0 < row["propensity"] < 1 < row["pool_size"] for row in explored)
    assert {row["propensity"] for row in rows if not row["explored"]} == {1.0}
    assert {row["policy"] for row in rows} == {RANKED, Exploration().policy}  # shortcuts leave nothing to chance
    without = replay_requests(served, store, bundle_of)
    assert not without.different and "which shelf feed has no more" in str(list(without.left_out.values()))
    other = replay_requests(served, store, bundle_of, Explorer(b"another secret"))
    assert set(other.different) & {row["request_id"] for row in explored}


@pytest.mark.parametrize("name", ["score", "item_id", "features", "watch_seconds", "propensity"])
def test_one_changed_value_is_found(
    name: str, served: pa.Table, store: OnlineStore, bundle_of: Callable[[str], ServingBundle]
) -> None:
    rows = served.to_pylist()
    if name == "features":
        rows[0][name][3] = float(np.nextafter(np.float32(rows[0][name][3]), np.float32(9)))
    elif name == "item_id":
        rows[0][name], rows[1][name] = rows[1][name], rows[0][name]
    else:
        rows[0][name] = float(np.nextafter(rows[0][name], 9.0))
    changed = pa.Table.from_pylist(rows, schema=served.schema)
    replays = replay_requests(changed, store, bundle_of, EXPLORER)
    assert list(replays.different) == [rows[0]["request_id"]]


def test_a_request_of_a_bundle_that_is_gone_is_left_out_and_said(served: pa.Table, store: OnlineStore) -> None:
    def gone(name: str) -> ServingBundle:
        raise BundleRefused(f"bundle {name} is gone")

    replays = replay_requests(served, store, gone, latest=2)
    assert replays.same == 0 and set(replays.left_out.values()) == {f"bundle {served['bundle'][0]} is gone"}


def test_a_challenger_is_estimated_from_what_the_champion_drew_and_refused_where_that_is_too_little(
    world: World,
    home: Path,
    store: OnlineStore,
    bundle_of: Callable[[str], ServingBundle],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the asset, from a served log on disk and events in the store; and by what it calls."""
    from recsys_assets.defs.monitoring.foreseen import foreseen as asset
    from recsys_assets.resources import Workspace

    spread = Spread(damping=0.3, likeness=0.5, mix=0.5, reach=4)
    drawing = replace(SHELVES["feed"], explores=Exploration(share=0.8, pool=3), spread=spread)
    monkeypatch.setitem(SHELVES, "feed", drawing)  # type: ignore[arg-type]
    monkeypatch.setenv("RECSYS_HOME", str(home))
    champion, other, at = *map(bundle_of, (world.champion.bundle_id, world.other.bundle_id)), world.simulator_end
    folder, explorer = Lake(home).served_log, Explorer(Registry(home / "registry").secret())
    shutil.rmtree(folder, ignore_errors=True)
    recommender = Recommender(store, Fixed(champion), ServedLog(folder), explorer=explorer, clock=lambda: at)
    for user in world.user_ids[:100]:
        answer = recommender.recommend(RecommendRequest(user_id=user, context=Context(at=at)))
        about = {"user_id": user, "request_id": answer.request_id, "occurred_at": at}
        seen = [{**about, "kind": "impression", "item_id": item.item_id} for item in answer.items]
        clicks = [{**row, "kind": "click"} for row in seen if key64([str(row["item_id"])])[0] % 3 == 0]
        told = recommender.record_events(EventsRequest(events=[*seen, *clicks]))
        assert not told.rejected
    recommender.close()
    assert dg.materialize([asset], resources={"workspace": Workspace()}).success
    (entry,) = json.loads((Lake(home).reports / "foreseen.json").read_text()).values()
    told = entry["figures"]
    assert told["places"] > 500 and not told["left_out"] and "estimated 0." in entry["words"]
    for name in ("champion", other.bundle_id):
        # what stands there was drawn whatever its score: a policy meets its own choice as often as chance says
        ips, snips, robust = (told[name][how] for how in ("ips", "snips", "doubly_robust"))
        assert abs(ips["overlap"] - 1) < 4 * (2 / ips["rows"]) ** 0.5 and 0.1 < snips["value"] < 0.6
        assert snips["low"] < robust["value"] < snips["high"] and 100 <= ips["effective"] < 0.6 * ips["rows"]

    drawn = served_log.read(served_log.segments(folder))
    assert replay_requests(drawn, store, bundle_of, explorer).same == 100, "displacement, causes and chances replay too"
    assert {"drawn", "like", "damped", "mixed", ""} <= set(drawn["cause"].to_pylist())
    clicked = {(row["request_id"], row["item_id"]): False for row in drawn.to_pylist()}
    few = foreseen(drawn, clicked, store, bundle_of, explorer, {"same": champion, "other": other}, latest=8).report()
    assert few["same"] == few["champion"] and told["champion"] != told[other.bundle_id]
    assert "the log is worth" in few["other"]["ips"] and "not estimated from" in words(few, "other")
    assert foreseen(drawn, clicked, store, bundle_of, EXPLORER, {}, latest=8).left_out, "another secret drew"
