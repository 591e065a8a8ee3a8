"""A logged request is answered again: the same items, order, scores and features, to the bit."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.events import HOUR_MS, ITEM_SCHEMA
from recsys.features.store import OnlineStore, open_store
from recsys.policy.shelves import SHELVES
from recsys.registry import Registry
from recsys.serving import served_log
from recsys.serving.bundle import BundleRefused, ServingBundle, load
from recsys.serving.bundles import BundleWatch
from recsys.serving.pipeline import Recommender
from recsys.serving.replay import replay_requests
from recsys.serving.schema import Blocked, Context, EventsRequest, RecommendRequest
from recsys.serving.served_log import ServedLog
from tests.serving.world import World


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
    watch = BundleWatch(registry, lambda found: bundle_of(found.bundle_id), store.late_items)
    folder = home / "requests"
    recommender = Recommender(store, watch, ServedLog(folder))
    at = world.simulator_end
    for n, (user, shelf) in enumerate(itertools.product(world.user_ids[:5], SHELVES)):
        recommender.recommend(
            RecommendRequest(
                user_id=user,
                shelf=shelf,
                k=4 + n,
                context=Context(at=at - n * HOUR_MS, device=["ios", None][n % 2]),
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
    found = replay_requests(served, store, bundle_of)
    requests = len(set(served["request_id"].to_pylist()))
    assert (found.same, found.different, found.left_out) == (requests, {}, {}), str(found)
    assert replay_requests(served, store, bundle_of, latest=3).same == 3


@pytest.mark.parametrize("name", ["score", "item_id", "features", "watch_seconds"])
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
    found = replay_requests(changed, store, bundle_of)
    assert list(found.different) == [rows[0]["request_id"]]


def test_a_request_of_a_bundle_that_is_gone_is_left_out_and_said(served: pa.Table, store: OnlineStore) -> None:
    def gone(name: str) -> ServingBundle:
        raise BundleRefused(f"bundle {name} is gone")

    found = replay_requests(served, store, gone, latest=2)
    assert found.same == 0 and set(found.left_out.values()) == {f"bundle {served['bundle'][0]} is gone"}
