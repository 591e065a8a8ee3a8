"""The core, called directly: one read a slate, scores that stand alone, and an answer on every rung."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys import vocabulary
from recsys.events import HOUR_MS, KINDS, NOBODY, event_key, key64, query_key
from recsys.features import catalog, sweep
from recsys.features.derive import Context, derive
from recsys.features.log import Rows
from recsys.features.parity import audit_served
from recsys.lake import Lake
from recsys.policy.shelves import SHELVES
from recsys.policy.value import value
from recsys.privacy.border import Border, Forgotten
from recsys.registry import Registry
from recsys.serving import served_log
from recsys.serving.breakers import Breakers
from recsys.serving.bundle import ServingBundle, load
from recsys.serving.bundles import Fixed
from recsys.serving.course import Course
from recsys.serving.pipeline import Recommender, Unavailable
from recsys.serving.scene import Scene
from recsys.serving.schema import BadRequest, EventsRequest, FeaturesRequest, RecommendRequest
from recsys.serving.schema import Context as Where
from recsys.serving.served_log import ServedLog
from recsys.serving.steps import PARTS, READS, Steps
from recsys.store.errors import StoreError, StoreFull
from recsys.store.online import OnlineStore
from recsys.store.opening import open_store
from recsys.store.past import Read
from recsys.training_sets.inputs import Inputs
from tests.serving.world import World


class Broken:
    """A part that answers everything with an error until it is mended, but for what it has in memory."""

    IN_MEMORY = ("judged",)

    def __init__(self, part: Any, error: Exception) -> None:
        self._part, self._error, self.is_broken = part, error, True

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)
        if not callable(method):
            return method

        def call(*arguments: Any, **named: Any) -> Any:
            if self.is_broken and name not in self.IN_MEMORY:
                raise self._error
            return method(*arguments, **named)

        return call


@pytest.fixture(scope="module")
def store(world: World) -> OnlineStore:
    return open_store(world.settings)


@pytest.fixture
def bundle(recommender: Recommender) -> ServingBundle:
    return recommender._bundles.current


def over(store: Any, bundle: ServingBundle, folder: Path, breakers: Breakers | None = None) -> Recommender:
    return Recommender(store, Fixed(bundle), ServedLog(folder), breakers=breakers)


def test_every_shelf_answers_with_its_own_kinds_best_score_first(recommender: Recommender, world: World) -> None:
    types = dict(zip(*(world.simulator.items()[c].to_pylist() for c in ("item_id", "item_type")), strict=True))
    for name, shelf in SHELVES.items():
        answer = recommender.recommend(RecommendRequest(user_id=world.user_ids[0], shelf=name, k=7))
        only_known = set(shelf.sources) <= {"familiar", "followed", "resume"}
        assert answer.rung == "full" and (0 < len(answer.items) <= 7 if only_known else len(answer.items) == 7)
        assert {types[str(item.item_id)] for item in answer.items} <= set(shelf.item_types)
        assert len({item.item_id for item in answer.items}) == len(answer.items)
        assert all(a.score >= b.score for a, b in itertools.pairwise(answer.items))
        assert all(0 <= item.p_click <= 1 and item.expected_watch_seconds >= 0 for item in answer.items)  # type: ignore[operator]
        assert all(item.reason and item.source for item in answer.items)


def test_a_stranger_gets_a_real_slate(recommender: Recommender) -> None:
    answer = recommender.recommend(RecommendRequest(user_id="nobody ever seen", k=10))
    assert answer.rung == "full" and len(answer.items) == 10


def test_what_a_person_blocks_is_not_shown(recommender: Recommender, world: World) -> None:
    items = world.simulator.items()
    creator = dict(zip(items["item_id"].to_pylist(), items["creator_id"].to_pylist(), strict=True))
    asked = {"user_id": world.user_ids[3], "k": 20}
    first = [str(item.item_id) for item in recommender.recommend(RecommendRequest(**asked)).items]
    blocked = {"item_ids": first[:1], "creator_ids": [creator[first[1]]]}
    course = Course()
    second = recommender.recommend(RecommendRequest(**asked, blocked=blocked), course)
    shown = [str(item.item_id) for item in second.items]
    assert len(shown) == 20 and first[0] not in shown and creator[first[1]] not in {creator[item] for item in shown}
    assert course.dropped["blocked"] >= 2


def test_without_consent_nothing_personal_is_read_or_logged(
    world: World, store: OnlineStore, bundle: ServingBundle, tmp_path: Path
) -> None:
    recommender = over(store, bundle, tmp_path)
    at = Where(at=world.simulator_end)
    person = recommender.recommend(RecommendRequest(user_id=world.user_ids[4], context=at))
    nobody = recommender.recommend(RecommendRequest(user_id=world.user_ids[4], context=at, consent=False))
    stranger = recommender.recommend(RecommendRequest(user_id="never seen", context=at))
    assert nobody.items == stranger.items != person.items
    recommender.close()
    rows = served_log.read(served_log.segments(tmp_path)).to_pylist()
    assert {row["user_id"] for row in rows if row["request_id"] == nobody.request_id} == {""}


def test_an_unknown_shelf_is_refused_with_those_there_are(recommender: Recommender) -> None:
    with pytest.raises(BadRequest, match="must be one of feed, podcasts"):
        recommender.recommend(RecommendRequest(user_id="u", shelf="attic"))


def test_a_score_is_of_the_item_alone(store: OnlineStore, bundle: ServingBundle, world: World, tmp_path: Path) -> None:
    now = time.time_ns() // 1_000_000
    served = ServedLog(tmp_path)
    recommender = Recommender(store, Fixed(bundle), served, clock=lambda: now)
    answer = recommender.recommend(RecommendRequest(user_id=world.user_ids[1], k=20))
    for item in answer.items:
        row = recommender.features(FeaturesRequest(user_id=world.user_ids[1], item_ids=[str(item.item_id)]))
        alone = bundle.ranker.predict(Inputs.of_strangers(row.rows))
        assert float(value(alone.columns())[0]) == item.score
        assert float(alone.p_click[0]) == item.p_click
        assert float(alone.watch_seconds[0]) == item.expected_watch_seconds


def test_an_event_is_in_the_next_read_and_what_is_finished_leaves(recommender: Recommender, world: World) -> None:
    user = world.user_ids[2]
    first = recommender.recommend(RecommendRequest(user_id=user, k=5))
    item = str(first.items[0].item_id)
    before = recommender.features(FeaturesRequest(user_id=user, item_ids=[item]))
    events = [
        {"event_id": f"{user}-{kind}", "kind": kind, "user_id": user, "item_id": item, "request_id": first.request_id}
        for kind in ("impression", "click", "long_view")
    ]
    recorded = recommender.record_events(EventsRequest(events=events))
    assert (recorded.accepted, recorded.duplicates, recorded.rejected) == (3, 0, [])
    after = recommender.features(FeaturesRequest(user_id=user, item_ids=[item]))
    assert after.position == recorded.position > before.position
    clicks = catalog.FEATURES.index("user_clicks_log_1h")
    assert after.rows[0, clicks] > before.rows[0, clicks]
    second = recommender.recommend(RecommendRequest(user_id=user, k=5))
    assert item not in {str(i.item_id) for i in second.items} and second.position >= recorded.position
    again = recommender.record_events(EventsRequest(events=events))
    assert (again.accepted, again.duplicates, again.position) == (0, 3, recorded.position)
    once_more = recommender.features(FeaturesRequest(user_id=user, item_ids=[item], at=after.at))
    assert once_more.rows.tobytes() == after.rows.tobytes()


@pytest.mark.parametrize(("kind", "reads"), [("impression", 2), ("click", READS + 1)])
def test_candidates_are_sought_again_where_something_was_engaged_with_meanwhile_and_not_where_it_was_shown(
    store: OnlineStore, bundle: ServingBundle, world: World, kind: str, reads: int
) -> None:
    """Another request's events come in after each read of this one's."""
    user, item = world.user_ids[6], world.item_ids[0]
    readings = []

    class Busy:
        def read(self, *arguments: Any, **named: Any) -> Read:
            readings.append(store.read(*arguments, **named))
            event = {"event_id": f"busy-{kind}-{len(readings)}", "kind": kind, "user_id": user, "item_id": item}
            now = world.simulator_end + len(readings)
            assert store.append([event | {"occurred_at": now}], now).accepted
            return readings[-1]

    busy: Any = Busy()
    scene = Scene.at_shelf(bundle, user, world.simulator_end)
    pool, read, _, sought_at = Steps(busy, Breakers(PARTS)).retrieved(bundle, scene, Course("busy"), set())
    assert len(readings) == reads and read.position > readings[-2].position == sought_at
    assert len(read.history_kinds) > 1 and len(pool)


def test_events_are_rejected_one_by_one_by_schema_and_by_store(recommender: Recommender, world: World) -> None:
    good = {"kind": "like", "user_id": world.user_ids[3], "item_id": world.item_ids[0]}
    events = [{**good, "kind": "stare"}, good, {**good, "item_id": "no such item"}, good, 5, {**good, "consent": False}]
    answer = recommender.record_events(EventsRequest(events=events))
    assert answer.accepted == 2
    assert [r.index for r in answer.rejected] == [0, 2, 4, 5]
    assert all(r.reason for r in answer.rejected)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"occurred_at": 1_767_571_200}, "instant_in_seconds"),
        ({"occurred_at": 1_767_571_200_000_000}, "instant_in_microseconds"),
        ({"occurred_at": 10**30}, "instant_in_microseconds"),
        ({"occurred_at": 0}, "absurd_instant"),
        ({"device": "a\x00b"}, "control_character"),
        ({"occurred_at": -1}, "absurd_instant"),
        ({"occurred_at": 99_999_999_999_999}, "too_far_ahead"),
        ({"kind": "hover"}, "unknown_kind"),
        ({"user_id": "é" * 129}, "user_id_too_long"),
        ({"event_id": "e" * 2_000_000}, "event_id_too_long"),
        ({"kind": "play", "watch_ms": -1}, "negative_watch"),
        ({"kind": "play", "watch_ms": 86_400_001}, "watch_over_a_day"),
        ({"slot": -1}, "negative_slot"),
        ({"slot": 10**30}, "absurd_slot"),
        ({"consent": False}, "no_consent"),
        ({"item_id": None}, "missing_item_id"),
        ({"user_id": ""}, "missing_user_id"),
        ({"kind": "search", "query": "\u2003\u3000\t"}, "missing_query"),
        ({"kind": "search", "query": "q" * 4_097}, "query_too_long"),
    ],
)
def test_what_ingestion_quarantines_is_rejected_by_the_same_name_and_moves_no_feature(
    recommender: Recommender, store: OnlineStore, world: World, said: dict[str, Any], reason: str
) -> None:
    event = {"kind": "click", "user_id": world.user_ids[4], "item_id": world.item_ids[1]} | said
    head = store.head()
    answer = recommender.record_events(EventsRequest(events=[event]))
    assert answer.accepted == 0 and store.head() == head
    assert f"({reason})" in answer.rejected[0].reason and reason in vocabulary.REASONS
    assert len(answer.rejected[0].reason) < 250


def test_a_duplicate_is_the_same_id_user_kind_item_and_instant_as_said(
    recommender: Recommender, store: OnlineStore, world: World
) -> None:
    at = world.simulator_end
    first = {"event_id": "7", "kind": "impression", "user_id": world.user_ids[8], "item_id": world.item_ids[2]}
    others = [
        {**first, "kind": "click"},  # a click that bears its impression's id
        {**first, "user_id": world.user_ids[9]},
        {**first, "item_id": world.item_ids[3]},
        {**first, "occurred_at": at},
        {**first, "occurred_at": at + 1},
    ]
    again = [{**first, "device": "web"}, {**others[-1], "slot": 3}]
    answer = recommender.record_events(EventsRequest(events=[first, *others, *again]))
    assert (answer.accepted, answer.duplicates) == (1 + len(others), len(again))
    retried = recommender.record_events(EventsRequest(events=[first, *others]))
    assert (retried.accepted, retried.duplicates) == (0, 1 + len(others))
    kept = [row for row in store.tail(0).to_pylist() if row["event_id"] == "7"]
    assert len({row["event_key"] for row in kept}) == len(kept) == 1 + len(others)
    said = event_key("7", first["user_id"], "impression", first["item_id"], at)  # as a file says it a day later
    assert said in {row["event_key"] for row in kept}


def test_a_search_is_read_by_its_own_features(recommender: Recommender, store: OnlineStore, world: World) -> None:
    user, items = world.user_ids[10], world.item_ids[:200]
    asked = FeaturesRequest(user_id=user, item_ids=items, at=time.time_ns() // 1_000_000 + HOUR_MS)
    before = recommender.features(asked)
    search = {"event_id": "s1", "kind": "search", "user_id": user, "query": "news at night", "shelf": "feed"}
    assert recommender.record_events(EventsRequest(events=[search, search])).duplicates == 1
    after = recommender.features(asked)
    moved = np.flatnonzero((after.rows != before.rows).any(axis=0))
    assert [catalog.FEATURES[f].partition("search")[0] for f in moved] == ["user_last_", "user_hours_since_", "user_"]
    news = store.read(user, items, asked.at).item.category_key == key64(["news"])
    assert after.rows[:, moved[-1]].tolist() == news.tolist() and len(set(news)) == 2
    assert store.judged(user).searched.tolist() == [query_key("News, at NIGHT")]


def test_what_was_served_replays_to_the_same_bytes(
    world: World, store: OnlineStore, bundle: ServingBundle, tmp_path: Path
) -> None:
    recommender = over(store, bundle, tmp_path)
    at = world.simulator_end
    answers = [
        recommender.recommend(
            RecommendRequest(user_id=user, shelf=shelf, k=6, context=Where(at=at - n * HOUR_MS, device=device))
        )
        for n, (user, shelf, device) in enumerate(itertools.product(world.user_ids[4:8], SHELVES, ["ios", None]))
    ]
    recommender.record_events(  # the log goes on; what was served before must not move
        EventsRequest(
            events=[{"kind": "click", "user_id": u, "item_id": world.item_ids[5]} for u in world.user_ids[4:8]]
        )
    )
    recommender.close()
    rows = served_log.read(served_log.segments(tmp_path)).to_pylist()
    assert len(rows) == sum(len(answer.items) for answer in answers)
    assert {row["request_id"] for row in rows} == {answer.request_id for answer in answers}
    log, items = store.export()
    users, things, shelves = (key64([row[name] for row in rows]) for name in ("user_id", "item_id", "log_shelf"))
    devices = np.where([row["device"] is None for row in rows], 0, key64([row["device"] or "" for row in rows]))
    positions, instants = (np.array([row[name] for row in rows]) for name in ("position", "as_of"))
    aggregates = sweep.point_in_time(log, items, Rows(users, things, positions, instants, shelves))
    context = Context(instants, shelves, devices, np.zeros(len(rows), np.int64), items.lookup(things))
    replayed = derive(aggregates, context)
    assert replayed.tobytes() == np.array([row["features"] for row in rows], dtype=np.float32).tobytes()
    assert {row["fingerprint"] for row in rows} == {catalog.FINGERPRINT, store.fingerprint}
    asked = Inputs(replayed, things, sweep.histories(log, users, positions, instants))
    again = zip(rows, value(bundle.ranker.predict(asked).columns()).tolist(), strict=True)
    shared = [(row["score"], score) for row, score in again if SHELVES[row["shelf"]].order == "ranker"]
    assert len(shared) > 50 and all(logged == score for logged, score in shared)


def test_what_a_network_made_of_a_history_replays_to_the_same_bits(
    world: World, store: OnlineStore, tmp_path: Path
) -> None:
    bundle = load(world.other, None, catalog.FINGERPRINT, Registry(Lake(world.settings.home).registry))
    recommender = over(store, bundle, tmp_path)
    for user in world.user_ids[8:12]:
        answer = recommender.recommend(RecommendRequest(user_id=user, k=6))
        shown = {"kind": "impression", "user_id": user, "request_id": answer.request_id}
        events = [{**shown, "item_id": item.item_id, "slot": slot} for slot, item in enumerate(answer.items)]
        recommender.record_events(EventsRequest(events=events))  # shown, and nothing more: the next read knows of it
        recommender.recommend(RecommendRequest(user_id=user, k=6))
    recommender.close()
    rows = served_log.read(served_log.segments(tmp_path)).to_pylist()
    log, _ = store.export()
    users, things = (key64([row[name] for row in rows]) for name in ("user_id", "item_id"))
    positions, instants = (np.array([row[name] for row in rows]) for name in ("position", "as_of"))
    history = sweep.histories(log, users, positions, instants)
    kinds = {"impression": KINDS["impression"], "long_view": KINDS["long_view"]}
    assert all(np.isin(code, history.kind) for code in kinds.values())
    features = np.array([row["features"] for row in rows], np.float32)
    told, logged = bundle.ranker.predict(Inputs(features, things, history)), [row["p_click"] for row in rows]
    assert told.p_click.tolist() == logged
    assert bundle.ranker.predict(Inputs.of_strangers(features)).p_click.tolist() != logged


def test_rows_of_features_calls_are_served_rows_and_replay_too(
    world: World, store: OnlineStore, bundle: ServingBundle, tmp_path: Path
) -> None:
    recommender = over(store, bundle, tmp_path)
    user, at = world.user_ids[14], world.simulator_end
    slate = recommender.recommend(RecommendRequest(user_id=user, k=3, context=Where(at=at)))
    asked = [*world.item_ids[:20], "an item nobody knows"]
    read = recommender.features(FeaturesRequest(user_id=user, item_ids=asked, at=at), Course("r-features"))
    recommender.record_events(EventsRequest(events=[{"kind": "like", "user_id": user, "item_id": asked[0]}]))
    recommender.close()
    table = served_log.read(served_log.segments(tmp_path))
    rows = [row for row in table.to_pylist() if row["rung"] == "features"]
    assert [row["item_id"] for row in rows] == asked and {row["request_id"] for row in rows} == {"r-features"}
    assert np.array([row["features"] for row in rows], np.float32).tobytes() == read.rows.tobytes()
    assert all(row["score"] is None and row["position"] == read.position for row in rows)
    audit = audit_served(store.export()[0], store.items_at, table)
    assert audit.holds and audit.values == (len(asked) + len(slate.items)) * len(catalog.FEATURES)


def test_without_its_ranker_the_slate_keeps_the_order_of_retrieval(
    world: World, store: OnlineStore, bundle: ServingBundle, tmp_path: Path
) -> None:
    ranker = Broken(bundle.ranker, RuntimeError("corrupt"))
    breakers = Breakers(PARTS, failures=2, seconds=3600)
    recommender = over(store, dataclasses.replace(bundle, ranker=ranker), tmp_path, breakers)
    for _ in range(3):
        answer = recommender.recommend(RecommendRequest(user_id=world.user_ids[8], k=5))
        assert answer.rung == "no_ranker" and len(answer.items) == 5
        assert all(i.p_click is None and i.expected_watch_seconds is None and i.reason for i in answer.items)
    assert recommender.state()["breakers"] == {**dict.fromkeys(PARTS, "closed"), "ranker": "opened"}


def test_predictions_that_are_not_finite_never_reach_a_slate(
    world: World, store: OnlineStore, bundle: ServingBundle, tmp_path: Path
) -> None:
    class Nan:
        def __init__(self, ranker: Any) -> None:
            self.ranker = ranker

        def predict_only(self, inputs: Inputs, names: Any) -> Any:
            return {name: np.full(len(inputs), np.nan) for name in names}

    recommender = over(store, dataclasses.replace(bundle, ranker=Nan(bundle.ranker)), tmp_path)
    assert recommender.recommend(RecommendRequest(user_id=world.user_ids[8], k=5)).rung == "no_ranker"


def test_without_the_store_there_is_a_slate_and_a_clear_word_to_the_other_calls(
    world: World, store: OnlineStore, bundle: ServingBundle, tmp_path: Path
) -> None:
    broken = Broken(store, StoreError("the disk is gone"))
    recommender = over(broken, bundle, tmp_path, Breakers(PARTS, failures=100))
    broken.is_broken = False
    first = recommender.recommend(RecommendRequest(user_id=world.user_ids[11], k=5)).items[0].item_id
    disliked = [{"kind": "dislike", "user_id": world.user_ids[11], "item_id": first}]
    recommender.record_events(EventsRequest(events=disliked))
    broken.is_broken = True
    remembered = recommender.recommend(RecommendRequest(user_id=world.user_ids[11], k=5))
    assert remembered.rung == "cached" and first not in [item.item_id for item in remembered.items]
    trending = recommender.recommend(RecommendRequest(user_id=world.user_ids[12], shelf="podcasts", k=5))
    assert trending.rung == "trending" and len(trending.items) > 0 and trending.items[0].p_click is None
    with pytest.raises(Unavailable, match="the disk is gone"):
        recommender.features(FeaturesRequest(user_id="u", item_ids=["i"]))
    with pytest.raises(Unavailable, match="the disk is gone"):
        recommender.record_events(EventsRequest(events=[]))


def test_a_full_disk_stops_events_but_not_slates(
    world: World, store: OnlineStore, bundle: ServingBundle, tmp_path: Path
) -> None:
    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def append(self, events: Any, received_at: int) -> Any:
            raise StoreFull("the online store is full: free disk space")

    recommender = over(Full(), bundle, tmp_path, Breakers(PARTS, failures=1))
    for _ in range(3):
        with pytest.raises(Unavailable):
            recommender.record_events(EventsRequest(events=[]))
    assert recommender.recommend(RecommendRequest(user_id=world.user_ids[0])).rung == "full"


def test_a_slate_that_cannot_be_logged_is_answered_and_counted(
    world: World, store: OnlineStore, bundle: ServingBundle, tmp_path: Path
) -> None:
    (tmp_path / "a_file").write_text("in the way")
    recommender = Recommender(store, Fixed(bundle), ServedLog(tmp_path / "a_file"))
    assert len(recommender.recommend(RecommendRequest(user_id=world.user_ids[0], k=4)).items) == 4
    assert recommender.state()["lost_served_rows"] == 4


def test_a_recommendation_of_the_past_knows_no_item_published_later(recommender: Recommender, world: World) -> None:
    items = world.simulator.items()
    published = dict(zip(items["item_id"].to_pylist(), items["published_at"].to_pylist(), strict=True))
    early = sorted(published.values())[len(published) // 2]
    answer = recommender.recommend(RecommendRequest(user_id=world.user_ids[0], k=50, context=Where(at=early)))
    assert answer.items and all(published[str(item.item_id)] <= early for item in answer.items)


def test_a_log_with_shelves_of_its_own_is_asked_by_them_and_the_feed_stands_for_the_busiest(
    world: World, store: OnlineStore, bundle: ServingBundle, tmp_path: Path
) -> None:
    retriever = copy.copy(bundle.retriever)
    retriever.data = dataclasses.replace(retriever.data, log_shelves=("tab1", "tab0"))
    recommender = over(store, dataclasses.replace(bundle, retriever=retriever), tmp_path)
    at = world.simulator_end
    for shelf in ("feed", "podcasts", "tab1", "tab0"):
        asked = RecommendRequest(user_id=world.user_ids[13], shelf=shelf, context=Where(at=at))
        assert recommender.recommend(asked).rung == "full"
    recommender.close()
    rows = served_log.read(served_log.segments(tmp_path)).to_pylist()
    assert {(row["shelf"], row["log_shelf"]) for row in rows} == {
        ("feed", "tab1"),
        ("podcasts", "tab1"),
        ("tab1", "tab1"),
        ("tab0", "tab0"),
    }


def test_shelves_are_mapped_where_features_are_read_and_nowhere_else(
    world: World, store: OnlineStore, bundle: ServingBundle, tmp_path: Path
) -> None:
    """The log of the bundle knows tabs alone: the feed is read as its busiest, and its events stay the feed's."""
    retriever = copy.copy(bundle.retriever)
    retriever.data = dataclasses.replace(retriever.data, log_shelves=("tab1", "tab0"))
    recommender = over(store, dataclasses.replace(bundle, retriever=retriever), tmp_path)
    user, item, at = world.user_ids[15], world.item_ids[3], "user_shelf_impressions_log_all"
    asked = FeaturesRequest(user_id=user, item_ids=[item])
    before, head = recommender.features(asked).rows[0], store.head()
    events = [
        {"event_id": f"{user}:{shelf}", "kind": "impression", "user_id": user, "item_id": item, "shelf": shelf}
        for shelf in ("feed", "search", "tab1")
    ]
    assert recommender.record_events(EventsRequest(events=events)).accepted == 3
    assert store.tail(head)["shelf"].to_pylist() == ["feed", "search", "tab1"]
    place = catalog.FEATURES.index(at)
    assert recommender.features(asked).rows[0, place] == np.float32(np.log1p(np.expm1(float(before[place])) + 1))
    recommender.close()
    table = served_log.read(served_log.segments(tmp_path))
    assert set(zip(table["shelf"].to_pylist(), table["log_shelf"].to_pylist(), strict=True)) == {("feed", "tab1")}
    audit = audit_served(store.export()[0], store.items_at, table)
    assert audit.holds and audit.values == 2 * len(catalog.FEATURES)


