"""Every source on a world with planted taste: what it proposes, what it must not, and what fusing them brings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.events import HOUR_MS, KINDS, key64
from recsys.features import catalog
from recsys.features.judged import Judged, Judgements
from recsys.features.log import history_of
from recsys.policy.shelves import GENERAL
from recsys.retrieval import engagements, replay, sources
from recsys.retrieval.embeddings import embed, indexed
from recsys.retrieval.fusion import FEWEST, LEAST, Fusion, _Judged, fit_fusion, mean_recall
from recsys.retrieval.item_index import ExactMirror
from recsys.retrieval.sources import SOURCES, Ask, Retriever, SourceData, SourceDataError
from recsys.retrieval.two_tower import QueryTower
from recsys.retrieval.two_tower_query import TowerConfig
from recsys.retrieval.two_tower_training import build
from tests.features.test_judged import USER, log_of
from tests.retrieval import taste


@pytest.fixture(scope="module")
def world() -> taste.World:
    return taste.make()


@pytest.fixture(scope="module")
def tower(world: taste.World) -> QueryTower:
    rows = engagements.from_impressions(world.impressions_of(0), world.log)
    network = build(rows, engagements.read_rows(world.log, rows), world.items, TowerConfig(dim=16, hidden=32))
    return QueryTower.of(network, taste.BEGIN)


@pytest.fixture(scope="module")
def retriever(world: taste.World, tower: QueryTower) -> Retriever:
    data = sources.learn(
        replay.before(
            pa.table({"date": ["2024-10-06"]}), world.log
        ),  # all of it: the log begins on day 20,000, 2024-10-04
        world.table,
        replay.shelf_types(world.impressions, world.table),
    )
    embedded = embed(tower, world.table)
    return Retriever(tower, ExactMirror("c", indexed(embedded)), "c", embedded, data)


def ask(item_ids: list[str], kinds: list[str] | None = None, seen: list[str] = [], **more: object) -> Ask:  # noqa: B006
    kinds = kinds or ["click"] * len(item_ids)
    at = taste.BEGIN + 48 * HOUR_MS
    keys, instants = key64(item_ids), np.arange(len(item_ids), dtype=np.int64) + at - HOUR_MS
    events = list(zip(kinds, keys.tolist(), instants.tolist(), strict=True))
    asked = Ask(
        at=at,
        shelf="feed",
        item_keys=keys,
        kinds=np.array([KINDS[kind] for kind in kinds], np.int8),
        occurred_at=instants,
        judged=Judgements.of_log(log_of(events)).of(USER) if events else Judged.none(),
        features=np.array(list(catalog.DEFAULTS.values()), np.float32),
        seen=key64(seen),
    )
    return asked._replace(**more)


def names(retriever: Retriever, rows: np.ndarray) -> list[str]:
    return [retriever.item_ids[row] for row in rows]


def test_item_item_proposes_the_taste_of_those_who_share_the_history(retriever: Retriever) -> None:
    history = ["item 3", "item 9", "item 15"]  # category 3
    first = names(retriever, retriever.propose(ask(history, seen=history))["item_item"][:10])
    assert sum(int(name.split()[1]) % taste.CATEGORIES == 3 for name in first) >= 9
    assert not set(first) & set(history)


def test_similarity_of_two_items_counts_shared_users_as_a_loop_over_pairs_does() -> None:
    rng = np.random.default_rng(5)
    user, row = rng.integers(-50, 50, 600), rng.integers(0, 30, 600)
    neighbours, similarity = sources.co_visitation(user, row, 30)
    fans = [set(user[row == i].tolist()) for i in range(30)]
    for i in range(30):
        want = {
            j: len(fans[i] & fans[j]) / (np.sqrt(len(fans[i]) * len(fans[j])) + sources.SHRINKAGE)
            for j in range(30)
            if j != i and fans[i] & fans[j]
        }
        got = {int(j): float(s) for j, s in zip(neighbours[i], similarity[i], strict=True) if j >= 0}
        assert got == pytest.approx(want, rel=1e-5)


def test_popular_counts_all_clicks_and_trending_the_last_ones(world: taste.World) -> None:
    shift = 40 * 24 * HOUR_MS
    old = world.log._replace(occurred_at=world.log.occurred_at - shift, received_at=world.log.received_at - shift)
    last = 50  # clicks on item 7, forty days later than every other
    late = {
        "position": world.log.head + 1 + np.arange(last),
        "kind": np.full(last, KINDS["click"], np.int8),
        "user_key": world.user_keys[:last],
        "item_key": np.repeat(key64(["item 7"]), last),
        "occurred_at": world.log.occurred_at[-last:],
        "received_at": world.log.received_at[-last:],
    }
    log = type(old)(
        *(np.concatenate([column, late.get(name, np.zeros(last, np.int64))]) for name, column in old._asdict().items())
    )
    data = sources.learn(log, world.table, {"feed": ["video"], "podcasts": ["podcast"]})
    assert data.lists["trending"]["feed"][0] == "item 7"
    clicks = dict.fromkeys(world.table["item_id"].to_pylist(), 0)
    of_key = dict(zip(world.table["item_key"].to_pylist(), clicks, strict=True))
    for key in log.item_key[log.kind == KINDS["click"]].tolist():
        clicks[of_key[key]] += 1
    assert [clicks[name] for name in data.lists["popular"]["feed"][:5]] == sorted(clicks.values(), reverse=True)[:5]
    assert list(data.lists["popular"]["podcasts"]) == []  # the shelf has shown no video


def test_fresh_is_the_newest_that_is_published_and_resume_what_was_not_seen_through(retriever: Retriever) -> None:
    history = ["item 1", "item 2", "item 3", "item 2"]
    asked = ask(history, ["click", "click", "click", "long_view"], seen=["item 0", "item 2"])
    proposed = retriever.propose(asked)
    assert names(retriever, proposed["fresh"][:4]) == [taste.NEW, "item 1", "item 3", "item 4"]
    assert names(retriever, proposed["resume"]) == ["item 3", "item 1"]  # newest first, though it was shown before
    once = retriever.propose(asked._replace(seen=asked.item_keys))  # of a log in which nobody comes back
    assert not len(once["resume"]) and names(retriever, once["fresh"][:2]) == [taste.NEW, "item 0"]

    earlier = retriever.propose(asked._replace(at=taste.BEGIN))
    assert taste.NEW not in names(retriever, np.concatenate(list(earlier.values())))  # not published yet


def test_a_request_of_the_past_proposes_what_was_there_at_its_instant(
    retriever: Retriever, world: taste.World, tower: QueryTower
) -> None:
    """Taken down later, it was still there; what came back was not; nor what nobody knew."""
    asked = ask(["item 21", "item 1"])
    later = asked.at + 1
    said = [(0, "item 30", True), (later, "item 30", False), (0, "item 31", False), (later, "item 31", True)]
    said += [(later, "item 32", True)]
    rows = {row["item_id"]: row | {"since": 0} for row in world.table.to_pylist()}
    versions = [rows[name] | {"since": since, "is_available": there} for since, name, there in said]
    versions += [row for name, row in rows.items() if name not in {name for _, name, _ in said}]
    schema = pa.schema([*world.table.schema, ("since", pa.int64())])
    history = history_of(pa.Table.from_pylist(versions, schema))
    past = Retriever(tower, retriever.index, "c", embed(tower, world.table), retriever.data, history)
    proposed = set(names(past, np.concatenate(list(past.propose(asked, depth=500).values()))))
    assert "item 30" in proposed and not proposed & {"item 31", "item 32"}
    assert {"item 30", "item 31", "item 32"} <= set(
        names(retriever, np.concatenate(list(retriever.propose(asked, depth=500).values())))
    )


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_no_source_proposes_twice_or_what_is_seen_taken_down_of_another_type_or_beyond_its_depth(
    source: str, retriever: Retriever, world: taste.World, tower: QueryTower
) -> None:
    gone = {"item 11", "item 12"}
    podcasts = {f"item {i}" for i in range(20, 60)}
    table = world.table.drop_columns(["is_available", "item_type"])
    ids = table["item_id"].to_pylist()
    table = table.append_column("is_available", pa.array([i not in gone for i in ids]))
    table = table.append_column("item_type", pa.array(["podcast" if i in podcasts else "video" for i in ids]))
    embedded = embed(tower, table)
    other = Retriever(tower, ExactMirror("c", indexed(embedded)), "c", embedded, retriever.data)
    history = ["item 21", "item 27", "item 1"]
    every = dict.fromkeys(SOURCES, 0)
    asked = ask(history, seen=["item 33", "item 39"], item_types=("podcast",), sources=every)
    proposed = names(other, other.propose(asked, depth=15)[source])
    assert len(proposed) == len(set(proposed)) <= 15
    assert set(proposed) <= podcasts - {"item 33", "item 39"}
    both = names(other, other.propose(asked._replace(item_types=("podcast", "video")), depth=500)[source])
    assert not set(both) & gone
    if source == "two_tower":
        assert len(proposed) == 15  # a rare type is topped up
        assert len(both) == len(ids) - len(gone) - 2


def test_the_near_source_is_the_search_of_the_users_vector(retriever: Retriever, tower: QueryTower) -> None:
    asked = ask(["item 3", "item 9"])
    vector = tower.embed_user(asked.item_keys, asked.kinds, asked.occurred_at, asked.at, asked.features)
    hits = retriever.index.search("c", vector, 20)
    assert names(retriever, retriever.propose(asked, depth=20)["two_tower"]) == hits.item_ids


def test_fused_candidates_come_once_in_order_with_the_source_that_ranked_them_highest(retriever: Retriever) -> None:
    asked = ask(["item 3", "item 9"], seen=["item 3", "item 9"])
    fused = retriever.candidates(asked, 50)
    assert len(fused.item_ids) == len(set(fused.item_ids)) == 50
    assert np.all(np.diff(fused.scores) <= 0)
    proposed = retriever.propose(asked)
    for item_id, source in zip(fused.item_ids, fused.sources, strict=True):
        rank = {
            s: names(retriever, rows).index(item_id)
            for s, rows in proposed.items()
            if item_id in names(retriever, rows)
        }
        assert rank[source] == min(rank.values())  # all weights are equal here
    again = retriever.candidates(asked, 50)
    assert (again.item_ids, again.sources, again.scores.tobytes()) == (
        fused.item_ids,
        fused.sources,
        fused.scores.tobytes(),
    )


def test_reciprocal_ranks_add_up_and_ties_go_by_row() -> None:
    fusion = Fusion({"a": 1.0, "b": 0.5, "off": 0.0}, constant=1.0)
    proposals = {"a": np.array([4, 2]), "b": np.array([2, 4]), "off": np.array([0])}
    rows, source, scores, sure = fusion.fused(proposals, 5, 5)
    assert (rows.tolist(), scores.tolist()) == ([4, 2], [1.0 + 0.25, 1 / 2 + 0.5]) and not sure.any()
    assert source.tolist() == [0, 0]  # of item 2, too: of equal shares the first list counts
    even = Fusion({"a": 1.0, "b": 1.0}, constant=1.0)
    assert even.top(proposals, 5, 5).tolist() == [2, 4]


def test_sources_of_no_weight_come_behind_where_the_others_find_too_little(
    world: taste.World, retriever: Retriever
) -> None:
    """On a small catalogue validation may leave all weight to a person's own history, of which a stranger has none."""
    own = Fusion({"item_item": 1.0, "resume": 0.4})
    embedded = embed(retriever.tower, world.table)
    alone = Retriever(retriever.tower, retriever.index, "c", embedded, replace(retriever.data, fusion=own))
    stranger, known = alone.fused(ask([]), 500), alone.fused(ask(["item 3", "item 9"]), 500)
    assert len(stranger.rows) >= 10 and (np.diff(stranger.scores) <= 0).all()
    own_rows = own.top(alone.propose(ask(["item 3", "item 9"])), len(alone.item_ids), 500)
    assert known.rows[: len(own_rows)].tolist() == own_rows.tolist()
    assert len(known.rows) == len(own_rows) if len(own_rows) >= FEWEST else len(known.rows) > len(own_rows)


