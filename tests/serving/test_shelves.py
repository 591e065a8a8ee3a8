"""What each shelf owes a person, through the calls: what is in progress stays, what is finished stays away, and
shortcuts hold what they know and nothing else.
"""

from __future__ import annotations

import pytest

from recsys.events import DAY_MS
from recsys.policy.shelves import SHELVES
from recsys.serving.pipeline import Recommender
from recsys.serving.schema import Context, EventsRequest, RecommendRequest
from tests.serving.world import World


def shown(recommender: Recommender, user: str, shelf: str, k: int = 6, at: int | None = None) -> list[str]:
    request = RecommendRequest(user_id=user, shelf=shelf, k=k, context=Context(at=at))
    return [str(item.item_id) for item in recommender.recommend(request).items]


def tell(recommender: Recommender, user: str, *events: tuple[str, str]) -> None:
    sent = [{"kind": kind, "user_id": user, "item_id": item} for kind, item in events]
    assert recommender.record_events(EventsRequest(events=sent)).accepted == len(sent)


@pytest.fixture(scope="module")
def catalogue(world: World) -> dict[str, tuple[str, str]]:
    """Type and creator by item."""
    items = world.simulator.items()
    columns = (items[name].to_pylist() for name in ("item_id", "item_type", "creator_id"))
    return {item: (kind, creator) for item, kind, creator in zip(*columns, strict=True)}


def test_an_episode_in_progress_does_not_vanish_and_a_finished_one_never_returns(
    recommender: Recommender, world: World, catalogue: dict[str, tuple[str, str]]
) -> None:
    user, shelf = "somebody with a podcast", "podcasts"
    last = shown(recommender, user, shelf, 100)[-1]  # what would be shown last
    tell(recommender, user, ("click", last))
    assert last in shown(recommender, user, shelf, 2)
    others = [item for item, (kind, _) in catalogue.items() if kind == "video"]
    tell(recommender, user, *[("impression", item) for item in others[:200]], *[("click", i) for i in others[200:260]])
    for k in (2, 5, 20):
        slate = shown(recommender, user, shelf, k)
        creators = [catalogue[item][1] for item in slate]
        assert last in slate and len(set(creators)) == len(creators), "long after, it is there; a show takes one place"
    tell(recommender, user, ("long_view", last))
    now = world.simulator_end
    for at in (None, now + 400 * DAY_MS):
        assert last not in shown(recommender, user, shelf, 100, at)
    tell(recommender, user, ("click", last))
    assert last not in shown(recommender, user, shelf, 100), "heard again, it is still finished"


def test_shortcuts_hold_what_a_person_knows_and_nothing_else(
    recommender: Recommender, catalogue: dict[str, tuple[str, str]]
) -> None:
    user = "somebody with two plays"
    assert shown(recommender, user, "shortcuts") == []
    albums = [item for item, (kind, _) in catalogue.items() if kind == "album"]
    episodes = [item for item, (kind, _) in catalogue.items() if kind == "podcast"]
    show = max((catalogue[e][1] for e in episodes), key=[catalogue[e][1] for e in episodes].count)
    mine = [episode for episode in episodes if catalogue[episode][1] == show]
    tell(recommender, user, ("click", albums[0]), ("click", mine[0]), ("long_view", mine[0]))
    slate = shown(recommender, user, "shortcuts")
    assert len(slate) == 2 and albums[0] in slate
    (episode,) = set(slate) - {albums[0]}
    assert episode in mine and (episode != mine[0] or len(mine) == 1), "of the show, an episode that was not heard"
    tell(recommender, user, ("dislike", albums[0]))
    assert shown(recommender, user, "shortcuts") == [episode]


def test_shelves_of_one_person_differ(recommender: Recommender, world: World) -> None:
    for user in (world.user_ids[0], "never seen"):
        slates = [tuple(shown(recommender, user, shelf)) for shelf in SHELVES]
        assert len(set(slates)) == len(slates)