def test_the_service_knows_users_by_pseudonym_and_the_forgotten_not_at_all(
    store: OnlineStore, bundle: ServingBundle, world: World, tmp_path: Path
) -> None:
    border = Border(Forgotten(tmp_path), b"the key of the border")
    served = ServedLog(tmp_path / "served")
    recommender = Recommender(store, Fixed(bundle), served, border=border)
    user, item = "someone-with-a-name", world.item_ids[0]
    event = {"event_id": f"{user}:1", "kind": "click", "user_id": user, "item_id": item, "request_id": f"{user}:page"}
    head = store.head()
    assert recommender.record_events(EventsRequest(events=[event])).accepted == 1
    (kept,) = store.tail(head).to_pylist()
    assert kept["user_id"] == border.user(user) and user not in str(kept)
    asked = FeaturesRequest(user_id=user, item_ids=[item])
    clicks = catalog.FEATURES.index("user_clicks_log_all")
    assert recommender.features(asked).rows[0, clicks] > 0  # the same name at both ends
    recommender.recommend(RecommendRequest(user_id=user))
    border.forgotten.note({"who": [border.forgotten.digest(name) for name in border.names(user)], "at": 1})
    others = {**event, "event_id": "3", "user_id": "other"}
    answer = recommender.record_events(EventsRequest(events=[{**event, "event_id": "2"}, others]))
    assert answer.accepted == 1 and [(r.index, r.reason) for r in answer.rejected] == [(0, "this user was forgotten")]
    assert recommender.features(asked).rows[0, clicks] == 0
    recommender.recommend(RecommendRequest(user_id=user))
    served.close()
    told = served_log.read(served_log.segments(tmp_path / "served"))["user_id"].to_pylist()
    assert set(told) == {border.names(user)[0], NOBODY}
    assert all(user.encode() not in path.read_bytes() for path in served_log.segments(tmp_path / "served"))