def test_a_trial_of_a_fusion_judges_the_list_that_it_serves() -> None:
    """Ties too: weights that make ranks of two sources equal, rows without a score, sources that do not answer."""
    rng, n = np.random.default_rng(3), 900
    proposals, wanted = [], []
    for request in range(40):
        sources = {s: rng.permutation(n)[: int(rng.integers(0, 240))] for s in ("a", "b", "off", "c")}
        proposals.append({s: rows for s, rows in sources.items() if request % 5 or s != "b"})
        wanted.append(rng.permutation(n)[: int(rng.integers(1, 30))])
    for weights, constant in (({"a": 1.0, "b": 1.0, "c": 1.0}, 1.0), ({"b": 0.3, "c": 0.1}, 20.0), ({"off": 1.0}, 5.0)):
        fusion = Fusion(weights, constant)
        told = _Judged.of(proposals, wanted).recalls(fusion)
        tops = [fusion.top(proposed, n, 200) for proposed in proposals]
        assert told.tolist() == [
            mean_recall(np.isin(top, want), len(want)) for top, want in zip(tops, wanted, strict=True)
        ]
        assert told.max() > 0


def test_the_fitted_fusion_is_at_least_as_good_as_each_source_and_lets_the_useless_but_propose() -> None:
    rng = np.random.default_rng(3)
    proposals, wanted = [], []
    for _ in range(60):
        target = rng.choice(1_000, 20, replace=False)
        rest = np.setdiff1d(np.arange(1_000), target)
        noise = {source: rng.permutation(rest)[:190] for source in SOURCES}
        near = np.concatenate([target[:8], noise["two_tower"]])
        alike = np.concatenate([target[8:14], noise["item_item"]])
        proposals.append({**noise, "two_tower": near, "item_item": alike})
        wanted.append(target)
    fusion = fit_fusion(proposals, wanted)
    fused = [{**p, "fused": fusion.top(p, 1_000, 200)} for p in proposals]
    recalls = replay.recalls(fused, wanted)
    assert recalls["fused"] > 1.5 * max(recall for source, recall in recalls.items() if source != "fused")
    assert fusion.weights["trending"] == LEAST


