"""What a person blocks once stays out of every slate, in every worker, until they unblock it or are forgotten."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.features import catalog
from recsys.privacy.border import Border, Forgotten
from recsys.registry import Registry
from recsys.serving import served_log
from recsys.serving.bundle import ServingBundle, load
from recsys.serving.bundles import Fixed
from recsys.serving.course import Course
from recsys.serving.pipeline import Recommender
from recsys.serving.replay import replay_requests
from recsys.serving.schema import BadRequest, Blocked, BlockRequest, RecommendRequest
from recsys.serving.served_log import ServedLog
from recsys.store.online import OnlineStore
from recsys.store.opening import open_store
from tests.serving.test_pipeline import Broken
from tests.serving.world import World


@pytest.fixture(scope="module")
def home(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: other tests share the world."""
    return Path(shutil.copytree(world.settings.home, tmp_path_factory.mktemp("blocked") / "home", symlinks=True))


@pytest.fixture
def store(world: World, home: Path) -> Iterator[OnlineStore]:
    opened = open_store(world.settings.model_copy(update={"home": home}))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def bundle(world: World, home: Path) -> ServingBundle:
    registry = Registry(home / "registry")
    return load(world.champion, None, catalog.FINGERPRINT, registry)


def shown(recommender: Recommender, user: str, **asked: object) -> list[str]:
    request = RecommendRequest.model_validate({"user_id": user, "k": 20, **asked})
    return [str(item.item_id) for item in recommender.recommend(request).items]


def test_what_is_blocked_once_stays_away_everywhere_until_it_is_unblocked(
    world: World, home: Path, store: OnlineStore, bundle: ServingBundle, tmp_path: Path
) -> None:
    user, other = world.user_ids[11:13]
    items = world.simulator.items()
    creator = dict(zip(items["item_id"].to_pylist(), items["creator_id"].to_pylist(), strict=True))
    recommender = Recommender(store, Fixed(bundle), ServedLog(tmp_path))
    before, others = shown(recommender, user), shown(recommender, other)
    blocked = Blocked(item_ids=before[:2], creator_ids=[creator[before[4]]])
    answer = recommender.block(BlockRequest(user_id=user, block=blocked))
    assert (answer.items, answer.creators) == (2, 1)

    worker = open_store(world.settings.model_copy(update={"home": home}))  # another, or this one after a restart
    for each in (recommender, Recommender(worker, Fixed(bundle), ServedLog(tmp_path))):
        after = shown(each, user)
        assert len(after) == 20 and not {*before[:2]} & {*after}
        assert creator[before[4]] not in {creator[item] for item in after}
        more = shown(each, user, blocked={"item_ids": after[:1]})  # what the request brings comes on top
        assert not {*before[:2], after[0]} & {*more}
        assert shown(each, other) == others
        assert shown(each, user, consent=False) == shown(each, other, consent=False)  # nothing personal is read
    worker.close()
    log = served_log.read(served_log.segments(tmp_path))
    replays = replay_requests(log, store, lambda name: bundle)
    assert replays.same == len(set(log["request_id"].to_pylist())) and not replays.different, str(replays)

    lifted = recommender.block(BlockRequest(user_id=user, unblock=blocked))
    assert (lifted.items, lifted.creators) == (0, 0) and shown(recommender, user) == before


def test_while_the_store_does_not_answer_what_was_last_known_is_kept_away(
    world: World, store: OnlineStore, bundle: ServingBundle
) -> None:
    user = world.user_ids[13]
    broken = Broken(store, RuntimeError("down"))
    broken.is_broken = False
    recommender = Recommender(broken, Fixed(bundle), None)  # type: ignore[arg-type]
    listed = list(bundle.retriever.data.lists["trending"]["feed"])[:2]
    recommender.block(BlockRequest(user_id=user, block=Blocked(item_ids=listed)))
    broken.is_broken = True
    request = RecommendRequest(user_id=user, k=20)
    for answer in (recommender.recommend(request), recommender.fallback(request, Course())):
        assert answer.rung == "trending" and not set(listed) & {str(item.item_id) for item in answer.items}


def test_too_many_and_nobody_are_refused_and_nothing_changes(
    world: World, home: Path, store: OnlineStore, bundle: ServingBundle, tmp_path: Path
) -> None:
    border = Border(Forgotten(tmp_path))
    recommender = Recommender(store, Fixed(bundle), None, border=border)
    user = world.user_ids[14]
    names = [f"item {n}" for n in range(501)]
    recommender.block(BlockRequest(user_id=user, block=Blocked(item_ids=names[:500])))
    with pytest.raises(BadRequest, match="500 items"):
        recommender.block(BlockRequest(user_id=user, block=Blocked(item_ids=names[500:])))
    assert recommender.state()["breakers"]["journal"] == "closed" and len(store.blocked(user).items) == 500
    swapped = BlockRequest(user_id=user, block=Blocked(item_ids=names[500:]), unblock=Blocked(item_ids=names[:1]))
    assert recommender.block(swapped).items == 500
    border.forgotten.note({"who": [border.forgotten.digest(user)], "at": 1, "state": "begun"})
    store.forget(user, border.nobodys_json)
    assert not len(store.blocked(user).items)
    with pytest.raises(BadRequest, match="forgotten"):
        recommender.block(swapped)
