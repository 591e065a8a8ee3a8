"""The towers learn a planted taste, know items that nobody has seen, and give the same bytes every time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from recsys.evaluation import metrics
from recsys.events import HOUR_MS, KINDS, QUERY_WORDS, key64, query_key, words_of_query
from recsys.features import catalog, sweep
from recsys.features.history import History
from recsys.features.log import ItemColumns, Items, items_from_table, merged, searches
from recsys.features.people import MOST_WORDS
from recsys.retrieval import engagements, two_tower_training
from recsys.retrieval.text import MAX_WORDS, more_words_of, tags_of, with_content, words_of
from recsys.retrieval.two_tower import QueryTower, TowerError
from recsys.retrieval.two_tower_network import TwoTower
from recsys.retrieval.two_tower_query import ABOUT_WORDS, TowerConfig
from recsys.retrieval.two_tower_training import TrainingConfig, TrainingError, TrainingReport, fit, refit
from tests.retrieval import taste

CONFIG = TrainingConfig(
    max_epochs=6,
    least_examples=0,
    patience=6,
    batch_size=256,
    learning_rate=0.01,
    uniform_negatives=32,
    tower=TowerConfig(dim=16, hidden=32),
)


def train(world: taste.World, folder: Path, config: TrainingConfig = CONFIG, say=lambda _: None):  # type: ignore[no-untyped-def]
    rows = (engagements.from_impressions(world.impressions_of(day), world.log) for day in (0, 1))
    return fit(*rows, world.log, world.items, config, folder, say)


@pytest.fixture(scope="module")
def world() -> taste.World:
    return taste.make()


@pytest.fixture(scope="module")
def trained(world: taste.World, tmp_path_factory: pytest.TempPathFactory) -> tuple[QueryTower, TrainingReport]:
    return train(world, tmp_path_factory.mktemp("towers"))


@pytest.fixture(scope="module")
def tower(trained: tuple[QueryTower, TrainingReport]) -> QueryTower:
    return trained[0]


def user_vectors(tower: QueryTower, world: taste.World, users: int = taste.USERS) -> np.ndarray:
    at = np.full(users, taste.BEGIN + 47 * HOUR_MS)
    position = sweep.read_positions(world.log, at)
    none = np.zeros(users, np.int64)
    rows = engagements.Engagements(world.user_keys[:users], none, position, at, none, none)
    history = sweep.histories(world.log, rows.user_key, rows.position, rows.as_of)
    features = engagements.read_rows(world.log, rows)
    return np.stack([tower.embed_user(*history.row(i), int(at[i]), features[i]) for i in range(users)])


def test_training_lowers_the_loss_and_finds_what_popularity_cannot(
    trained: tuple[QueryTower, TrainingReport], world: taste.World
) -> None:
    tower, report = trained
    losses = [epoch["loss"] for epoch in report.epochs]
    assert losses[-1] < losses[0] - 0.5
    scores = user_vectors(tower, world) @ tower.embed_items(world.items).T
    row_of = {key: row for row, key in enumerate(world.items.item_key.tolist())}
    test = world.impressions_of(2)
    user_of = {key: row for row, key in enumerate(world.user_keys.tolist())}
    clicks = np.bincount([row_of[k] for k in world.impressions_of(0, 1)["item_key"].to_pylist()], minlength=len(row_of))
    popular = set(np.argsort(-clicks, kind="stable")[:20].tolist())
    hits = {"towers": 0, "popular": 0}
    for user, item in zip(test["user_key"].to_pylist(), test["item_key"].to_pylist(), strict=True):
        top = set(np.argsort(-scores[user_of[user]], kind="stable")[:20].tolist())
        hits["towers"] += row_of[item] in top
        hits["popular"] += row_of[item] in popular
    assert hits["towers"] > 0.6 * test.num_rows  # 20 items are of one's category, 6 of 7 clicks follow taste
    assert hits["towers"] > 2 * hits["popular"]


def test_a_new_item_has_a_vector_near_those_who_like_its_category(tower: QueryTower, world: taste.World) -> None:
    vector = tower.embed_items(world.items)[world.items.item_key == taste.key64([taste.NEW])][0]
    scores = user_vectors(tower, world) @ vector
    assert metrics.auc(world.taste == 0, scores) > 0.85  # chance: 0.5

    unheard = Items(  # of an unknown creator and category as well
        np.array([123], np.int64), ItemColumns(*(np.array([v], np.int64) for v in (9, 9, 1, 60_000, taste.BEGIN)))
    )
    assert np.linalg.norm(tower.embed_items(unheard)[0]) == pytest.approx(1.0, abs=1e-5)


def test_a_new_item_of_unknown_creator_and_category_is_known_by_what_is_said_of_it(
    world: taste.World, tmp_path: Path
) -> None:
    """The same log, but all that an item says of its category stands in its title, its description or its embedding."""
    said = [f"about {name.replace(' ', '')}, part {i}" for i, name in enumerate(world.table["category"].to_pylist())]
    silent = world.table.drop_columns(["category", "creator_id"])
    for name in ("category", "creator_id"):
        silent = silent.append_column(name, pa.nulls(world.table.num_rows, pa.string()))
    rng = np.random.default_rng(3)
    around = rng.normal(size=(taste.CATEGORIES, 8))
    of = np.append(np.arange(taste.ITEMS) % taste.CATEGORIES, 0)
    given = (around[of] + 0.3 * rng.normal(size=(len(of), 8))).astype(np.float32)
    columns = {
        "title": pa.array(said),
        "description": pa.array(said),
        "embedding": pa.array(given.tolist(), pa.list_(pa.float32())),
    }
    ids = [f"unseen item of category {c}" for c in range(taste.CATEGORIES)]
    news = {"item_id": ids, "item_key": taste.key64(ids), "published_at": [taste.BEGIN] * len(ids), "title": ids}
    aucs = {}
    for name in ("nothing", *columns):
        told = silent
        if name in columns:
            told = told.drop_columns([name] * (name in told.column_names)).append_column(name, columns[name])
        unseen = told.slice(0, taste.CATEGORIES)
        for new, value in news.items():
            if new != name:
                unseen = unseen.drop_columns(new).append_column(new, pa.array(value))
        config = replace(CONFIG, max_epochs=8, patience=8)
        items = with_content(items_from_table(told), told)
        tower = train(replace(world, items=items), tmp_path / name, config)[0]
        assert tower.given_length == (8 if name == "embedding" else 0)
        vectors = tower.embed_items(with_content(items_from_table(unseen), unseen, tower.given_length))
        scores = user_vectors(tower, world) @ vectors.T
        category = np.argsort(taste.key64(ids))  # items lie in the order of their keys
        aucs[name] = np.mean([metrics.auc(world.taste == c, scores[:, i]) for i, c in enumerate(category)])
    for name in columns:
        assert aucs[name] > 0.6  # of one category alone it is anything from .2 to 1, by the seed
        assert aucs[name] > aucs["nothing"] + 0.1  # type, age and duration are the same for all: they tell no category
    tower.save(tmp_path / "saved")  # the one with embeddings
    again = QueryTower.load(tmp_path / "saved")
    assert again.fingerprint == tower.fingerprint and again.given_length == 8
    content = with_content(items_from_table(unseen), unseen, 8)
    assert again.embed_items(content).tobytes() == tower.embed_items(content).tobytes()
    assert user_vectors(again, world, 20).tobytes() == user_vectors(tower, world, 20).tobytes()
    another = with_content(items_from_table(unseen), unseen, 7)  # of another length: as if it had none
    assert not another.given.any()


def test_what_was_searched_tells_a_stranger_s_taste(world: taste.World, tmp_path: Path) -> None:
    """Each user searched for their category before the first click; a stranger has only searched."""
    keys = np.array([query_key(f"category {c}") for c in range(taste.CATEGORIES)])
    n, begin = len(world.user_keys), np.full(len(world.user_keys), taste.BEGIN - 1)
    searched = searches(world.log.position[0] - n + np.arange(n), world.user_keys, keys[world.taste], begin, begin)
    tower = train(replace(world, log=merged(searched, world.log)), tmp_path)[0]
    words = words_of_query(keys)
    assert set(tower.network.vocabulary.about.tolist()) == set(words[:, :2].ravel().tolist())
    nothing, features = np.zeros(0, np.int64), np.array(list(catalog.DEFAULTS.values()), np.float32)
    vectors = tower.embed_items(world.items)
    category = np.array([int(name[-1]) for name in world.table["category"].to_pylist()])[
        np.argsort(world.table["item_key"].to_numpy())
    ]
    for said in ("category {}", "{}, a search that nobody made"):  # known by one of its words
        aucs = []
        for wanted in range(taste.CATEGORIES):
            about = np.zeros(ABOUT_WORDS, np.int64)
            about[MOST_WORDS:][:QUERY_WORDS] = words_of_query(np.array(query_key(said.format(wanted))))
            user = tower.embed_user(nothing, nothing.astype(np.int8), nothing, taste.BEGIN, features, about)
            aucs.append(metrics.auc(category == wanted, vectors @ user))
        assert np.mean(aucs) > 0.65, said  # of one category anything from .45 to .95, by the seed


def test_words_are_tags_then_title_then_what_is_said_beside_each_once_and_a_bounded_number() -> None:
    assert words_of(["40", "Pop ", "", None], "40 Pop songs, POP!") == ["tag:40", "tag:pop", "40", "pop", "songs"]
    assert words_of(None, None) == []
    tags = pa.array([["Crime", "40", "40 "], None, ["pop"]])
    said = pa.table({"item_key": [1, 2, 3], "tags": tags, "category": ["crime", "news", None]})
    said = said.append_column("language", pa.array([None, "de-AT", None]))
    item, tag = tags_of(said)
    told = key64(["tag:40", "language=de", "tag:pop"])
    assert item.tolist() == [1, 2, 3] and tag.tolist() == told.tolist(), "not the category again"
    assert len(words_of([], " ".join(map(str, range(100))))) == MAX_WORDS
    assert more_words_of(["pop"], "de-AT", "Ana Pop", "a POP song, a hit") == ["language=de", "ana", "a", "song", "hit"]


def test_vectors_are_finite_of_norm_one_and_the_same_bytes_alone_and_among_others(
    tower: QueryTower, world: taste.World
) -> None:
    every = tower.embed_items(world.items)
    assert np.isfinite(every).all()
    assert np.allclose(np.linalg.norm(every, axis=1), 1.0, atol=1e-5)
    for row in (0, 7, len(every) - 1):
        one = Items(world.items.item_key[[row]], ItemColumns(*(c[[row]] for c in world.items.columns)))
        assert tower.embed_items(one)[0].tobytes() == every[row].tobytes()
    users = user_vectors(tower, world, 20)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        assert user_vectors(tower, world, 20).tobytes() == users.tobytes()
        assert tower.embed_items(world.items).tobytes() == every.tobytes()
    finally:
        torch.set_num_threads(threads)


def test_a_user_without_history_and_one_with_unknown_items_get_a_vector(tower: QueryTower) -> None:
    features = np.array(list(catalog.DEFAULTS.values()), np.float32)
    nothing = np.zeros(0, np.int64)
    blank = tower.embed_user(nothing, nothing.astype(np.int8), nothing, taste.BEGIN, features)
    strange = tower.embed_user(
        np.array([5]), np.array([2], np.int8), np.array([taste.BEGIN - 1]), taste.BEGIN, features
    )
    for vector in (blank, strange):
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)


def test_the_vector_of_a_request_is_what_the_network_says(tower: QueryTower, world: taste.World) -> None:
    rng = np.random.default_rng(1)
    words = np.sort(rng.integers(1, 1 << 62, 9))
    words[0] = 1  # a word of a search
    known = tower.network.vocabulary._replace(about=words)
    other = QueryTower.of(TwoTower(tower.network.config, known, world.items), tower.trained_until)
    keys, codes = tower.network.catalogue_keys.numpy(), np.arange(1, 12, dtype=np.int8)
    for length in (*range(0, catalog.ENGAGED_LENGTH, 7), catalog.ENGAGED_LENGTH, catalog.HISTORY_LENGTH):
        item_keys = np.append(rng.choice(keys, length), 5)  # one that nobody knows
        at = taste.BEGIN - np.arange(length + 1)[::-1] * HOUR_MS
        history = item_keys, rng.choice(codes, length + 1), at
        features = rng.random(len(catalog.FEATURES), dtype=np.float32)
        about = rng.choice([0, 3, *words], ABOUT_WORDS)
        for asked in (tower, other):
            ours = asked.embed_user(*history, taste.BEGIN, features, about)
            with torch.inference_mode():
                span, network = History.of_one(*history), asked.network
                batch = network.queries(span, np.array([taste.BEGIN]), features.reshape(1, -1), about[None])
                theirs = network.embed_queries(batch)[0].numpy()
            np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_of_the_feature_row_the_query_reads_the_context_alone(tower: QueryTower) -> None:
    keys = tower.network.catalogue_keys.numpy()[:5]
    history = keys, np.full(5, 2, np.int8), taste.BEGIN - np.arange(5)[::-1] * HOUR_MS
    rng = np.random.default_rng(1)
    row, other = rng.random((2, len(catalog.FEATURES)), dtype=np.float32)
    context = [catalog.FEATURES.index(name) for name in ("shelf_bucket", "device_bucket", "hour_of_day")]
    row[context] = other[context] = 3.0
    ours = tower.embed_user(*history, taste.BEGIN, row)
    assert tower.embed_user(*history, taste.BEGIN, other).tobytes() == ours.tobytes()
    other[context[-1]] = 4.0
    assert tower.embed_user(*history, taste.BEGIN, other).tobytes() != ours.tobytes()


def test_what_was_shown_and_not_engaged_with_moves_no_vector(tower: QueryTower) -> None:
    rng = np.random.default_rng(1)
    keys, row = tower.network.catalogue_keys.numpy(), rng.random(len(catalog.FEATURES), dtype=np.float32)
    kinds = rng.choice([KINDS[kind] for kind in catalog.HISTORY_KINDS], catalog.HISTORY_LENGTH).astype(np.int8)
    at = taste.BEGIN - np.arange(len(kinds))[::-1] * HOUR_MS
    history = History.of_one(rng.choice(keys, len(kinds)), kinds, at)
    every, engaged = (tower.embed_user(*h.row(0), taste.BEGIN, row) for h in (history, history.engaged()))
    assert len(history.engaged().row(0)[0]) == catalog.ENGAGED_LENGTH
    assert every.tobytes() == engaged.tobytes()


def test_an_epoch_ends_with_the_examples_of_the_log(world: taste.World) -> None:
    rows = engagements.from_impressions(world.impressions_of(0), world.log)
    imported = np.arange(len(rows.item_key)) % 3 > 0
    rows = rows._replace(shelf=np.where(imported, 0, 1), device=np.where(imported, 0, 1))
    made = two_tower_training.prepare(rows, world.log, world.items, CONFIG)
    batches = two_tower_training.Batches(made.examples, 256, 7)
    seen = [batch.logged for batch in batches]
    assert all(len(part.unique()) == 1 for part in seen)
    logged = torch.cat(seen)
    assert len(logged) == len(imported)
    assert not logged[: imported.sum()].any()
    assert logged[imported.sum() :].all()
    last = two_tower_training.Batches(made.examples, 256, 7, epochs=1)
    shown = torch.cat([batch.logged for batch in last])
    assert shown.sum() == 3 * logged.sum(), "the last epoch goes over the log's own three times"
    assert (~shown).sum() == (~logged).sum()

    task = two_tower_training.TwoTowerTask(
        made.network, CONFIG, batches, made.catalogue, (made.examples.query, []), print
    )
    every = torch.arange(len(made.catalogue[0]))
    for window in made.examples.window.unique():
        target = made.examples.target[made.examples.window == window]
        share = torch.bincount(target, minlength=len(every)) / len(target)
        assert torch.allclose(task.share(every, window), share)


def test_a_batch_is_of_one_window_and_windows_follow_each_other_in_time(world: taste.World) -> None:
    rows = engagements.from_impressions(world.impressions_of(0), world.log)
    rows = rows._replace(shelf=np.where(np.arange(len(rows.item_key)) % 3, 0, 1), device=np.zeros(len(rows.shelf)))
    examples = two_tower_training.prepare(rows, world.log, world.items, replace(CONFIG, window=500)).examples
    seen = list(two_tower_training.Batches(examples, 256, 7))
    assert all(len(batch.window.unique()) == 1 for batch in seen)
    assert sum(len(batch.window) for batch in seen) == len(examples.window)
    window, as_of = examples.window[examples.logged], examples.as_of[examples.logged]
    assert window.bincount()[window.unique()].tolist() == [500] * (len(window) // 500) + [len(window) % 500]
    assert as_of.diff().min() >= 0 and window.diff().min() >= 0
    # an import gives each person's rows one after the other: a window of it would hold few people
    imported = examples.window[~examples.logged].unique()
    assert len(imported) == 1 and imported[0] < window.min()


def test_saved_towers_load_as_the_same_and_damage_is_named(
    tower: QueryTower, world: taste.World, tmp_path: Path
) -> None:
    tower.save(tmp_path)
    again = QueryTower.load(tmp_path)
    assert again.fingerprint == tower.fingerprint
    assert again.embed_items(world.items).tobytes() == tower.embed_items(world.items).tobytes()

    facts = json.loads((tmp_path / QueryTower.FACTS).read_text())
    (tmp_path / QueryTower.FACTS).write_text(json.dumps(facts | {"trained_until": 0}))
    with pytest.raises(TowerError, match="not what was saved"):
        QueryTower.load(tmp_path)
    (tmp_path / QueryTower.FACTS).write_text(json.dumps(facts | {"features": "other"}))
    with pytest.raises(TowerError, match="read features other"):
        QueryTower.load(tmp_path)
    tower.save(tmp_path)
    written = (tmp_path / QueryTower.WEIGHTS).rename(tmp_path / "written")
    torch.save(tower.network.state_dict(), (tmp_path / QueryTower.WEIGHTS).with_suffix(".pt"))  # as it was saved before
    before = QueryTower.load(tmp_path)
    assert before.fingerprint == tower.fingerprint
    assert user_vectors(before, world, 20).tobytes() == user_vectors(tower, world, 20).tobytes()
    written.rename(tmp_path / QueryTower.WEIGHTS)
    weights = (tmp_path / QueryTower.WEIGHTS).read_bytes()
    (tmp_path / QueryTower.WEIGHTS).write_bytes(weights[: len(weights) // 2])
    with pytest.raises(TowerError, match="cannot be read"):
        QueryTower.load(tmp_path)
    with pytest.raises(TowerError, match="is missing"):
        QueryTower.load(tmp_path / "nowhere")


def test_an_interrupted_training_goes_on_and_ends_in_the_same_bytes(world: taste.World, tmp_path: Path) -> None:
    config = replace(CONFIG, max_epochs=3)
    whole, uninterrupted = train(world, tmp_path / "whole", config)

    def pull_the_plug(line: str) -> None:
        if "epoch 2" in line:
            raise OSError("power cut")

    with pytest.raises(OSError, match="power cut"):
        train(world, tmp_path / "cut", config, pull_the_plug)
    resumed, report = train(world, tmp_path / "cut", config)
    assert [epoch["epoch"] for epoch in report.epochs] == [2, 3]
    assert [epoch["loss"] for epoch in report.epochs] == [epoch["loss"] for epoch in uninterrupted.epochs[1:]]
    assert resumed.fingerprint == whole.fingerprint


def test_a_small_log_is_gone_over_in_up_to_twice_as_many_epochs(world: taste.World, tmp_path: Path) -> None:
    config = replace(CONFIG, max_epochs=2, patience=1, learning_rate=0.0)  # no epoch is better than the first
    examples = len(engagements.from_impressions(world.impressions_of(0), world.log).item_key)
    ran = {
        least: len(train(world, tmp_path, replace(config, least_examples=least))[1].epochs)
        for least in (0, 2 * examples, 3 * examples, 9 * examples)
    }
    assert ran == {0: 2, 2 * examples: 2, 3 * examples: 3, 9 * examples: 4}


def test_items_of_later_days_are_no_negatives(world: taste.World) -> None:
    """What a batch learns does not change with what a catalogue holds of the days after it."""
    rows = engagements.from_impressions(world.impressions_of(0), world.log)
    losses = []
    for published_at in (taste.BEGIN + 72 * HOUR_MS, taste.BEGIN + 96 * HOUR_MS):
        late = world.items.columns.published_at > taste.BEGIN
        moved = world.items.columns._replace(
            published_at=np.where(late, published_at, world.items.columns.published_at)
        )
        made = two_tower_training.prepare(rows, world.log, Items(world.items.item_key, moved), CONFIG)
        everywhere = (made.catalogue[0], made.catalogue[1].clone(), made.catalogue[2])
        everywhere[1][torch.from_numpy(late)] = float(len(losses))  # whatever else is known of them
        batches = two_tower_training.Batches(made.examples, 256, 7)
        task = two_tower_training.TwoTowerTask(
            made.network.eval(), CONFIG, batches, everywhere, (made.examples.query, []), print
        )
        torch.manual_seed(0)
        for parameter in made.network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        losses.append(float(task.training_step(next(iter(batches)), 0).detach()))
    assert losses[0] == losses[1]


def test_nothing_to_learn_from_is_said(world: taste.World, tmp_path: Path) -> None:
    nothing = world.impressions.slice(0, 0)
    rows = [engagements.from_impressions(t, world.log) for t in (nothing, world.impressions_of(1))]
    with pytest.raises(TrainingError, match="give more days"):
        fit(*rows, world.log, world.items, CONFIG, tmp_path)


def test_learning_up_to_the_last_validation_day_knows_items_that_appeared_on_it(
    world: taste.World, tmp_path: Path
) -> None:
    config = replace(CONFIG, max_epochs=1)
    train, validation = (engagements.from_impressions(world.impressions_of(day), world.log) for day in (0, 1))
    late = world.items.item_key[world.items.item_key == taste.key64([taste.NEW])]
    validation = validation._replace(
        item_key=np.where(np.arange(len(validation.item_key)) < 5, late, validation.item_key)
    )
    chosen, report = fit(train, validation, world.log, world.items, config, tmp_path)
    again = refit(chosen, report, train, validation, world.log, world.items, config, tmp_path)
    assert late[0] not in chosen.network.vocabulary.items
    assert late[0] in again.network.vocabulary.items
    assert chosen.trained_until == train.as_of.max()
    assert again.trained_until == validation.as_of.max()
    few = validation.take(np.arange(len(train.item_key) // 200))
    assert refit(chosen, report, train, few, world.log, world.items, config, tmp_path) is chosen, "at half the cost"