def test_a_source_that_costs_recall_has_no_weight() -> None:
    """One that names what the towers put just behind the 200 that are judged, and would lift it ahead of them."""
    rng = np.random.default_rng(4)
    proposals, wanted = [], []
    for _ in range(60):
        near = rng.permutation(1_000)[:260]
        proposals.append({**dict.fromkeys(SOURCES, near[:0]), "two_tower": near, "popular": near[200:240]})
        wanted.append(near[160:200])
    weights = fit_fusion(proposals, wanted).weights
    assert weights["popular"] == 0.0 and weights["two_tower"] == 1.0 and weights["trending"] == LEAST


def test_what_is_new_has_the_weight_at_which_it_is_found_as_what_is_known_well_as_far_as_recall_bears() -> None:
    """Half of what is new stands in front of `fresh`; the towers have none of it."""
    rng = np.random.default_rng(5)
    proposals, known, new = [], [], []
    for _ in range(60):
        near, fresh = rng.permutation(900)[:260], 900 + rng.permutation(100)[:60]
        proposals.append({**dict.fromkeys(SOURCES, near[:0]), "two_tower": near, "fresh": fresh})
        known.append(near[rng.permutation(100)[:19]])
        new.append(fresh[:1])
    met = np.where(np.arange(1_000) < 900, 60, 0)
    wanted = [np.concatenate(both) for both in zip(known, new, strict=True)]
    fusion, blind = fit_fusion(proposals, wanted, met), fit_fusion(proposals, wanted)

    def found(fusion: Fusion) -> float:
        tops = [fusion.top(proposed, 1_000, 200) for proposed in proposals]
        return float(np.mean([np.isin(want, top).mean() for want, top in zip(new, tops, strict=True)]))

    assert found(fusion) == 1.0 and fusion.weights["fresh"] >= blind.weights["fresh"]
    dear = [np.concatenate([near["two_tower"][150:199], one]) for near, one in zip(proposals, new, strict=True)]
    assert fit_fusion(proposals, dear, met).weights["fresh"] <= fusion.weights["fresh"]
    assert fit_fusion(proposals, known, met) == fit_fusion(proposals, known), "nothing new is wanted"


