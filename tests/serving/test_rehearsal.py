"""A rehearsal answers as the service does, and sees nothing later than a request's own instant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest

from recsys.evaluation.served import Requests
from recsys.evaluation.shelves import CHALLENGER, LABELS
from recsys.events import DAY_MS, HOUR_MS, KINDS, key64, whole_items
from recsys.features.log import EventLog, ItemHistory, from_table, history_of
from recsys.policy.repeats import Repeats
from recsys.policy.shelves import DEFAULT, SHELVES
from recsys.privacy.border import Border
from recsys.registry import Registry
from recsys.retrieval.item_index import ExactMirror, IndexedItems
from recsys.retrieval.sources import SourceData
from recsys.serving.bundle import ServingBundle, load
from recsys.serving.bundles import BundleWatch
from recsys.serving.pipeline import Recommender
from recsys.serving.rehearsal import K, Rehearsal, Rehearsed, bundle_of, rehearse
from recsys.serving.schema import Context, RecommendRequest
from recsys.store.lmdb_journal import LmdbJournal
from recsys.store.online import OnlineStore
from recsys.training_sets.sessions import Starts
from recsys_assets.defs.evaluation import shelves_judged, slates_judged
from tests.serving.world import World, cleaned


@dataclass
class Stage:
    recommender: Recommender
    served: ServingBundle
    bundle: ServingBundle
    log: EventLog
    items: ItemHistory
    at: int


@pytest.fixture(scope="module")
def stage(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The bundle whose ranker reads histories, in service over the log and in rehearsal over the same one."""
    log = from_table(cleaned(world.simulator))
    store = OnlineStore(LmdbJournal(tmp_path_factory.mktemp("rehearsal"), create=True), create=True)
    store.bootstrap(log, whole_items(world.simulator.items()), log.head)  # other tests add to the world's
    registry = Registry(world.settings.home / "registry")
    served = load(world.other, None, store.fingerprint, registry)
    recommender = Recommender(store, BundleWatch(registry, lambda registered: served, store.late_items), None)
    items = served.items
    vectors = np.stack(items["embedding"].to_numpy(zero_copy_only=False)).astype(np.float32)
    mirror = ExactMirror("m", IndexedItems.of(items["item_id"].to_pylist(), items["item_type"].to_pylist(), vectors))
    history = history_of(whole_items(world.simulator.items()))
    data = SourceData.load(world.other.path / "sources")
    bundle = bundle_of(served.retriever.tower, data, served.ranker, items, mirror, history)
    yield Stage(recommender, served, bundle, log, history, world.simulator_end + HOUR_MS)
    recommender.close()
    store.close()


def rehearsed(stage: Stage, log: EventLog, users: list[str], at: int, shelf: str = DEFAULT) -> Rehearsed:
    made = Rehearsal(stage.bundle, log, stage.items, users, np.full(len(users), at), shelf)
    return rehearse(made, {"ours": stage.bundle.order(shelf)}, by_source=True)


@pytest.mark.parametrize("shelf", SHELVES)
def test_it_gives_the_slates_that_the_service_gives(shelf: str, stage: Stage, world: World) -> None:
    users = [*world.user_ids[:12], "a stranger"]
    made = rehearsed(stage, stage.log, users, stage.at, shelf)
    for place, user in enumerate(users):
        request = RecommendRequest(user_id=user, shelf=shelf, k=K, context=Context(at=stage.at))
        answer = stage.recommender.recommend(request)
        assert answer.rung == "full"
        shown = made.slates["ours"][place]
        assert [made.item_ids[row] for row in shown if row >= 0] == [item.item_id for item in answer.items]
        assert (shown >= 0).all() or len(made.candidates[place]) < 100
        best = set(made.unlimited["ours"][place]) - set(made.slates["ours"][place])
        assert len(best) <= K and set(made.slates["fused"][place]) <= {*made.candidates[place].tolist(), -1}
        assert set(made.candidates[place]) <= set(made.allowed[place].tolist())


