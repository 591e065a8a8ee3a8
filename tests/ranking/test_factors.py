"""The personal ranker on a planted world: tastes are found, in what is passed over too, and every bit is repeatable."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from recsys.evaluation import metrics
from recsys.events import KINDS
from recsys.features.catalog import ATTRIBUTES
from recsys.features.history import History
from recsys.ranking import factors_training
from recsys.ranking.factors import PLAIN, FactorRanker
from recsys.ranking.factors_pull import Rows, pull
from recsys.ranking.factors_solve import STEPS, Outcomes, Tables, solve
from recsys.ranking.ranker import RankerError
from recsys.ranking.saved import load_ranker
from recsys.training_sets.examples import Examples
from recsys.training_sets.inputs import Inputs
from recsys.training_sets.labels import LabelError
from tests.ranking.rows import poorer

NAMES = (
    "slot", "item_age_days", "hour_of_day", "shelf_bucket", "category_bucket", "creator_bucket",
    "user_category_affinity_log_7d", "item_long_view_rate_all", "item_type", "user_names_category",
    *(f"user_{name}_bucket" for name in ATTRIBUTES),
)  # fmt: skip
NAMED, COUNTRY = 9, 10
ITEMS, CATEGORIES = 60, 4
CONFIG = factors_training.TrainingConfig(width=3, rounds=60)
LEVEL = np.random.default_rng(0).normal(size=ITEMS + 1)  # an item is its key; its category key % CATEGORIES


def features_of(item: np.ndarray, slot: np.ndarray) -> np.ndarray:
    features = np.zeros((len(item), len(NAMES)), np.float32)
    features[:, 0], features[:, 2], features[:, 3] = slot, 12.0, 5.0
    features[:, 1] = np.log1p(10.0)
    features[:, COUNTRY:] = -1.0
    features[:, 4], features[:, 5], features[:, 8] = item % CATEGORIES, item % 12, 1
    return features


def world(users: int, seed: int, events: int = 40, says_so: bool = False) -> Examples:
    """Each user likes the categories of one parity, and may say so; a later place costs clicks. Rows in the order of
    the log.
    """
    rng = np.random.default_rng(seed)
    item_key, kind, start, stop, rows = [], [], [], [], []
    for user in range(users):
        begun = len(item_key)
        for event in range(events):
            item, slot = int(rng.integers(1, ITEMS + 1)), event % 4
            likes = 1.5 if item % 2 == user % 2 else -1.5
            click = rng.random() < 1 / (1 + np.exp(-(likes + LEVEL[item] - 0.8 * slot)))
            view = click and rng.random() < 1 / (1 + np.exp(-likes))
            like = says_so and click and rng.random() < 1 / (1 + np.exp(2.5 - likes))
            rows.append((user, item, slot, click, view, like))
            start.append(begun)
            stop.append(len(item_key))
            told = [("impression", True), ("click", click), ("long_view", view), ("like", like)]
            for name, is_there in told:
                if is_there:
                    item_key.append(item)
                    kind.append(KINDS[name])
    user_of, item_of, slot_of, clicked, viewed, liked = (np.array(column) for column in zip(*rows, strict=True))
    history = History(
        np.array(item_key), np.array(kind, np.int8), np.zeros(len(kind), np.int64), np.array(start), np.array(stop)
    )
    return Examples(
        Inputs(features_of(item_of, slot_of), item_of, history),
        click=clicked.astype(np.int8),
        long_view=viewed.astype(np.int8),
        like=liked.astype(np.int8),
        watch_ms=viewed.astype(np.int64) * 20_000,
        user=user_of,
        slate=np.arange(len(rows)) // 4,
        propensity=np.ones(len(rows)),
    )


def rare(users: int, seed: int, of_type: bool) -> Examples:
    """Users who like one half of 600 items, each shown some ten times: those of one type, or else of one hidden tag.

    An item's half is that of its 1, 2, 5, 6, 9, 10, ... so that neither category nor creator tells it.
    """
    rng, events = np.random.default_rng(seed), 30
    item = rng.integers(1, 601, users * events)
    user = np.repeat(np.arange(users), events)
    odds = np.where(half(item) == user % 2, 1.5, -1.5)
    clicks = rng.random(len(item)) < 1 / (1 + np.exp(-odds))
    features = features_of(item, np.zeros(len(item)))
    features[:, 4] = features[:, 5] = 0
    features[:, 8] = 1 + half(item) * of_type
    kind = np.where(clicks, KINDS["click"], KINDS["impression"]).astype(np.int8)
    begin = user * events
    history = History(item, kind, np.zeros(len(item), np.int64), begin, np.arange(len(item)))
    none = np.zeros(len(item), np.int64)
    return Examples(
        Inputs(features, item, history),
        click=clicks.astype(np.int8),
        long_view=none.astype(np.int8),
        like=none.astype(np.int8),
        watch_ms=none,
        user=user,
        slate=np.arange(len(item)),
        propensity=np.ones(len(item)),
    )


def half(item: np.ndarray) -> np.ndarray:
    """0 or 1, of each item."""
    return np.asarray(item // 2 % 2)


def asked(kinds: list[tuple[str, int]]) -> Inputs:
    """All items in the first place, for somebody with that history."""
    items = np.arange(1, ITEMS + 1)
    keys, names = np.array([item for _, item in kinds], np.int64), [KINDS[name] for name, _ in kinds]
    history = History.of_one(keys, np.array(names, np.int8), np.zeros(len(keys), np.int64), ITEMS)
    return Inputs(features_of(items, np.zeros(ITEMS)), items, history)


@pytest.fixture(scope="module")
def ranker() -> FactorRanker:
    return factors_training.train(world(150, 1), world(60, 2), NAMES, "f", config=CONFIG)


def test_tastes_are_found_in_what_was_opened_and_in_what_was_passed_over(ranker: FactorRanker) -> None:
    even = np.arange(1, ITEMS + 1) % 2 == 0

    def lead(kinds: list[tuple[str, int]]) -> float:
        score = ranker.predict(asked(kinds)).score
        return float(score[even].mean() - score[~even].mean())

    nobody = lead([])
    opened = lead([event for item in range(2, 22, 2) for event in (("impression", item), ("click", item))])
    passed = lead([("impression", item) for item in range(1, 21, 2)])
    assert opened > nobody + 0.5 and passed > nobody + 0.2, "who passes over odd items is shown even ones"
    one, two = lead([("impression", 1)]), lead([("impression", item) for item in (1, 3, 5)])
    assert nobody < one < two < passed, "each impression moves the order"


def test_a_stranger_gets_the_order_of_the_population(ranker: FactorRanker) -> None:
    score = ranker.predict(asked([])).score
    assert np.corrcoef(score, LEVEL[1:])[0, 1] > 0.8


def said(inputs: Inputs, country: np.ndarray | int, named: np.ndarray | int = 0) -> Inputs:
    """The same of people of a country, and whether they name the category of each item."""
    features = inputs.features.copy()
    features[:, COUNTRY], features[:, NAMED] = country, named
    return inputs.with_features(features)


def test_a_stranger_gets_the_order_of_those_who_say_the_same(tmp_path: Path) -> None:
    made = [world(150, 1), world(60, 2)]
    odd, even = 7, 9  # countries, and what people there like
    train, judged = (replace(m, inputs=said(m.inputs, np.where(m.user % 2, odd, even))) for m in made)
    learned = factors_training.train(train, judged, NAMES, "f", config=CONFIG)
    rows = asked([])
    is_even = rows.item_key % 2 == 0

    def lead(inputs: Inputs) -> float:
        score = learned.predict(inputs).score
        return float(score[is_even].mean() - score[~is_even].mean())

    nobody = lead(rows)
    assert lead(said(rows, even)) > nobody + 0.5 and lead(said(rows, odd)) < nobody - 0.5
    assert lead(said(rows, 8)) == nobody, "a word that nobody said tells nothing"
    passed = [("impression", item) for item in range(2, 42, 2)]
    assert lead(said(asked(passed), even)) < lead(said(rows, even)) - 0.5, "what they do counts more than what they say"
    assert not np.abs(learned.taste(said(rows, even)).parts).any()
    learned.save(tmp_path)
    strangers = Inputs.below(said(rows, odd), said(rows, even), said(rows, -1))
    alone = [load_ranker(tmp_path).predict(said(rows, country)).score for country in (odd, even, -1)]
    assert np.concatenate(alone).tobytes() == learned.predict(strangers).score.tobytes()


def test_a_category_that_somebody_names_is_ahead() -> None:
    made = [world(150, 1), world(60, 2)]
    train, judged = (replace(m, inputs=said(m.inputs, -1, m.inputs.item_key % CATEGORIES == m.user % 2)) for m in made)
    learned = factors_training.train(train, judged, NAMES, "f", config=CONFIG)
    first = asked([]).item_key % CATEGORIES == 0
    gained = learned.predict(said(asked([]), -1, first)).score - learned.predict(asked([])).score
    assert gained[first].min() > 0.2 and not gained[~first].any()


def test_probabilities_are_calibrated_and_better_than_everybodys(ranker: FactorRanker) -> None:
    judged = world(60, 3)
    told = ranker.predict(judged.inputs)
    strangers = ranker.predict(replace(judged.inputs, history=History.none(len(judged))))
    for label in ("click", "long_view"):
        truth = getattr(judged, label)
        p, without = getattr(told, f"p_{label}"), getattr(strangers, f"p_{label}")
        assert metrics.calibration_error(truth, p) < 0.05
        assert metrics.auc(truth.astype(float), p) > metrics.auc(truth.astype(float), without) + 0.05
    assert np.isnan(told.watch_seconds).all(), "it learns nothing of watch time, and says so"


def test_every_bit_is_the_same_alone_among_others_from_disk_and_trained_again(
    ranker: FactorRanker, tmp_path: Path
) -> None:
    ranker.save(tmp_path)
    loaded, fresh = load_ranker(tmp_path), world(6, 4).inputs
    together = ranker.predict(fresh).columns()
    for name, values in together.items():
        alone = [loaded.predict_only(fresh.take(slice(i, i + 1)), [name])[name] for i in range(len(fresh))]
        assert np.concatenate(alone).tobytes() == values.tobytes(), name
    assert loaded.explain(fresh) == ranker.explain(fresh)
    again = factors_training.train(world(150, 1), world(60, 2), NAMES, "f", config=CONFIG)
    assert again.predict(fresh).score.tobytes() == together["score"].tobytes()


def test_an_item_that_was_never_shown_is_what_its_category_and_creator_are(ranker: FactorRanker) -> None:
    known = asked([])
    new = replace(known, item_key=known.item_key + 1_000)
    of_new, of_known = ranker.predict(new).score, ranker.predict(known).score
    same_sides = {(int(a), int(b)) for a, b in known.features[:, 4:6]}
    assert len(set(np.round(of_new, 9))) == len(same_sides), "equal sides, equal scores"
    assert np.isfinite(of_new).all() and of_new.std() < of_known.std()


def test_the_parts_of_a_taste_by_item_of_the_history_add_up_to_it(ranker: FactorRanker) -> None:
    likes = [*(("long_view", key) for key in range(2, 24, 2)), *(("click", 24), ("impression", 999))]
    likes += [("impression", key) for key in range(1, 21, 2)]
    rows = asked(likes)
    taste, agreed = ranker.taste(rows), ranker._parts(rows)["taste"]
    np.testing.assert_allclose(taste.parts.sum(axis=1), agreed, atol=1e-6)
    assert np.abs(agreed).max() > 0.3 and (taste.viewed.sum(), taste.opened.sum(), len(taste.opened)) == (11, 12, 22)
    same = ranker.taste(asked([]))
    assert same.parts.shape == (len(rows), 0) and not ranker._parts(asked([]))["taste"].any()


def test_a_user_has_a_level_by_type_that_counts_for_items_nobody_saw(tmp_path: Path) -> None:
    learned = factors_training.train(rare(200, 1, True), rare(60, 2, True), NAMES, "f", config=CONFIG)
    fond = [event for item in (3, 7, 11, 15) for event in (("impression", item), ("click", item))]
    rows = asked([*fond, *(("impression", item) for item in (1, 4, 5, 8))])
    features = rows.features.copy()
    features[:, 4] = features[:, 5] = 0
    features[:, 8] = 1 + np.arange(len(rows)) % 2
    unseen = replace(rows, item_key=rows.item_key + 10_000).with_features(features)
    score = learned.predict(unseen).score
    assert half(np.array([3])) == 1 and score[1::2].min() > score[::2].max() + 0.3, "who opens type 2 gets type 2"
    strangers = learned.predict(replace(unseen, history=History.none(len(rows)))).score
    assert abs(strangers[1] - strangers[0]) < 0.3, "others do not"
    learned.save(tmp_path)
    assert load_ranker(tmp_path).predict(unseen).score.tobytes() == score.tobytes()


def test_tags_tell_of_items_that_were_seldom_shown() -> None:
    made, judged = (rare(200, 1, False), rare(60, 2, False)), rare(60, 3, False)
    items = np.arange(1, 601)
    tags = factors_training.Tags(items, 7 + half(items))
    with_tags, without = (
        factors_training.train(*made, NAMES, "f", tags=told, config=CONFIG).predict(judged.inputs).p_click
        for told in (tags, None)
    )
    truth = judged.click.astype(float)
    assert metrics.auc(truth, with_tags) > metrics.auc(truth, without) + 0.02


def test_likes_tell_of_tastes_and_of_those_alone() -> None:
    made, judged = (world(150, 1, says_so=True), world(60, 2, says_so=True)), world(60, 3, says_so=True)
    nobody = tuple(poorer(m, ("like",)) for m in made)
    with_likes, without = (factors_training.train(*m, NAMES, "f", config=CONFIG) for m in (made, nobody))
    assert with_likes.factors.like_slope > 0.1 and without.factors.like_slope == 0
    truth = judged.long_view.astype(float)
    told = [metrics.auc(truth, ranker.predict(judged.inputs).p_long_view) for ranker in (with_likes, without)]
    assert told[0] > told[1]
    opened = [("impression", 2), ("click", 2)]
    rows, liking = asked(opened), asked([*opened, ("like", 2)])
    gained = with_likes.predict(liking).score - with_likes.predict(rows).score
    even = rows.item_key % 2 == 0
    assert gained[even].mean() > 0 > gained[~even].mean()
    taste, agreed = with_likes.taste(liking), with_likes._parts(liking)["taste"]
    np.testing.assert_allclose(taste.parts.sum(axis=1), agreed, atol=1e-6)
    assert taste.liked.tolist() == [True]


def test_factors_of_before_types_likes_and_words_serve_as_they_did(tmp_path: Path) -> None:
    ranker = factors_training.train(world(30, 1), world(30, 2), NAMES, "f", config=replace(CONFIG, rounds=4))
    ranker.save(tmp_path)
    with np.load(tmp_path / "factors.npz") as saved:
        new = ("type", "item_type", "like", "said", "named")
        kept = {name: saved[name] for name in saved if not name.startswith(new)}
    assert len(kept) == len(PLAIN) - 6 + 7
    np.savez(tmp_path / "factors.npz", **kept)
    header = json.loads((tmp_path / "ranker.json").read_text())
    (tmp_path / "ranker.json").write_text(json.dumps({k: v for k, v in header.items() if not k.startswith("like_")}))
    rows = world(6, 4).inputs
    assert load_ranker(tmp_path).predict(rows).score.tobytes() == ranker.predict(rows).score.tobytes()


def test_the_solve_is_the_most_likely_vector() -> None:
    rng = np.random.default_rng(5)
    n, d = 40, 4
    kind, precision = rng.integers(-1, 2, n), np.array([1.0, 1.0, 1.0, 3.0, 4.0, 4.0, 2.0])
    tables = Tables.of(rng.normal(size=(n, d - 1)), rng.normal(size=(n, 3)), (0.6, 0.4, 1.2), kind, precision)
    opened = (rng.random(n) < 0.5).astype(np.uint8)
    viewed, liked = ((opened * (rng.random(n) < 0.5)).astype(np.uint8) for _ in range(2))
    zeros = np.zeros(n)
    outcomes = Outcomes(np.arange(n), opened, viewed, liked, zeros, zeros)
    prior, bounds = rng.normal(size=(3, d + 3)), np.array([0, n, n, n])
    solved = prior.copy()
    solve(outcomes, tables, prior, bounds, STEPS, solved)

    def loss(x: np.ndarray) -> float:
        click = tables.click + tables.vector @ x[:d] + np.where(kind >= 0, x[d + kind], 0.0)
        agreed = tables.vector[:, :-1] @ x[: d - 1]
        view = tables.long_view + tables.slope * agreed
        like = tables.like + tables.like_viewed * viewed + tables.like_slope * agreed + x[-1]
        likelihood = np.logaddexp(0, click).sum() - (opened * click).sum()
        likelihood += (opened * (np.logaddexp(0, view) - viewed * view)).sum()
        likelihood += (opened * (np.logaddexp(0, like) - liked * like)).sum()
        return float(likelihood + (tables.precision * (x - prior[0]) ** 2).sum() / 2)

    best = minimize(loss, np.zeros(d + 3), method="BFGS", options={"gtol": 1e-9}).x
    np.testing.assert_allclose(solved[0], best, atol=1e-5)
    assert solved[1:].tobytes() == prior[1:].tobytes(), "of whom nothing is known has the prior's mean"
    far = tables._replace(vector=tables.vector * 40.0)
    solved[:] = 0.0
    solve(outcomes, far, np.zeros((3, d + 3)), bounds, STEPS, solved)
    assert np.isfinite(solved).all() and STEPS >= 5


@pytest.mark.parametrize(("views", "likes"), [(True, False), (False, False), (True, True), (False, True)])
def test_rows_pull_at_items_as_torch_says(views: bool, likes: bool) -> None:
    rng, n, items, d = np.random.default_rng(3), 300, 7, 3
    context = np.where(rng.random((n, 5)) < 0.3, rng.normal(size=(n, 5)), 0.0).astype(np.float32)
    item, user = rng.integers(0, items, n), np.sort(rng.integers(0, 20, n))
    opened, viewed, liked = (rng.integers(0, 2, n).astype(np.uint8) for _ in range(3))
    users, kind = rng.normal(size=(20, d + 4)).astype(np.float32), rng.integers(-1, 2, n)
    shapes = ((items, d + 3), (5, 2), (3,), (2,), ())
    known = [torch.from_numpy(np.array(rng.normal(size=shape), np.float32)).requires_grad_() for shape in shapes]
    whole, weights, base, slope, more = known
    match = (torch.from_numpy(users[user, :d]) * whole[item, :d]).sum(dim=1)
    own = users[user, d] + np.where(kind >= 0, users[user, d + 1 + kind], 0.0).astype(np.float32)
    truth = torch.from_numpy(np.stack([opened, viewed, liked]).astype(np.float32))
    levels, added = base + whole[item, d:], torch.from_numpy(context) @ weights
    click, view = levels[:, 0] + added[:, 0] + match + torch.from_numpy(own), levels[:, 1] + added[:, 1]
    odds = [
        click,
        view + slope[0] * match,
        levels[:, 2] + more * truth[1] + torch.from_numpy(users[user, -1]) + slope[1] * match,
    ]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(torch.stack(odds), truth, reduction="none")
    (loss[0].sum() + views * (truth[0] * loss[1]).sum() + likes * (truth[0] * loss[2]).sum()).backward()
    rows = Rows.of(item, user, context, opened, viewed, liked, kind)
    pulled = pull(rows, users, *(tensor.detach().numpy() for tensor in known), views=views, likes=likes)
    for ours, tensor in zip(pulled, known, strict=True):
        assert tensor.grad is not None
        np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-4, atol=1e-4)


def test_logs_that_lack_an_outcome_and_worlds_of_one_item(tmp_path: Path) -> None:
    made = [world(30, seed) for seed in (1, 2)]
    brief = replace(CONFIG, rounds=4)
    clicks = factors_training.train(*(poorer(m, ("long_view", "watch_ms")) for m in made), NAMES, "f", config=brief)
    told = clicks.predict(made[0].inputs)
    assert clicks.labels == ("click",) and np.isnan(told.p_long_view).all() and np.isfinite(told.score).all()
    views = factors_training.train(*(poorer(m, ("click",)) for m in made), NAMES, "f", config=brief)
    told = views.predict(made[0].inputs)
    assert views.labels == ("long_view",) and np.isnan(told.p_click).all() and np.isfinite(told.p_long_view).all()
    one = [replace(m, inputs=replace(m.inputs, item_key=np.ones(len(m), np.int64))) for m in made]
    scores = factors_training.train(*one, NAMES, "f", config=brief).predict(asked([("impression", 1)])).score
    assert np.isfinite(scores).all()
    with pytest.raises(LabelError, match="give days"):
        factors_training.train(*(poorer(m, ("click", "long_view")) for m in made), NAMES, "f", config=brief)
    with pytest.raises(RankerError, match="no column slot"):
        factors_training.train(*made, NAMES[1:], "f", config=brief)
    clicks.save(tmp_path)
    (tmp_path / "factors.npz").write_bytes(b"torn")
    with pytest.raises(RankerError, match="materialize ranker again"):
        load_ranker(tmp_path)