def test_a_replayed_request_sees_what_was_received_before_it_and_asks_as_the_service_would(
    retriever: Retriever, world: taste.World
) -> None:
    test = world.impressions_of(2)
    first = replay.first_requests(test)
    assert first.num_rows == taste.USERS
    table = replay.replay(retriever, first.slice(0, 30), world.log)
    assert set(table["source"].to_pylist()) == {*GENERAL, replay.FUSED}
    assert table.num_rows == 30 * (len(GENERAL) + 1)
    for row, asked in enumerate(replay.asks(first.slice(0, 30), world.log, come_back=True)):
        user = first["user_key"][row].as_py()
        mine = (world.log.user_key == user) & (world.log.received_at < asked.at)
        clicks = mine & (world.log.kind == KINDS["click"])
        assert asked.item_keys.tolist() == world.log.item_key[clicks].tolist()
        assert not len(asked.seen), "what was shown or opened may come back, as it does in service"
        fused = table.slice(row * (len(GENERAL) + 1), len(GENERAL) + 1).to_pylist()[-1]
        alone = retriever.candidates(asked, sources.DEPTH)
        assert (fused["source"], fused["user_key"]) == (replay.FUSED, user)
        assert fused["item_keys"] == key64(alone.item_ids).tolist()


def test_source_data_survives_saving_and_does_not_fit_another_catalogue(
    retriever: Retriever, world: taste.World, tower: QueryTower, tmp_path: Path
) -> None:
    retriever.data.save(tmp_path)
    again = SourceData.load(tmp_path)
    assert again.neighbours.tobytes() == retriever.data.neighbours.tobytes()
    assert again.fusion == retriever.data.fusion
    assert again.lists == retriever.data.lists
    fewer = world.table.slice(1)
    with pytest.raises(SourceDataError, match="other items"):
        Retriever(tower, ExactMirror("c", indexed(embed(tower, fewer))), "c", embed(tower, fewer), again)
    (tmp_path / "sources.json").write_text("{}")
    with pytest.raises(SourceDataError, match="unreadable"):
        SourceData.load(tmp_path)