def test_where_nobody_comes_back_neither_brings_back_what_was_opened(
    stage: Stage, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = world.user_ids[:12]
    opened = {
        user: set(stage.log.item_key[(stage.log.user_key == key64([user])[0]) & (stage.log.kind == KINDS["click"])])
        for user in users
    }

    def slates() -> list[list[int]]:
        """Keys of the items that the service shows and the rehearsal agrees on."""
        made = rehearsed(stage, stage.log, users, stage.at)
        shown = []
        for place, user in enumerate(users):
            answer = stage.recommender.recommend(RecommendRequest(user_id=user, k=K, context=Context(at=stage.at)))
            assert [made.item_ids[row] for row in made.slates["ours"][place]] == [i.item_id for i in answer.items]
            shown.append(key64([str(item.item_id) for item in answer.items]).tolist())
        return shown

    assert any(opened[user] & set(keys) for user, keys in zip(users, slates(), strict=True))
    for bundle in (stage.served, stage.bundle):
        monkeypatch.setattr(bundle.retriever, "data", replace(bundle.retriever.data, repeats=Repeats(0, 1_000)))
    assert not any(opened[user] & set(keys) for user, keys in zip(users, slates(), strict=True))


def test_it_sees_nothing_later_than_the_instant(stage: Stage, world: World) -> None:
    at = stage.at - DAY_MS
    users = world.user_ids[:8]
    known = stage.log.take(np.flatnonzero(stage.log.received_at < at))
    assert 0 < len(known.position) < len(stage.log.position)
    whole, cut = (rehearsed(stage, log, users, at) for log in (stage.log, known))
    for name in whole.slates:
        assert whole.slates[name].tobytes() == cut.slates[name].tobytes(), name
    keys = whole.item_keys
    published = stage.items.offered(keys, at)[0]
    assert all((published[rows] <= at).all() for rows in (*whole.candidates, *whole.allowed))


@pytest.mark.parametrize("name", SHELVES)
def test_every_shelf_is_judged_by_its_own_label_beside_its_own_heuristics_and_gated(
    name: str, stage: Stage, world: World
) -> None:
    shelf, at = SHELVES[name], stage.at - DAY_MS
    users = {int(key): user for key, user in zip(key64(world.user_ids), world.user_ids, strict=True)}
    if LABELS[shelf.label].at_start:
        sessions = shelves_judged.first_starts(stage.bundle, stage.log, shelf)
        asked = sessions.take(np.flatnonzero(sessions.at > at)[:100])
    else:
        keys = np.array(list(users)[:60])
        asked = Starts(keys, np.full(len(keys), at), [])
    names = [users[key] for key in asked.user_key.tolist()]
    made = Rehearsal(stage.bundle, stage.log, stage.items, names, asked.at, name)
    truth = slates_judged.truth_of(
        world.simulator,
        Border.of(world.settings),
        Requests(names, asked.user_key, asked.at),
        stage.bundle.catalogue.item_id,
    )
    orders = {CHALLENGER: stage.bundle.order(name)}
    told, rows = shelves_judged.judge_one(made, stage.log, shelf, shelf.label, asked, orders, truth)
    assert told["rows"] > 0 and set(told["heuristics"]) == set(told["intervals"]) == set(shelf.heuristics)
    assert set(shelf.metrics) <= set(told["champion"]) and told["gate"]["reasons"]
    # anybody computes the figures anew from the table: here hit@k of every order
    k = max(int(metric.partition("@")[2]) for metric in shelf.metrics)
    judged = rows.filter(pl.col("wanted").list.len() > 0)
    hit = judged.select("model", hit=pl.col("units").list.head(k).list.set_intersection("wanted").list.len() > 0)
    by_model = dict(hit.group_by("model").agg(pl.col("hit").mean()).iter_rows())
    if f"hit@{k}" in shelf.metrics and told["gate"]["passed"]:
        figures = {CHALLENGER: told["champion"], **told["heuristics"]}
        assert {model: figures[model][f"hit@{k}"] for model in by_model} == pytest.approx(by_model)
    units = rows.filter(pl.col("model") == CHALLENGER)["units"].list
    assert (units.n_unique() == units.len()).all(), "a unit takes one place"
    assert f"p_{shelf.label}" in told["champion"] or LABELS[shelf.label].at_start
